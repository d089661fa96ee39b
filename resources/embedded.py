"""Embedded servers: a real mongod and a real SeaweedFS on loopback, for whoever needs them.

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

import psutil
from filelock import FileLock

from resources.servers import MONGOD, SEAWEEDFS, Server, free_ports, new_note, owner_only, spawn
from workers.errors import Unavailable
from workers.settings import Settings, gives_mongodb, gives_s3, home, read_settings
from workers.store import open_store

START_SECONDS = 60


def running_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings, with embedded servers running where none are given."""
    start_servers(environ)
    return read_settings(environ)


def start_servers(environ: Mapping[str, str] = os.environ) -> None:
    """Make sure that the servers which are not given run, and that the bucket exists."""
    folder = home(environ)
    notes = _notes(folder)
    wanted = needed_servers(environ)
    if all(is_running(notes.get(server.name)) for server in wanted):
        return
    with _locked(folder):
        notes = _notes(folder)
        for server in wanted:
            if not is_running(notes.get(server.name)):
                notes.setdefault(server.name, new_note(server))
                _write(folder, notes)  # or a kill right now would lose the secret of its data
                notes[server.name] = _start(server, folder / server.name, notes[server.name])
                _write(folder, notes)
        if SEAWEEDFS in wanted:
            open_store(read_settings(environ)).ensure()


def stop_servers(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Stop the embedded servers that run; return their names. Their data stays."""
    folder, stopped = home(environ), []
    if not folder.exists():
        return []
    with _locked(folder):
        for server in (MONGOD, SEAWEEDFS):
            note = _notes(folder).get(server.name)
            if note and (process := _process(note)):
                _stop(process, server.stop_seconds)
                stopped.append(server.name)
    return stopped


def needed_servers(environ: Mapping[str, str]) -> list[Server]:
    """Return the servers that the environment does not give."""
    given = {MONGOD.name: gives_mongodb(environ), SEAWEEDFS.name: gives_s3(environ)}
    return [server for server in (MONGOD, SEAWEEDFS) if not given[server.name]]


def server_status(environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, Any]]:
    """Return what is known of each embedded server: running, pid, address."""
    notes = _notes(home(environ))
    found = {}
    for server in (MONGOD, SEAWEEDFS):
        note = notes.get(server.name)
        running = is_running(note)
        found[server.name] = {
            "needed": server in needed_servers(environ),
            "running": running,
            "pid": note["pid"] if note and running else None,
            "port": note["ports"][6 if server is SEAWEEDFS else 0] if note and running else None,
        }
    return found


def is_running(note: dict[str, Any] | None) -> bool:
    """Tell whether the server that a note speaks of still runs, and not another with its pid."""
    return note is not None and _process(note) is not None


def _process(note: dict[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(note["pid"])
        same = abs(process.create_time() - note["born"]) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, KeyError):
        return None


def _start(server: Server, place: Path, note: dict[str, Any]) -> dict[str, Any]:
    """Start a server and wait until it answers; return its note.

    It keeps its ports where they are still free, and its secret always. Ports that somebody
    takes in between cost another try.
    """
    for leftover in _leftovers(place):
        _stop(leftover, server.stop_seconds)
    for _ in range(3):
        process = spawn(server, place, note)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if server.greet(note):
                process.returncode = 0  # disowned: it is meant to outlive us, without a warning
                born = psutil.Process(process.pid).create_time()
                known = {"pid": process.pid, "born": born, "settings": server.settings(note)}
                return note | known
            time.sleep(0.1)
        process.kill()
        process.wait()
        note = note | {"ports": free_ports(server.ports)}
    raise Unavailable(f"the embedded {server.name} does not start; its log is {place}/log")


def _leftovers(place: Path) -> list[psutil.Process]:
    """Return processes that serve our data though no note knows them: a start was cut off."""
    data = f"{place}/data"
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(data in argument for argument in process.info["cmdline"] or [])
    ]


def _stop(process: psutil.Process, seconds: int) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(seconds)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=4 * START_SECONDS):
        yield


def _notes(folder: Path) -> dict[str, Any]:
    try:
        notes: dict[str, Any] = json.loads((folder / "servers.json").read_text())
    except FileNotFoundError:
        return {}
    return notes


def _write(folder: Path, notes: dict[str, Any]) -> None:
    new = folder / "servers.json.new"
    with open(new, "w", opener=owner_only) as file:
        json.dump(notes, file, indent=2)
    new.replace(folder / "servers.json")
