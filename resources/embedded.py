"""Embedded servers: a real mongod, SeaweedFS and Redis on loopback, for whoever needs them.

Any process finds the ones that run or starts them; a lock makes sure that only one does. What is
known of them is in servers.json, which only its owner can read.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
from filelock import FileLock

from resources.servers import (
    MONGOD,
    REDIS,
    SEAWEEDFS,
    Server,
    ServerState,
    free_ports,
    new_state,
    owner_only,
    spawn,
)
from workers.errors import Refused, Unavailable
from workers.settings import (
    NO_ARGUMENTS,
    Settings,
    gives_mongodb,
    gives_s3,
    home,
    read_settings,
)
from workers.store import open_store

START_SECONDS = 60  # seconds that a server may take until it answers
KILL_SECONDS = 10  # seconds that a server may take to be gone once it is killed
POLL_SECONDS = 0.1
START_ATTEMPTS = 3  # each with other ports
BROKER = "FANFOLD_BROKER"  # variable that names the broker of an executor that needs one
BROKER_KINDS = ("redis://", "rediss://", "amqp://", "amqps://")
SERVERS = (MONGOD, SEAWEEDFS, REDIS)

States = dict[str, ServerState]  # by the name of the server


def running_settings(
    environ: Mapping[str, str] = os.environ, s3: Mapping[str, Any] = NO_ARGUMENTS
) -> Settings:
    """Return the settings, with embedded servers running where none are given.

    Arguments of boto3's client win over what the environment says of S3.
    """
    start_servers(environ, s3)
    return read_settings(environ, s3)


def start_servers(
    environ: Mapping[str, str] = os.environ, s3: Mapping[str, Any] = NO_ARGUMENTS
) -> None:
    """Make sure that the servers which are not given run, and that the bucket exists."""
    folder = home(environ)
    servers = needed_servers(environ, s3)
    states = _read_states(folder)
    if all(is_running(states.get(server.name)) for server in servers):
        return

    with _locked(folder):
        states = _read_states(folder)
        for server in servers:
            if not is_running(states.get(server.name)):
                _start_server(server, folder, states)

        if SEAWEEDFS in servers:
            open_store(read_settings(environ)).ensure()


def stop_servers(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Stop the embedded servers that run; return their names. Their data stays.

    All are asked to, also where one does not end: then Unavailable says so.
    """
    folder = home(environ)
    if not folder.exists():
        return []

    stopped: list[str] = []
    going_on: list[str] = []
    with _locked(folder):
        states = _read_states(folder)
        for server in SERVERS:
            state = states.get(server.name)
            if state and (process := _process(state)):
                is_over = _stop(process, server.stop_seconds)
                (stopped if is_over else going_on).append(server.name)
    if going_on:
        raise Unavailable(f"{' and '.join(going_on)} did not end, not even by force")
    return stopped


def needed_servers(
    environ: Mapping[str, str], s3: Mapping[str, Any] = NO_ARGUMENTS
) -> list[Server]:
    """Return the servers that neither the environment nor arguments of boto3's client give."""
    is_given = {
        MONGOD.name: gives_mongodb(environ),
        SEAWEEDFS.name: bool(s3) or gives_s3(environ),
        REDIS.name: gives_broker(environ) or not needs_broker(environ),
    }
    return [server for server in SERVERS if not is_given[server.name]]


def broker_url(environ: Mapping[str, str] = os.environ) -> str:
    """Return where the broker is; it holds a secret. Refused where none is given or runs."""
    state = _read_states(home(environ)).get(REDIS.name)
    url = environ.get(BROKER) or (state and state.settings.get("url"))
    if not url:
        raise Refused(f"{BROKER} is not set and no embedded Redis runs; set it, or `fanfold up`")
    if not url.startswith(BROKER_KINDS):
        raise Refused(f"{BROKER} cannot be used; it begins with one of {', '.join(BROKER_KINDS)}")
    return url


