import asyncio
import gzip
import hashlib
import os
import signal
import socket
import time

import msgspec
import pytest
from aiohttp import web as http

from tests.support.web import serving
from workers.errors import Refused
from workers.web import visits
from workers.web.addresses import networks
from workers.web.politeness import Rules
from workers.web.visits import Page, Visit, visit_pages

LOOPBACK = networks("127.0.0.0/8")
RULES = Rules(user_agent="Fanfold/test", allowed=LOOPBACK, host_delay_seconds=0, host_connections=9)


@pytest.fixture
def web():
    with serving(hosts=4) as server:
        yield server


def visit(url, **rules):
    """Visit one page."""
    page = url if isinstance(url, Page) else Page(url)
    (visited,) = visit_pages([page], msgspec.structs.replace(RULES, **rules))
    return visited


def known_page(visited):
    """Return the page of a visit as its profile would know it."""
    return Page(visited.final_url, visited.final_url, visited.etag, visited.modified)


def slowly(seconds):
    """Return a page that takes its time."""

    async def answer(_):
        await asyncio.sleep(seconds)
        return http.Response(text="late")

    return answer


async def until(is_so):
    """Wait for what the other requests bring about."""
    while not is_so():
        await asyncio.sleep(0.001)


def resolve(monkeypatch, **addresses):
    """Let names mean addresses; of a list, each look-up takes the next. Others do not exist."""

    def look_up(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        known = addresses.get(host.partition(".")[0])
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        address = known if isinstance(known, str) else known.pop(0)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(kind, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


# What a visit tells


def test_a_visit_tells_what_the_page_is(web):
    body = "<title>A page</title>é".encode()
    url = web.page("/a", body, Content_Type="text/html", ETag='"1"', Last_Modified="Mon")
    before = time.time_ns() // 1_000_000
    visited = visit(url)

    assert before <= visited.visited_at <= time.time_ns() // 1_000_000
    assert 0 < visited.latency_seconds < 30

    facts = msgspec.structs.replace(visited, visited_at=0, latency_seconds=0)
    assert facts == Visit(
        visited_at=0,
        outcome="ok",
        status=200,
        final_url=url,
        latency_seconds=0,
        content_hash=hashlib.sha256(body).hexdigest(),
        title="A page",
        bytes=len(body),
        etag='"1"',
        modified="Mon",
    )


def test_visits_are_parallel_to_the_pages(web):
    urls = [web.page(f"/{n}", f"{n}" * n) for n in range(20)]
    visits_made = visit_pages([Page(url) for url in urls], RULES)
    assert [visit.bytes for visit in visits_made] == [len(f"{n}" * n) for n in range(20)]
    assert visit_pages([], RULES) == []


def test_only_html_has_a_title_and_its_charset_is_respected(web):
    body = "<title>Grüße</title>".encode("latin-1")
    assert visit(web.page("/a", body, Content_Type="text/html; charset=latin-1")).title == "Grüße"
    assert (
        visit(web.page("/b", body, Content_Type="text/html; charset=no")).title == "Gr\ufffd\ufffde"
    )
    assert visit(web.page("/c", body, Content_Type="text/plain")).title == ""


def test_the_hash_and_the_size_are_of_the_decoded_body(web):
    zipped = gzip.compress(b"hello")
    visited = visit(web.page("/z", zipped, Content_Encoding="gzip"))
    assert (visited.bytes, visited.content_hash) == (5, hashlib.sha256(b"hello").hexdigest())


@pytest.mark.parametrize("status", [300, 301, 304, 400, 404, 410, 429, 500, 503])
def test_an_answer_without_a_page_is_a_fact_with_its_status(web, status):
    visited = visit(web.page("/gone", "sorry", status=status))
    assert (visited.outcome, visited.status) == ("http_error", status)
    assert (visited.content_hash, visited.title, visited.bytes) == ("", "", 0)


def test_a_url_that_is_no_url_of_a_page_is_a_fact():
    for url in ("ftp://h/", "mailto:x", "http://", "h/x", "", "http://a b/", "http://u:p@h/"):
        assert (visit(url).outcome, visit(url).status) == ("bad_url", 0)


# Conditional requests


def test_a_page_that_did_not_change_says_so_in_a_304(web):
    async def answer(request):
        if request.headers.get("If-None-Match") == '"1"':
            return http.Response(status=304)
        return http.Response(text="page", headers={"ETag": '"1"', "Last-Modified": "Mon"})

    first = visit(web.on("/a", answer))
    again = visit(known_page(first))
    assert (first.outcome, again.outcome, again.status) == ("ok", "unchanged", 200)
    assert (again.etag, again.modified) == ('"1"', "Mon")
    assert (again.content_hash, again.bytes) == ("", 0)
    sent = web.requests[-1].headers
    assert (sent["If-None-Match"], sent["If-Modified-Since"]) == ('"1"', "Mon")


def test_what_a_page_says_of_itself_is_not_sent_to_another_url(web):
    target = web.page("/new", "page", ETag='"2"')
    web.page("/old", status=302, Location=target)
    visit(Page(web.url("/old"), web.url("/old"), '"1"'))
    visit(Page(web.url("/old"), target, '"2"'))
    sent = [
        request.headers.get("If-None-Match")
        for request in web.requests
        if request.path != "/robots.txt"
    ]
    assert sent == ['"1"', None, None, '"2"']


def test_a_304_that_nobody_asked_for_is_an_error_of_the_server(web):
    assert visit(web.page("/a", status=304)).outcome == "http_error"


def test_an_etag_that_cannot_be_sent_back_is_not_kept(web):
    assert visit(web.page("/a", ETag='"é"')).etag == ""
    assert visit(web.page("/b", ETag='"' + "x" * 1000 + '"')).etag == ""


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_to_the_final_url(web, status):
    target = web.page("/new?x=1", "page")
    web.page("/new", "page")
    web.page("/half", status=302, Location="new?x=1#part")
    visited = visit(web.page("/old", status=status, Location="/half"))
    assert (visited.outcome, visited.status, visited.final_url) == ("ok", 200, target)


def test_ten_redirects_are_followed_and_no_more(web):
    for number in range(12):
        web.page(f"/{number}", status=302, Location=f"/{number + 1}")
    web.page("/12", "page")
    assert visit(web.url("/2")).outcome == "ok"
    web.requests.clear()
    assert (visit(web.url("/1")).outcome, len(web.paths())) == ("too_many_redirects", 11)


def test_a_loop_of_redirects_is_left_where_it_closes(web):
    web.page("/a", status=302, Location="/b")
    web.page("/b", status=302, Location="/a")
    assert visit(web.url("/a")).outcome == "too_many_redirects"
    assert web.paths() == ["/a", "/b"]


@pytest.mark.parametrize("target", ["ftp://h/x", "file:///etc/passwd", "data:,x", "//a b/"])
def test_a_redirect_to_what_is_no_web_page_is_not_followed(web, target):
    visited = visit(web.page("/a", status=302, Location=target))
    assert (visited.outcome, visited.status) == ("bad_redirect", 302)


# Addresses


def test_private_addresses_are_refused_unless_a_setting_allows_them(web):
    url = web.page("/a", "page")
    visited = visit(url, allowed=())
    assert (visited.outcome, visited.status, web.requests) == ("refused_address", 0, [])
    assert visit(url, allowed=networks("127.0.0.1/32")).outcome == "ok"
    assert visit(web.url("/a", "127.0.0.2"), allowed=networks("127.0.0.1/32")).outcome == (
        "refused_address"
    )


@pytest.mark.parametrize("host", ["[::1]", "[::]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0"])
def test_loopback_is_refused_however_it_is_named(web, host):
    assert visit(web.url("/", host), allowed=()).outcome == "refused_address"


def test_a_redirect_to_a_private_address_is_refused(web):
    url = web.page("127.0.0.1/a", status=302, Location=web.url("/secret", "127.0.0.2"))
    visited = visit(url, allowed=networks("127.0.0.1/32"))
    assert (visited.outcome, visited.status) == ("refused_address", 302)
    assert web.paths("127.0.0.2") == []


def test_a_redirect_of_robots_txt_to_a_private_address_is_refused(web):
    web.page("127.0.0.1/robots.txt", status=302, Location=web.url("/secret", "127.0.0.2"))
    visited = visit(web.page("/a"), allowed=networks("127.0.0.1/32"))
    assert (visited.outcome, web.paths()) == ("refused_address", [])


def test_a_name_that_means_another_address_the_next_time_gains_nothing(web, monkeypatch):
    resolve(monkeypatch, rebinding=["127.0.0.1", "127.0.0.2"])
    other = web.say(b"HTTP/1.1 200 OK\r\n\r\nsecret").replace("127.0.0.1", "rebinding.test")
    web.page("/a", status=302, Location=other)
    visited = visit(web.url("/a", "rebinding.test"), allowed=networks("127.0.0.1/32"))
    assert (visited.outcome, visited.status, visited.final_url) == ("refused_address", 302, other)


def test_of_a_name_with_several_addresses_only_public_ones_are_used(web, monkeypatch):
    def look_up(host, port, *_, **__):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    web.page("/a", "page")
    addresses = ["127.0.0.2", "10.0.0.1"]
    assert visit(web.url("/a", "two.test"), allowed=()).outcome == "refused_address"
    addresses = ["10.0.0.1", "127.0.0.1"]
    assert visit(web.url("/a", "two.test")).outcome == "ok"


def test_a_proxy_of_the_environment_is_not_used(web, monkeypatch):
    monkeypatch.setenv("http_proxy", web.url("/proxy", "127.0.0.2"))
    monkeypatch.setenv("HTTP_PROXY", web.url("/proxy", "127.0.0.2"))
    assert visit(web.page("/a", "page")).outcome == "ok"
    assert {request.host for request in web.requests} == {"127.0.0.1"}


# Failures of the network


def test_a_name_that_does_not_exist_is_a_fact(monkeypatch):
    resolve(monkeypatch)
    assert visit("http://nothing.test/").outcome == "dns"


def test_a_look_up_that_hangs_holds_no_other(web, monkeypatch):
    real = socket.getaddrinfo

    def look_up(host, *rest, **more):
        if host == "hangs.test":
            time.sleep(1)
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    web.page("/a")
    pages = [Page(web.url("/a", f"{name}.test")) for name in ("hangs", *"abcdefgh")]
    visits_made = visit_pages(
        pages, msgspec.structs.replace(RULES, connections=3, connect_seconds=0.5)
    )
    assert [visit.outcome for visit in visits_made] == ["timeout"] + ["ok"] * 8


def test_a_server_that_does_not_listen_or_hangs_up_is_unreachable(web):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert visit(f"http://127.0.0.1:{port}/").outcome == "unreachable"
    assert visit(web.say(b"")).outcome == "unreachable"


def test_a_server_without_tls_where_tls_is_asked_for_is_a_fact(web):
    assert visit(web.url("/").replace("http:", "https:")).outcome == "tls"


@pytest.mark.parametrize(
    "words",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_a_fact(web, words):
    assert visit(web.say(words)).outcome == "bad_answer"


def test_a_page_that_takes_too_long_is_a_fact_and_holds_no_other(web):
    web.on("/hangs", slowly(60))
    pages = [Page(web.url("/hangs")), Page(web.page("/fine"))]
    hangs, fine = visit_pages(pages, msgspec.structs.replace(RULES, page_seconds=1))
    assert (hangs.outcome, hangs.status, fine.outcome) == ("timeout", 0, "ok")


def test_a_body_that_drips_is_cut_off_in_time(web):
    async def drips(request):
        answer = http.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x")
            await asyncio.sleep(0.01)

    visited = visit(web.on("/a", drips), page_seconds=0.5)
    assert (visited.outcome, visited.status) == ("timeout", 200)


def test_the_hops_of_a_redirect_share_the_time_of_a_page(web):
    async def hop(request):
        await asyncio.sleep(0.1)
        return http.Response(status=302, headers={"Location": request.path + "x"})

    for number in range(10):
        web.on("/" + "x" * number, hop)
    assert visit(web.url("/"), page_seconds=0.5).outcome == "timeout"


def test_a_page_that_is_too_large_is_not_read_to_its_end(web):
    sent = []

    async def endless(request):
        answer = http.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 10_000)
            sent.append(10_000)

    visited = visit(web.on("/a", endless), max_bytes=50_000)
    assert (visited.outcome, visited.status, visited.content_hash) == ("too_large", 200, "")
    assert visit(web.page("/b", b"x" * 50_000), max_bytes=50_000).outcome == "ok"
    assert visit(web.page("/c", b"x" * 50_001), max_bytes=50_000).outcome == "too_large"


def test_a_decompression_bomb_is_measured_by_what_it_becomes(web):
    bomb = gzip.compress(b"\0" * 30_000_000)
    assert len(bomb) < 50_000
    visited = visit(web.page("/a", bomb, Content_Encoding="gzip"), max_bytes=1_000_000)
    assert visited.outcome == "too_large"


def test_an_error_of_ours_concerns_its_page_alone(web, monkeypatch):
    real = visits.read_answer

    async def read(response, head_bytes, max_bytes):
        if response.url.path == "/bug":
            raise ZeroDivisionError("a bug")
        return await real(response, head_bytes, max_bytes)

    monkeypatch.setattr(visits, "read_answer", read)
    bug, fine = visit_pages([Page(web.page("/bug")), Page(web.page("/fine"))], RULES)
    assert isinstance(bug, ZeroDivisionError)
    assert fine.outcome == "ok"


def test_running_out_of_file_descriptors_is_an_error_of_ours(web, monkeypatch):
    def none_left(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(visits, "guarded_socket", lambda _: none_left)
    assert isinstance(visit(web.page("/a")), OSError)


class Interrupt(BaseException):
    """What a signal means to whoever runs us."""


@pytest.fixture
def interruptible():
    """A signal raises an exception that asyncio does not know of, as in Dagster's ops."""

    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_visits_even_in_the_middle_of_what_asyncio_does(
    web, monkeypatch, interruptible
):
    async def read(*_):
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(visits, "read_answer", read)
    started = time.monotonic()
    with pytest.raises(Interrupt):
        visit(web.page("/a"))
    assert time.monotonic() - started < 30


# Politeness


def test_we_say_who_we_are_and_keep_no_cookies(web):
    web.page("/a", Set_Cookie="a=1")
    visit_pages([Page(web.url("/a?1"))] + [Page(web.url("/a?2"))] * 3, RULES)
    assert {request.headers["User-Agent"] for request in web.requests} == {"Fanfold/test"}
    assert not any("Cookie" in request.headers for request in web.requests)


def test_a_host_has_no_more_connections_than_the_rules_say(web):
    async def busy(_):
        await until(lambda: web.most[""] >= 5)
        await asyncio.sleep(0.02)
        return http.Response()

    web.on("/a", busy)
    pages = [Page(web.url(f"/a?{n}", f"127.0.0.{1 + n % 3}")) for n in range(18)]
    rules = msgspec.structs.replace(RULES, host_connections=2, connections=5)
    assert {visit.outcome for visit in visit_pages(pages, rules)} == {"ok"}
    assert web.most[""] == 5
    assert max(web.most[f"127.0.0.{n}"] for n in (1, 2, 3)) == 2


def test_pages_of_other_hosts_do_not_wait_for_a_slow_one(web):
    async def slow(_):
        await until(lambda: len(web.paths("127.0.0.2")) == 9)
        return http.Response()

    web.on("127.0.0.1/a", slow)
    fine = web.page("127.0.0.2/a")
    pages = [Page(web.url(f"/a?{n}")) for n in range(4)] + [Page(f"{fine}?{n}") for n in range(9)]
    rules = msgspec.structs.replace(RULES, host_connections=1, connections=2)
    assert {visit.outcome for visit in visit_pages(pages, rules)} == {"ok"}


def test_requests_to_a_host_start_with_a_pause_between(web):
    web.page("/a")
    pages = [Page(web.url(f"/a?{n}", f"127.0.0.{1 + n % 2}")) for n in range(6)]
    visit_pages(pages, msgspec.structs.replace(RULES, host_delay_seconds=0.1))
    for host in ("127.0.0.1", "127.0.0.2"):
        starts = [request.seconds for request in web.requests if request.host == host]
        assert len(starts) == 4
        assert starts[-1] - starts[0] >= 0.2  # three pauses, less what the first was late


def test_robots_txt_may_ask_for_a_longer_pause_within_bounds(web):
    web.page("127.0.0.1/robots.txt", "User-agent: *\nCrawl-delay: 0.1")
    web.page("127.0.0.2/robots.txt", "User-agent: *\nCrawl-delay: 3600")
    web.page("/a")
    rules = msgspec.structs.replace(RULES, longest_delay_seconds=0.2)
    visit_pages([Page(web.url("/a", f"127.0.0.{1 + n % 2}")) for n in range(4)], rules)
    for host, pause in (("127.0.0.1", 0.1), ("127.0.0.2", 0.2)):
        starts = [request.seconds for request in web.requests if request.host == host]
        assert pause * 1.5 <= starts[-1] - starts[0] < 30


# robots.txt


def test_what_robots_txt_forbids_is_not_visited(web):
    web.page("/robots.txt", "User-agent: Fanfold\nDisallow: /private\nAllow: /private/not")
    pages = ["/private/x", "/private/not", "/other"]
    visits_made = visit_pages([Page(web.page(path)) for path in pages], RULES)
    assert [visit.outcome for visit in visits_made] == ["robots", "ok", "ok"]
    assert sorted(web.paths()) == ["/other", "/private/not"]
    assert visits_made[0].status == 0


def test_robots_txt_is_asked_for_once_for_each_host(web):
    web.page("/a")
    visit_pages([Page(web.url(f"/a?{n}", f"127.0.0.{1 + n % 2}")) for n in range(10)], RULES)
    assert [request.host for request in web.requests if request.path == "/robots.txt"].count(
        "127.0.0.1"
    ) == 1
    assert len(web.requests) == 12


def test_robots_txt_holds_for_hosts_that_redirects_lead_to(web):
    web.page("127.0.0.2/robots.txt", "User-agent: *\nDisallow: /")
    url = web.page("127.0.0.1/a", status=302, Location=web.url("/b", "127.0.0.2"))
    visited = visit(url)
    assert (visited.outcome, visited.status, web.paths("127.0.0.2")) == ("robots", 302, [])


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "ok"), (401, "ok"), (404, "ok"), (429, "ok"), (500, "robots")]
)
def test_without_a_robots_txt_all_is_allowed_and_nothing_while_its_server_fails(
    web, status, outcome
):
    web.page("/robots.txt", "User-agent: *\nDisallow: /", status=status)
    assert visit(web.page("/a")).outcome == outcome


