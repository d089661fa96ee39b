"""Where MongoDB and S3 are: from the environment, else the embedded servers that run."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from workers.errors import Refused

# Any of these means that S3 is given, and that boto3 finds the rest by its own rules.
S3_VARIABLES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)

# Arguments of boto3's client, and the variables that say the same.
S3_ARGUMENTS = {
    "endpoint_url": "AWS_ENDPOINT_URL_S3",
    "profile_name": "AWS_PROFILE",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "region_name": "AWS_DEFAULT_REGION",
}
NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})

YES = ("1", "yes", "true", "on")  # how a variable says so


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know of its surroundings. Never logged: it holds secrets."""

    mongodb_uri: str
    database: str
    bucket: str
    # Arguments of boto3's client, with a profile_name and a use_unsigned_session among them; what
    # is missing boto3 finds by its own rules.
    s3: dict[str, Any]
    # Whoever reads the bucket pays for it, and says so in each request.
    requester_pays: bool = False

    def __repr__(self) -> str:
        return f"Settings(database={self.database!r}, bucket={self.bucket!r})"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of local state: FANFOLD_HOME, else .fanfold in the project's folder."""
    if "FANFOLD_HOME" in environ:
        return Path(environ["FANFOLD_HOME"]).absolute()

    project = Path(__file__).parent.parent
    is_checkout = (project / "workspace.yaml").exists()
    return (project if is_checkout else Path.cwd()) / ".fanfold"


def gives_mongodb(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names a MongoDB."""
    return bool(environ.get("MONGODB_URI"))


def gives_s3(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names an S3 or credentials for one."""
    return any(environ.get(name) for name in S3_VARIABLES)


def database_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the database in MongoDB."""
    return environ.get("FANFOLD_DATABASE") or "fanfold"


def bucket_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the bucket in S3."""
    return environ.get("FANFOLD_BUCKET") or "fanfold"


def read_settings(
    environ: Mapping[str, str] = os.environ, s3: Mapping[str, Any] = NO_ARGUMENTS
) -> Settings:
    """Read the settings; Refused where a server is neither given nor running embedded.

    Arguments of boto3's client win over what the environment says of S3.
    """
    file = home(environ) / "servers.json"
    states = json.loads(file.read_text()) if file.exists() else {}
    # A server whose first start was cut off has a state, and no settings yet.
    embedded = {name: state.get("settings") for name, state in states.items()}

    if not gives_mongodb(environ) and not embedded.get("mongod"):
        raise Refused("MONGODB_URI is not set and no embedded mongod runs; set it, or `fanfold up`")
    is_s3_given = bool(s3) or gives_s3(environ)
    if not is_s3_given and not embedded.get("seaweedfs"):
        raise Refused(
            "No S3 is set (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, ...) and no embedded "
            "SeaweedFS runs; set it, or `fanfold up`"
        )

    return Settings(
        mongodb_uri=environ.get("MONGODB_URI") or embedded["mongod"]["uri"],
        database=database_name(environ),
        bucket=bucket_name(environ),
        s3=dict(s3) if is_s3_given else embedded["seaweedfs"],
        requester_pays=environ.get("FANFOLD_REQUESTER_PAYS", "").lower() in YES,
    )


def to_environ(settings: Settings) -> dict[str, str]:
    """Return the variables that say the same to a worker elsewhere. They hold secrets."""
    named = {
        "MONGODB_URI": settings.mongodb_uri,
        "FANFOLD_DATABASE": settings.database,
        "FANFOLD_BUCKET": settings.bucket,
    }
    if settings.requester_pays:
        named["FANFOLD_REQUESTER_PAYS"] = "yes"
    s3 = {name: str(settings.s3[name]) for name in S3_ARGUMENTS if name in settings.s3}
    return named | {S3_ARGUMENTS[name]: value for name, value in s3.items()}
