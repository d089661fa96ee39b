"""An S3 server that answers as the real one may and ours never does: with errors of AWS."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from tests.support.faults import Handler, Proxy
from workers.settings import read_settings
from workers.store import BlockStore, open_store


class Said(NamedTuple):
    """An answer of S3: its status, the elements of its body, and headers."""

    status: int
    body: dict[str, str]
    headers: dict[str, str]
    # The method of the requests that get it; "" stands for any.
    method: str
    # How many requests get it before others are served.
    times: float


class SayingHandler(Handler):
    """Forwards a request, unless the server is to say something else of what it is for."""

    server: "SayingServer"

    def handle_any(self) -> None:
        path = unquote(self.path)
        for part, said in self.server.sayings.items():
            if part in path and said.method in self.command and said.times > 0:
                self.server.sayings[part] = said._replace(times=said.times - 1)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                elements = "".join(f"<{name}>{text}</{name}>" for name, text in said.body.items())
                body = f"<Error>{elements}</Error>".encode()
                headers = {"content-type": "application/xml", **said.headers}
                self._answer(said.status, list(headers.items()), body)
                return
        super().handle_any()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def send_header(self, name: str, value: str) -> None:
        super().send_header(name, value)
        for text in self.server.added.get(name.lower(), []):
            super().send_header(name, text or value)


class SayingServer(Proxy):
    """Says things of objects, and adds headers to all answers."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.RequestHandlerClass = SayingHandler
        # What is said of requests with this in their path.
        self.sayings: dict[str, Said] = {}
        # Headers that answers have once more, with these values; "" stands for the same again.
        self.added: dict[str, list[str]] = {}

    def say(
        self,
        part: str,
        status: int,
        headers: Any = None,
        method: str = "",
        times: float = math.inf,
        **body: str,
    ) -> None:
        """Say this, and nothing else, of what has the part in its path."""
        self.sayings = {part: Said(status, body, headers or {}, method, times)}


@contextmanager
def saying() -> Iterator[tuple[SayingServer, BlockStore]]:
    """Give a server in front of S3, and the bucket of the settings behind it."""
    settings = read_settings()
    server = SayingServer(int(settings.s3["endpoint_url"].rpartition(":")[2]))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        behind = msgspec.structs.replace(settings, s3=settings.s3 | {"endpoint_url": server.url})
        yield server, open_store(behind, patient=False)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