def test_where_robots_txt_cannot_be_reached_the_page_is_not_visited(web):
    web.on("/robots.txt", slowly(60))
    visited = visit(web.page("/a"), page_seconds=0.2)
    assert (visited.outcome, web.paths()) == ("timeout", [])


def test_redirects_of_robots_txt_are_followed(web):
    web.page("127.0.0.1/robots.txt", status=301, Location=web.url("/robots.txt", "127.0.0.2"))
    web.page("127.0.0.2/robots.txt", "User-agent: *\nDisallow: /a")
    assert visit(web.page("/a")).outcome == "robots"
    web.page("127.0.0.1/robots.txt", status=301, Location="/robots.txt")
    assert visit(web.page("/a")).outcome == "ok"  # a file that is nowhere forbids nothing


def test_of_a_robots_txt_only_the_first_500_kib_count(web):
    web.page("/robots.txt", "User-agent: *\nDisallow: /a\n" + "#" * 600_000 + "\nDisallow: /b")
    assert visit(web.page("/a")).outcome == "robots"
    assert visit(web.page("/b")).outcome == "ok"


# Settings


def test_the_rules_come_from_the_environment():
    read = Rules.read({})
    assert read.user_agent.startswith("Fanfold/")
    assert (read.host_connections, read.host_delay_seconds, read.allowed) == (2, 0.5, ())

    set_ = Rules.read(
        {
            "FANFOLD_USER_AGENT": "Bot/2 (+mailto:me@example.org)",
            "FANFOLD_ALLOWED_NETWORKS": "10.0.0.0/8, ::1",
            "FANFOLD_HOST_DELAY_SECONDS": "0.1",
            "FANFOLD_HOST_CONNECTIONS": "3",
        }
    )

    assert set_.user_agent == "Bot/2 (+mailto:me@example.org)"
    assert (set_.host_connections, set_.host_delay_seconds) == (3, 0.1)
    assert [str(network) for network in set_.allowed] == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FANFOLD_USER_AGENT", "Bot/1\r\nX: y"),
        ("FANFOLD_USER_AGENT", "(nobody)"),
        ("FANFOLD_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("FANFOLD_ALLOWED_NETWORKS", "localhost"),
        ("FANFOLD_HOST_DELAY_SECONDS", "-1"),
        ("FANFOLD_HOST_DELAY_SECONDS", "nan"),
        ("FANFOLD_HOST_CONNECTIONS", "0"),
        ("FANFOLD_HOST_CONNECTIONS", "many"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name, text):
    with pytest.raises(Refused, match=name):
        Rules.read({name: text})