def gives_broker(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names a broker."""
    return bool(environ.get(BROKER))


def needs_broker(environ: Mapping[str, str]) -> bool:
    """Tell whether ops are handed out through a broker."""
    return environ.get("FANFOLD_EXECUTOR") == "celery"


def server_status(
    environ: Mapping[str, str] = os.environ, s3: Mapping[str, Any] = NO_ARGUMENTS
) -> dict[str, dict[str, Any]]:
    """Return what is known of each embedded server: whether it is needed and runs, pid, port.

    A broker that nobody needs, and that does not run, is left out.
    """
    states = _read_states(home(environ))
    needed = needed_servers(environ, s3)

    status = {}
    for server in SERVERS:
        state = states.get(server.name)
        running = state if is_running(state) else None
        if server is REDIS and not running and not needs_broker(environ):
            continue
        status[server.name] = {
            "needed": server in needed,
            "running": running is not None,
            "pid": running.pid if running else None,
            "port": running.ports[server.client_port] if running else None,
        }
    return status


def is_running(state: ServerState | None) -> bool:
    """Tell whether the server of a state still runs, and not another process with its pid."""
    return state is not None and _process(state) is not None


def _process(state: ServerState) -> psutil.Process | None:
    """Return the process that runs a server, or None where it is gone."""
    if not state.pid:
        return None
    try:
        process = psutil.Process(state.pid)
        is_same = abs(process.create_time() - state.born) < 1
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _start_server(server: Server, folder: Path, states: States) -> None:
    """Start a server, and write down its state before and after."""
    states.setdefault(server.name, new_state(server))
    _write_states(folder, states)  # or a kill right now would lose the secret of its data

    states[server.name] = _start(server, folder / server.name, states[server.name])
    _write_states(folder, states)


def _start(server: Server, folder: Path, state: ServerState) -> ServerState:
    """Start a server and wait until it answers; return its state.

    It keeps its ports where they are still free, and its secret always. Ports that somebody
    takes in between cost another try.
    """
    for leftover in _leftovers(folder):
        _stop(leftover, server.stop_seconds)

    for _ in range(START_ATTEMPTS):
        process = spawn(server, folder, state)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if server.is_ready(state):
                process.returncode = 0  # disowned: it is meant to outlive us, without a warning
                return msgspec.structs.replace(
                    state,
                    pid=process.pid,
                    born=psutil.Process(process.pid).create_time(),
                    settings=server.settings(state),
                )
            time.sleep(0.1)

        process.kill()
        process.wait()
        state = msgspec.structs.replace(state, ports=free_ports(server.port_count))
    raise Unavailable(f"the embedded {server.name} does not start; its log is {folder}/log")


def _leftovers(folder: Path) -> list[psutil.Process]:
    """Return processes that serve our data though no state knows them: a start was cut off."""
    data = f"{folder}/data"
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(data in argument for argument in process.info["cmdline"] or [])
    ]


def _stop(process: psutil.Process, seconds: int) -> bool:
    """End a server, by force where it takes longer than that; tell whether it is over."""
    try:
        process.terminate()
        if _is_over(process, seconds):
            return True
        process.kill()
        return _is_over(process, KILL_SECONDS)
    except psutil.NoSuchProcess:
        return True


def _is_over(process: psutil.Process, seconds: float) -> bool:
    """Wait for a process; one that is dead is over, though whoever started it has not noticed."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            process.wait(POLL_SECONDS)
        except psutil.TimeoutExpired:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            if time.monotonic() > deadline:
                return False
        else:
            return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=4 * START_SECONDS):
        yield


def _read_states(folder: Path) -> States:
    """Return what is known of each server; nothing where none ever ran."""
    try:
        text = (folder / "servers.json").read_text()
    except FileNotFoundError:
        return {}
    return msgspec.json.decode(text, type=States)


def _write_states(folder: Path, states: States) -> None:
    new = folder / "servers.json.new"
    with open(new, "w", opener=owner_only) as file:
        json.dump(msgspec.to_builtins(states), file, indent=2)
    new.replace(folder / "servers.json")
