"""The two servers that can run embedded: how each is found, started and greeted."""

import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from workers.errors import FanfoldError, Refused
from workers.settings import Settings
from workers.store import open_store

HOST = "127.0.0.1"
USER = "fanfold"


@dataclass(frozen=True)
class Server:
    """One kind of server. A note is what is kept of it: its ports, its secret."""

    name: str
    ports: int
    # From a folder and a note: the command that runs the server in the foreground.
    command: Callable[[Path, dict[str, Any]], list[str]]
    # From a note: what clients need to know.
    settings: Callable[[dict[str, Any]], dict[str, str]]
    # From a note: whether the server answers to its secret by now.
    greet: Callable[[dict[str, Any]], bool]
    # How long it may take to stop before it is killed.
    stop_seconds: int


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def new_note(server: Server) -> dict[str, Any]:
    """Return a note for a server that never ran: free ports and a fresh secret."""
    return {"ports": free_ports(server.ports), "secret": secrets.token_hex(20)}


def _program(name: str, packaged: str) -> str:
    """Return the path of a program: on PATH, or where its Python package keeps it."""
    if found := shutil.which(name):
        return found
    file = Path(packaged)
    if not file.exists():
        raise Refused(
            f"{name} is neither on PATH nor installed with Fanfold; install the extra "
            "`embedded` (Linux on x86-64), or set MONGODB_URI and the S3 settings"
        )
    file.chmod(file.stat().st_mode | stat.S_IXUSR)  # the wheel may have lost its run bit
    return str(file)


# mongod


def _mongod_command(folder: Path, note: dict[str, Any]) -> list[str]:
    site = sysconfig.get_path("purelib")
    program = _program("mongod", f"{site}/fiftyone/db/bin/mongod")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    command = [program, "--dbpath", f"{folder}/data", "--port", str(note["ports"][0])]
    command += ["--bind_ip", HOST, "--nounixsocket", "--auth", "--wiredTigerCacheSizeGB", "1"]
    return [*command, "--setParameter", "diagnosticDataCollectionEnabled=false"]


def _mongod_settings(note: dict[str, Any]) -> dict[str, str]:
    at = f"{HOST}:{note['ports'][0]}"
    return {"uri": f"mongodb://{USER}:{note['secret']}@{at}/?authSource=admin"}


def _mongod_greet(note: dict[str, Any]) -> bool:
    if _mongod_ping(_mongod_settings(note)["uri"]):
        return True
    # A fresh mongod lets a client on this machine make the first user, and nothing else.
    with _mongod_client(f"mongodb://{HOST}:{note['ports'][0]}/") as first:
        try:
            first.admin.command("createUser", USER, pwd=note["secret"], roles=["root"])
        except PyMongoError:
            return False
    return _mongod_ping(_mongod_settings(note)["uri"])


def _mongod_ping(uri: str) -> bool:
    with _mongod_client(uri) as client:
        try:
            client.admin.command("listDatabases", nameOnly=True)
        except PyMongoError:
            return False
        return True


def _mongod_client(uri: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(uri, serverSelectionTimeoutMS=300, connectTimeoutMS=300)


# SeaweedFS


def _weed_command(folder: Path, note: dict[str, Any]) -> list[str]:
    program = _program("weed", f"{sysconfig.get_path('scripts')}/weed")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    key = {"accessKey": USER, "secretKey": note["secret"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": USER, "credentials": [key], "actions": actions}
    config = folder / "s3.json"
    with open(config, "w", opener=owner_only) as file:
        json.dump({"identities": [identity]}, file)
    roles = ["master.port", "volume.port", "filer.port", "s3.port"]
    named = [name for role in roles for name in (role, f"{role}.grpc")]
    ports = [f"-{name}={port}" for name, port in zip(named, note["ports"], strict=True)]
    command = [program, "-logtostderr=true", "server", f"-dir={folder}/data", f"-ip={HOST}"]
    command += [f"-ip.bind={HOST}", "-filer", "-s3", f"-s3.config={config}", *ports]
    command += ["-master.peers=none", "-master.telemetry=false", "-s3.iam=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    return [
        *command,
        "-volume.max=1000",
        "-master.volumeSizeLimitMB=256",
        "-volume.preStopSeconds=0",
    ]


def _weed_settings(note: dict[str, Any]) -> dict[str, str]:
    return {
        "endpoint_url": f"http://{HOST}:{note['ports'][6]}",
        "aws_access_key_id": USER,
        "aws_secret_access_key": note["secret"],
        "region_name": "us-east-1",
    }


def _weed_greet(note: dict[str, Any]) -> bool:
    # A write shows that the volume server has joined; listing works seconds before.
    settings = Settings(
        mongodb_uri="", database="", bucket="fanfold-ready", s3=_weed_settings(note)
    )
    store = open_store(settings, patient=False)
    try:
        store.ensure()
        store.put("ready", b"")
    except FanfoldError:
        return False
    return True


def owner_only(path: str, flags: int) -> int:
    """Open a file so that only its owner can read it (for `open`'s opener)."""
    return os.open(path, flags, 0o600)


def spawn(server: Server, folder: Path, note: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own; it outlives this process. Its log is in folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            server.command(folder, note),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )


MONGOD = Server("mongod", 1, _mongod_command, _mongod_settings, _mongod_greet, 20)
# Its volumes are on disk within milliseconds; then its filer waits 15 s for its own S3 gateway.
SEAWEEDFS = Server("seaweedfs", 8, _weed_command, _weed_settings, _weed_greet, 2)
