"""Visit web pages: many at once, politely, and only at addresses that may be visited.

What the network or a page does is a fact, and a Visit tells it. Politeness holds within one call:
workers that run side by side do not know of each other.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from workers.web.addresses import guarded_socket, normalised
from workers.web.answers import Answer, outcome_of, read_answer
from workers.web.politeness import Host, Rules
from workers.web.robots import MAX_ROBOTS_BYTES, Robots, robot_of

MAX_REDIRECTS = 10
HEAD_BYTES = 256 << 10  # of a page, that are searched for its title
LEAST_SECONDS = 0.001  # of a request whose page has used up its time; aiohttp takes 0 as no bound


class Page(msgspec.Struct, frozen=True):
    """A page to visit, with where its last good answer came from and what that said of itself."""

    url: str
    final_url: str = ""
    etag: str = ""
    modified: str = ""

    def conditions(self, url: str) -> dict[str, str]:
        """Return the headers that ask for a page only if it changed; another URL's say nothing."""
        if url != self.final_url:
            return {}
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in headers.items() if value}


class Visit(msgspec.Struct, kw_only=True):
    """What came of a visit.

    outcome: `ok`; `unchanged`, where the page said so by 304; `robots`, where robots.txt forbids
    it; or why there is no page: `http_error`, `timeout`, `unreachable`, `dns`, `tls`,
    `refused_address`, `too_large`, `too_many_redirects`, `bad_redirect`, `bad_answer`, `bad_url`.
    """

    # When it ended, in milliseconds since 1970.
    visited_at: int
    outcome: str
    # Of the last answer, 0 where none came; 200 where unchanged, as the page is there.
    status: int
    # The last URL that was asked for.
    final_url: str
    # What its requests took, redirects and body included, waiting for a turn not.
    latency_seconds: float
    # SHA-256 of the decoded body, its title, its size; of `ok` only.
    content_hash: str = ""
    title: str = ""
    bytes: int = 0
    # What to send next time, to be answered only with what changed; "" where the page has none.
    etag: str = ""
    modified: str = ""


def visit_pages(pages: Sequence[Page], rules: Rules) -> list[Visit | Exception]:
    """Visit pages; return what came of each visit, and an exception where the error is ours.

    It takes as long as its busiest host: there a page starts once its turn has come, and has then
    `page_seconds`.

    It happens in a thread: asyncio swallows the exception by which a signal interrupts its own
    work, unless that is KeyboardInterrupt, and Dagster's is not.
    """
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def visit() -> list[Visit | Exception]:
        task = asyncio.current_task()
        assert task
        begun.set_result((asyncio.get_running_loop(), task))
        return await _visit_all(pages, rules)

    with ThreadPoolExecutor(1, "visits") as thread:
        visits = thread.submit(lambda: asyncio.run(visit()))
        try:
            return visits.result()
        except BaseException:
            loop, task = begun.result()
            with suppress(RuntimeError):  # the loop is closed: the error was its own
                loop.call_soon_threadsafe(task.cancel)
            raise


async def _visit_all(pages: Sequence[Page], rules: Rules) -> list[Visit | Exception]:
    # A look-up that hangs holds a thread, so there is one for each connection.
    threads = ThreadPoolExecutor(rules.connections, "look-up")
    asyncio.get_running_loop().set_default_executor(threads)

    connector = aiohttp.TCPConnector(
        limit=rules.connections,
        socket_factory=guarded_socket(rules.allowed),
        resolver=aiohttp.ThreadedResolver(),
        force_close=True,  # idle connections to hundreds of hosts would use up the descriptors
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": rules.user_agent, "Accept-Encoding": "gzip, deflate"},
        trust_env=False,  # a proxy would connect for us, to any address
    ) as session:
        crawl = _Crawl(session, rules)
        return await asyncio.gather(*(crawl.visit_or_error(page) for page in pages))


