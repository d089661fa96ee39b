"""Servers that misbehave on command: a proxy in front of S3, and a mongod of one's own."""

import http.client
import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from resources.servers import HOST, MONGOD, ServerState, free_ports

# What a fault does: `lost` serves the request and drops the answer; `break` sends half a body.
FAULTS = ("500", "503", "reset", "lost", "break", "slow")
Rule = Callable[[str, str], str | None]


class Handler(BaseHTTPRequestHandler):
    """Forwards a request as it came, signature and Host included, unless a rule says otherwise."""

    protocol_version = "HTTP/1.1"
    server: "Proxy"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(self.command, self.path)

        if fault == "hang":
            self.server.released.wait(60)
        if fault in ("hang", "reset"):
            self.close_connection = True
        elif fault in ("500", "503"):
            self._answer(int(fault), [], b"<Error><Code>%s</Code></Error>" % CODES[fault])
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def _forward(self, body: bytes, fault: str | None) -> None:
        upstream = http.client.HTTPConnection(HOST, self.server.upstream)
        try:
            upstream.putrequest(self.command, self.path, True, True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()

        if fault == "lost":
            self.close_connection = True
            return
        self._answer(answer.status, answer.getheaders(), content, fault)

    def _answer(
        self, status: int, headers: list[Any], content: bytes, fault: str | None = None
    ) -> None:
        has_body = self.command != "HEAD"
        kept = {name.lower(): value for name, value in headers}
        for name in ("transfer-encoding", "connection"):
            kept.pop(name, None)
        if has_body:
            kept["content-length"] = str(len(content))

        self.send_response_only(status)
        for name, value in kept.items():
            self.send_header(name, value)
        self.end_headers()

        if fault == "break":
            content = content[: len(content) // 2]
            self.close_connection = True
        step = max(1, len(content) // 4 if fault == "slow" else len(content))
        for start in range(0, len(content) if has_body else 0, step):
            time.sleep(0.01 if fault == "slow" else 0)
            self.wfile.write(content[start : start + step])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


CODES = {"500": b"InternalError", "503": b"SlowDown"}


class Proxy(ThreadingHTTPServer):
    """An S3 server that fails as its rule says: a function of method and path."""

    daemon_threads = True

    def __init__(self, upstream: int) -> None:
        super().__init__((HOST, 0), Handler)
        self.upstream = upstream
        self.released = threading.Event()
        # Each request with the fault that it met.
        self.seen: list[tuple[str, str, str | None]] = []
        self._lock = threading.Lock()
        self.heal()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"

    @property
    def faults(self) -> int:
        return sum(fault is not None for _, _, fault in self.seen)

    def heal(self) -> None:
        """Serve everything."""
        self._rule: Rule = lambda method, path: None

    def follow(self, rule: Rule) -> None:
        """Fail as a rule says."""
        self._rule = rule

    def fail(
        self, fault: str, times: float = 1, method: str = "", path: str = "", after: int = 0
    ) -> None:
        """Fail the next requests with this method and with this in their path, after so many."""
        numbers = itertools.count()

        def rule(its_method: str, its_path: str) -> str | None:
            if method not in its_method or path not in its_path:
                return None
            return fault if after <= next(numbers) < after + times else None

        self._rule = rule

    def sprinkle(self, seed: int, share: float) -> None:
        """Fail this share of all requests, at random."""
        dice = random.Random(seed)
        self._rule = lambda method, path: dice.choice(FAULTS) if dice.random() < share else None

    def fault(self, method: str, path: str) -> str | None:
        with self._lock:
            fault = self._rule(method, path)
            self.seen.append((method, path, fault))
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Mongod:
    """A mongod of one's own, alone or as a replica set of one; it can be killed and come back."""

    def __init__(self, folder: Path, is_replica_set: bool) -> None:
        self.state = ServerState(ports=free_ports(1), secret="")
        self.address = f"{HOST}:{self.state.ports[0]}"
        # Made-up errors do not wake the client's watcher, so it has to look often.
        self.uri = f"mongodb://{self.address}/?heartbeatFrequencyMS=500"
        self.uri += "&replicaSet=rs" if is_replica_set else ""

        command = MONGOD.command(folder, self.state)
        self.command = [argument for argument in command if argument != "--auth"]
        self.command += ["--setParameter", "enableTestCommands=1"]
        self.command += ["--replSet", "rs"] if is_replica_set else []

        self.is_replica_set = is_replica_set
        self.is_new = True
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes writes."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        with self.admin() as client:
            self._wait(lambda: client.admin.command("ping"))
            if self.is_replica_set and self.is_new:
                members = [{"_id": 0, "host": self.address}]
                client.admin.command("replSetInitiate", {"_id": "rs", "members": members})
            self.is_new = False
            self._wait(lambda: client.admin.command("hello")["isWritablePrimary"])

    def kill(self) -> None:
        """Kill it, as the end of memory or of power does."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def step_down(self, seconds: int = 1) -> None:
        """Make it refuse writes, and reads for a moment, until it elects itself again."""
        with self.admin() as client:
            client.admin.command("replSetStepDown", seconds, force=True)

    @contextmanager
    def failing(self, command: str, **how: Any) -> Iterator[None]:
        """Make commands of a kind fail meanwhile: errorCode=..., writeConcernError=..., ..."""
        with self.admin() as client:
            data = {"failCommands": [command], **how}
            set_ = partial(client.admin.command, "configureFailPoint", "failCommand")
            set_(mode="alwaysOn", data=data)
            try:
                yield
            finally:
                set_(mode="off")

    def admin(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.address, directConnection=True, serverSelectionTimeoutMS=5_000)

    def _wait(self, call: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if call():
                    return
            except PyMongoError:
                pass
            time.sleep(0.05)
        raise TimeoutError(f"the mongod at {self.address} is not there after 30 s")
