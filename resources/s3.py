"""Dagster's door to S3: what dagster-aws's S3Resource says wins, field by field, over settings."""

from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource

from resources.embedded import running_settings
from workers.settings import S3_ARGUMENTS, Settings
from workers.store import open_store


class SettingsS3Resource(S3Resource):
    """S3 as the settings have it, but for what is said here."""

    def get_client(self) -> Any:
        """Return boto3's client, for ops of one's own."""
        return open_store(running_settings(s3=arguments_of(self))).client


# The S3 of this code location, and of its commands. Put `S3Resource(endpoint_url=...)` here, with
# `dg.EnvVar("NAME")` for what is secret; docs/deploy.md says what wins.
S3: S3Resource = SettingsS3Resource()


def location_settings() -> Settings:
    """Return the settings of this code location, with servers running where none are given."""
    return running_settings(s3=arguments_of(S3))


def arguments_of(s3: S3Resource) -> dict[str, Any]:
    """Return what a resource says, as arguments of boto3's client; nothing where it is silent.

    Its `max_attempts` is left out: how long a request is repeated is for the store.
    """
    said = {name: _plain(getattr(s3, name)) for name in S3_ARGUMENTS}
    arguments: dict[str, Any] = {name: value for name, value in said.items() if value}
    if s3.use_unsigned_session:
        arguments["use_unsigned_session"] = True
    if not s3.use_ssl:
        arguments["use_ssl"] = False
    if s3.verify is not None:
        arguments["verify"] = s3.verify
    return arguments


def _plain(value: str | None) -> str | None:
    """Return a value, read from the environment where it names a variable of it."""
    return value.get_value() if isinstance(value, dg.EnvVar) else value