class _NoPage(Exception):
    """The visit ends here, with this outcome."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass
class _Trip:
    """How far a visit has come."""

    url: str
    status: int = 0
    seconds: float = 0.0

    def go(self, url: str, otherwise: str) -> None:
        """Turn to another URL, absolute or from here; without one, `otherwise` is the outcome."""
        try:
            self.url = normalised(str(URL(self.url).join(URL(url.strip()))))
        except ValueError as error:
            raise _NoPage(otherwise) from error


class _Crawl:
    """What the visits of one call share."""

    def __init__(self, session: aiohttp.ClientSession, rules: Rules) -> None:
        self.session = session
        self.rules = rules
        self.robot = robot_of(rules.user_agent)
        self.slots = asyncio.Semaphore(rules.connections)
        self.hosts: dict[str | None, Host] = defaultdict(lambda: Host(rules))
        self.robots: dict[URL, asyncio.Task[Robots]] = {}

    async def visit_or_error(self, page: Page) -> Visit | Exception:
        """Visit a page, and keep what goes wrong with it from the others."""
        try:
            return await self._visit(page)
        except Exception as error:  # noqa: BLE001  a bug, whatever it is: the caller hears of it
            return error

    async def _visit(self, page: Page) -> Visit:
        trip = _Trip(page.url)
        try:
            trip.go(page.url, otherwise="bad_url")
            answer = await self._follow(trip, page)
            facts = self._facts(page, trip, answer)
        except _NoPage as end:
            facts = {"outcome": end.outcome, "status": trip.status}

        return Visit(
            visited_at=time.time_ns() // 1_000_000,
            final_url=trip.url,
            latency_seconds=round(trip.seconds, 6),
            **facts,
        )

    def _facts(self, page: Page, trip: _Trip, answer: Answer) -> dict[str, Any]:
        """Return what an answer says about a page; _NoPage where it is no page."""
        etag = answer.validator("ETag")
        modified = answer.validator("Last-Modified")

        if answer.status == 304 and page.conditions(trip.url):
            return {
                "outcome": "unchanged",
                "status": 200,
                "etag": etag or page.etag,
                "modified": modified or page.modified,
            }
        if not 200 <= answer.status < 300:
            raise _NoPage("http_error")
        if answer.size > self.rules.max_bytes:
            raise _NoPage("too_large")

        return {
            "outcome": "ok",
            "status": answer.status,
            "content_hash": answer.content_hash,
            "title": answer.title,
            "bytes": answer.size,
            "etag": etag,
            "modified": modified,
        }

    async def _follow(self, trip: _Trip, page: Page | None) -> Answer:
        """Return the answer that redirects lead to; `page` is None on the way to a robots.txt."""
        asked: set[str] = set()
        while trip.url not in asked and len(asked) <= MAX_REDIRECTS:
            asked.add(trip.url)
            if page:
                await self._check_robots(trip.url)

            answer = await self._ask(trip, page)
            if not answer.is_redirect:
                return answer
            trip.go(answer.headers["Location"], otherwise="bad_redirect")
        raise _NoPage("too_many_redirects")

    async def _check_robots(self, url: str) -> None:
        """End the visit where the robots.txt of a URL's origin forbids it, or cannot be had."""
        origin = URL(url).origin()
        if origin not in self.robots:
            self.robots[origin] = asyncio.create_task(self._fetch_robots(origin))

        robots = await self.robots[origin]
        if robots.missing or not robots.allows(url):
            raise _NoPage(robots.missing or "robots")

    async def _fetch_robots(self, origin: URL) -> Robots:
        trip = _Trip(f"{origin}/robots.txt")
        try:
            answer = await self._follow(trip, None)
        except _NoPage as end:
            is_nowhere = end.outcome in ("too_many_redirects", "bad_redirect")
            missing = "" if is_nowhere else end.outcome
            return Robots.of_answer(self.robot, trip.status, missing=missing)

        robots = Robots.of_answer(self.robot, answer.status, answer.head)
        self.hosts[origin.raw_host].slow_down(robots.delay_seconds)
        return robots

    async def _ask(self, trip: _Trip, page: Page | None) -> Answer:
        """Send one request when its turn comes, within what the trip has of its time."""
        url = URL(trip.url, encoded=True)
        headers = page.conditions(trip.url) if page else None
        head_bytes = HEAD_BYTES if page else MAX_ROBOTS_BYTES
        max_bytes = self.rules.max_bytes if page else MAX_ROBOTS_BYTES

        async with self.hosts[url.raw_host].turn(self.slots):
            started = time.monotonic()
            seconds = max(self.rules.page_seconds - trip.seconds, LEAST_SECONDS)
            timeout = aiohttp.ClientTimeout(seconds, self.rules.connect_seconds)
            try:
                async with self.session.get(
                    url, headers=headers, allow_redirects=False, timeout=timeout
                ) as response:
                    trip.status = response.status
                    return await read_answer(response, head_bytes, max_bytes)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _NoPage(outcome_of(error)) from error
            finally:
                trip.seconds += time.monotonic() - started
