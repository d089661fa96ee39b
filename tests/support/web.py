"""Web servers on loopback, for tests: pages as a test describes them, and a record of requests."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ALL_HOSTS = ""


@dataclass
class Request:
    """A request that came."""

    host: str
    path: str
    headers: dict[str, str]
    seconds: float  # of the monotonic clock


@dataclass
class Web:
    """A server for several hosts, 127.0.0.1, 127.0.0.2 and so on; 404 where it has no page."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    # The most requests that were being answered at once: of each host, and of ALL_HOSTS.
    most: dict[str, int] = field(default_factory=dict)
    _pages: dict[str, Handler] = field(default_factory=dict)
    _now: dict[str, int] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _servers: list[asyncio.Server] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def page(self, path: str, body: str | bytes = "", status: int = 200, **headers: str) -> str:
        """Put a page at a path, or a host and a path; headers with _ for -. Return its URL."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_: web.Request) -> web.Response:
            data = body.encode() if isinstance(body, str) else body
            return web.Response(body=data, status=status, headers=named)

        return self.on(path, answer)

    def on(self, path: str, answer: Handler) -> str:
        """Let a function answer at a path, or a host and a path; return the URL."""
        self._pages[path] = answer
        host, slash, rest = path.partition("/")
        return self.url(slash + rest, host or "127.0.0.1")

    def paths(self, host: str = ALL_HOSTS) -> list[str]:
        """Return the paths that were asked for, robots.txt left out."""
        return [
            request.path
            for request in self.requests
            if request.path != "/robots.txt" and host in (ALL_HOSTS, request.host)
        ]

    def talk(self, talk: Talk) -> str:
        """Start a server that talks to each connection as a function does; return its URL."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                try:
                    await talk(reader, writer)
                finally:
                    writer.close()
                    await writer.wait_closed()

        assert self._loop
        starting = asyncio.start_server(serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    def say(self, words: bytes) -> str:
        """Start a server that answers anything with these bytes, and hangs up; return its URL."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            is_robots = request.startswith(b"GET /robots.txt")
            writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n" if is_robots else words)
            await writer.drain()

        return self.talk(talk)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        host = request.url.host or ""
        path = request.path
        self.requests.append(Request(host, path, dict(request.headers), time.monotonic()))
        for name in (ALL_HOSTS, host):
            self._now[name] = self._now.get(name, 0) + 1
            self.most[name] = max(self.most.get(name, 0), self._now[name])

        try:
            answer = self._pages.get(host + path) or self._pages.get(path)
            return await answer(request) if answer else web.Response(status=404)
        except ConnectionError:  # who asked has heard enough
            return web.Response()
        finally:
            for name in (ALL_HOSTS, host):
                self._now[name] -= 1

    async def _serve(self, hosts: int, is_up: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.01)
        await runner.setup()

        try:
            for number in range(1, hosts + 1):
                await web.TCPSite(runner, f"127.0.0.{number}", self.port).start()
                self.port = runner.addresses[0][1]
            is_up.set_result(None)
            await self._stop.wait()
        except OSError as error:
            is_up.set_exception(error)
        finally:
            for server in self._servers:
                server.close()
            await runner.cleanup()


@contextmanager
def serving(hosts: int = 1) -> Iterator[Web]:
    """Serve as 127.0.0.1 to 127.0.0.<hosts>, on one free port, from a thread of its own."""
    server = Web()
    is_up = Future[None]()
    thread = threading.Thread(target=lambda: asyncio.run(server._serve(hosts, is_up)))
    thread.start()
    try:
        is_up.result()
        yield server
    finally:
        if server._loop and server._stop:
            server._loop.call_soon_threadsafe(server._stop.set)
        thread.join()
