"""The servers in use: embedded or given by settings, whether they answer; without secrets."""

import os
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pymongo

from resources.door import arguments_of_location
from resources.embedded import BROKER, needs_broker, server_status
from workers.errors import FanfoldError, Refused
from workers.ledger.mongo import mongodb_errors, open_database
from workers.settings import Settings, read_settings
from workers.store import open_store

ANSWER_SECONDS = 2  # that MongoDB has to answer
WAIT_SECONDS = 3  # for which any server is waited for
ANSWERS, STOPPED = "answers", "stopped"


class ServerInUse(NamedTuple):
    """A server that commands and runs use."""

    name: str
    # `answers`, `stopped`, or why it does not answer.
    state: str
    where: str
    is_embedded: bool

    @property
    def answers(self) -> bool:
        return self.state == ANSWERS


def servers_in_use(environ: Mapping[str, str] = os.environ) -> list[ServerInUse]:
    """Return MongoDB, S3 and, where one is needed, the broker; none of them is started."""
    arguments = arguments_of_location()
    embedded = server_status(environ, arguments)
    try:
        settings = read_settings(environ, arguments)
    except Refused:  # one that is needed never ran
        settings = None

    mongod, weed = embedded["mongod"], embedded["seaweedfs"]
    asks = {
        "MongoDB": Ask(mongod["needed"], mongod["running"], settings and _mongodb(settings)),
        "S3": Ask(weed["needed"], weed["running"], settings and _s3(settings)),
    }
    for ask in asks.values():
        ask.start()
    found = [ask.server(name) for name, ask in asks.items()]
    return [*found, *_broker(environ, embedded.get("redis"))]


def unused_servers(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the embedded servers that run, though settings name others."""
    status = server_status(environ, arguments_of_location())
    return [name for name, server in status.items() if server["running"] and not server["needed"]]


class Ask(threading.Thread):
    """Asks a server whether it is there, beside the others, and waits for seconds only."""

    def __init__(
        self, is_embedded: bool, is_running: bool, server: tuple[str, Callable[[], str]] | None
    ) -> None:
        super().__init__(daemon=True)
        self.is_embedded, self.is_running = is_embedded, is_running
        self.where, self._ask = server or ("", str)
        self._is_known = server is not None
        self._state = f"no answer within {WAIT_SECONDS} s"

    def run(self) -> None:
        """Ask it."""
        if not self._is_known or (self.is_embedded and not self.is_running):
            return
        try:
            self._state = self._ask()
        except FanfoldError as error:
            self._state = f"no answer: {error}"

    def server(self, name: str) -> ServerInUse:
        """Return what is known of it by now."""
        self.join(WAIT_SECONDS)
        if self.is_embedded and not self.is_running:
            return ServerInUse(name, STOPPED, "embedded", is_embedded=True)
        where = f"{self.where} (embedded)" if self.is_embedded else self.where
        state = self._state if self._is_known else "not asked"
        return ServerInUse(name, state, where or "given by settings", self.is_embedded)


def masked(uri: str) -> str:
    """Return a URI without its user, its password and its options."""
    scheme, found, rest = uri.partition("://")
    if not found:
        return "***"  # who knows what it is
    _, at, place = rest.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{place.partition('?')[0].rstrip('/')}"


def _mongodb(settings: Settings) -> tuple[str, Callable[[], str]]:
    def ping() -> str:
        with (
            mongodb_errors(),
            open_database(settings, patient=False).client as client,
            pymongo.timeout(ANSWER_SECONDS),
        ):
            client.admin.command("ping")
        return ANSWERS

    return f"{masked(settings.mongodb_uri)}, database {settings.database}", ping


def _s3(settings: Settings) -> tuple[str, Callable[[], str]]:
    try:
        store = open_store(settings, patient=False)
    except Refused as error:
        why = str(error)
        return f"bucket {settings.bucket}", lambda: f"unusable: {why}"
    address = masked(str(store.client.meta.endpoint_url))

    def look() -> str:
        if store.has_bucket():
            return ANSWERS
        return "no bucket: make it, or name another by FANFOLD_BUCKET"

    return f"{address}, bucket {settings.bucket}", look


def _broker(environ: Mapping[str, str], embedded: Mapping[str, object] | None) -> list[ServerInUse]:
    """Return the broker, which is not asked, where steps are handed out through one."""
    if not needs_broker(environ):
        return []
    if url := environ.get(BROKER):
        return [ServerInUse("broker", "not asked", masked(url), is_embedded=False)]
    is_running = bool(embedded and embedded["running"])
    return [ServerInUse("broker", "runs" if is_running else STOPPED, "embedded", is_embedded=True)]
