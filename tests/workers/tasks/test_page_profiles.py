import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from aiohttp import web as http

from tests.support.pipeline import lines
from tests.support.web import serving
from workers.declare.task import load_task
from workers.errors import Refused
from workers.tasks import page_profiles
from workers.tasks.page_profiles import asset, observe

DAY, NEXT = "2026-01-02", "2026-01-03"


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("FANFOLD_ALLOWED_NETWORKS", "127.0.0.1/32,127.0.0.2/31")
    monkeypatch.setenv("FANFOLD_HOST_DELAY_SECONDS", "0")
    monkeypatch.setenv("FANFOLD_HOST_CONNECTIONS", "10")
    with serving(hosts=4) as server:
        yield server


@pytest.fixture
def pages(pipeline, web):
    """The pipeline of page_profiles."""
    return replace(pipeline, asset=asset)


def put(pipeline, *urls, day=DAY, name="urls.txt"):
    """Put a block of URLs: a line each, or JSON lines with tags."""
    is_text = name.endswith(".txt")
    body = "\n".join(urls).encode() if is_text else lines([{"url": u, "tags": t} for u, t in urls])
    pipeline.store.put(f"pages/dt={day}/{name}", body)


# Five hundred pages, and what each of ten is like.

KINDS = ["slow", "404", "500", "private", "moved", "edited", "etag", "etag", "modified", "bare"]
FAILURES = {  # the status and the outcome
    "404": (404, "http_error"),
    "500": (500, "http_error"),
    "private": (302, "refused_address"),
}


def kind_of(path):
    return KINDS[int(path.rpartition("/")[2]) % 10]


class Site:
    """Pages of all kinds; `edition` is what the edited ones are at."""

    def __init__(self, web):
        self.web, self.edition = web, 1
        self.urls = [web.on(f"127.0.0.{1 + n % 3}/page/{n}", self.answer) for n in range(500)]
        for n in range(500):
            web.on(f"127.0.0.2/new/{n}", self.say)
        web.page("127.0.0.4/secret", "secret")

    async def answer(self, request):
        kind = kind_of(request.path)
        if kind in ("404", "500"):
            return http.Response(status=int(kind))
        if kind == "private":
            return self.to("127.0.0.4", "/secret")
        if kind == "moved":
            return self.to("127.0.0.2", request.path.replace("page", "new"))
        await asyncio.sleep(0.05 if kind == "slow" else 0)
        return await self.say(request)

    def to(self, host, path):
        return http.Response(status=302, headers={"Location": self.web.url(path, host)})

    async def say(self, request):
        kind = kind_of(request.path)
        edition = self.edition if kind == "edited" else 1
        says = {"ETag": f'"{edition}"'}
        if kind == "modified":
            says = {"Last-Modified": "Fri, 02 Jan 2026 00:00:00 GMT"}
        if kind != "bare" and next(iter(says.values())) in self.conditions(request.headers):
            return http.Response(status=304, headers=says)
        text = f"<title>Page {request.path} edition {edition}</title>"
        headers = says if kind != "bare" else {}
        return http.Response(text=text, content_type="text/html", headers=headers)

    def conditions(self, headers):
        sent = [headers.get("If-None-Match"), headers.get("If-Modified-Since")]
        return [condition for condition in sent if condition]


@pytest.mark.parametrize("second", [NEXT, DAY], ids=["the next day", "the same day again"])
def test_five_hundred_pages_are_visited_and_again_only_for_what_changed(pages, web, second):
    site = Site(web)
    pipeline = pages.sized(100)
    put(pipeline, *site.urls)
    put(pipeline, *site.urls, day=NEXT)

    first = pipeline.run(DAY)
    assert (first["items_used"], first["dead_letters"], first["profiles"]) == (500, 0, 500)
    profiles = {profile["_id"]: profile for profile in pipeline.profiles.find()}
    assert set(profiles) == set(site.urls)
    for url, profile in profiles.items():
        kind = kind_of(url)
        assert (profile["visits"], profile["changes"], profile["changed_at"]) == (1, 0, None)
        assert profile["failures"] == (kind in FAILURES)
        assert (profile["status"], profile["outcome"]) == FAILURES.get(kind, (200, "ok"))
    assert not any(site.conditions(request.headers) for request in web.requests)
    moved = profiles[site.urls[4]]
    assert moved["final_url"] == web.url("/new/4", "127.0.0.2")
    assert moved["title"] == "Page /new/4 edition 1"

    web.requests.clear()
    site.edition = 2
    again = pipeline.run(second)
    assert (again["items_used"], again["dead_letters"], again["batches_reused"]) == (500, 0, 0)
    for profile in pipeline.profiles.find():
        kind = kind_of(profile["_id"])
        before = profiles[profile["_id"]]
        assert profile["visits"] == 2
        assert profile["changes"] == (kind == "edited")
        assert (profile["changed_at"] is not None) == (kind == "edited")
        assert profile["failures"] == 2 * (kind in FAILURES)
        assert profile["status"] == before["status"]
        same = ("title", "bytes", "etag", "modified", "content_hash", "final_url")
        assert all(profile[name] == before[name] for name in same) == (kind != "edited")
        is_304 = kind not in {*FAILURES, "edited", "bare"}
        assert profile["outcome"] == ("unchanged" if is_304 else before["outcome"])
    conditional = [request for request in web.requests if site.conditions(request.headers)]
    # Each page that gave an ETag or a Last-Modified with a good answer, once.
    assert len(conditional) == 50 * sum(kind not in {*FAILURES, "bare"} for kind in KINDS)
    assert len({request.host + request.path for request in conditional}) == len(conditional)
    assert not web.paths("127.0.0.4")
    assert pipeline.letters() == []
    assert pipeline.verify().match


# One page


def test_every_change_counts_even_one_back_and_a_failure_between_is_none(pages, web):
    url = web.page("/a", "old")
    put(pages, url)
    counts = []
    for body, status in [("old", 200), ("new", 200), ("old", 200), ("", 503), ("old", 200)]:
        web.page("/a", body, status=status)
        pages.run(DAY)
        profile = pages.profile(url)
        counts.append((profile["visits"], profile["changes"], profile["failures"]))
    assert counts == [(1, 0, 0), (2, 1, 0), (3, 2, 0), (4, 2, 1), (5, 2, 1)]
    assert profile["first_seen"] < profile["changed_at"] < profile["visited_at"]


def test_a_failure_leaves_what_was_known_of_the_page(pages, web):
    url = web.page("/a", "<title>A</title>", Content_Type="text/html", ETag='"1"')
    put(pages, url)
    pages.run(DAY)
    web.page("/a", "gone", status=404)
    pages.run(DAY)
    profile = pages.profile(url)
    assert (profile["outcome"], profile["status"], profile["failures"]) == ("http_error", 404, 1)
    assert (profile["title"], profile["bytes"], profile["etag"]) == ("A", 16, '"1"')


def test_an_etag_that_a_page_no_longer_gives_is_forgotten(pages, web):
    url = web.page("/a", "page", ETag='"1"', Last_Modified="Mon")
    put(pages, url)
    pages.run(DAY)
    web.page("/a", "page")
    pages.run(DAY)
    assert (pages.profile(url)["etag"], pages.profile(url)["modified"]) == ("", "")
    pages.run(DAY)
    sent = [request.headers for request in web.requests if request.path == "/a"]
    assert [headers.get("If-None-Match") for headers in sent] == [None, '"1"', None]


def test_a_page_that_robots_txt_forbids_did_not_fail(pages, web):
    web.page("/robots.txt", "User-agent: *\nDisallow: /")
    put(pages, url := web.page("/a"))
    pages.run(DAY)
    profile = pages.profile(url)
    assert (profile["outcome"], profile["status"], profile["failures"]) == ("robots", 0, 0)


# Items


def test_a_url_that_is_listed_more_than_once_is_visited_once_with_all_its_tags(pages, web):
    url = web.page("/a", "page")
    upper = url.replace("http", "HTTP")
    put(pages, (url, ["x"]), (f" {upper}#part", ["y", "a.b"]), (url, []), name="a.jsonl")
    summary = pages.run(DAY)
    assert (summary["items_used"], summary["items_skipped"], summary["profiles"]) == (3, 2, 1)
    assert web.paths() == ["/a"]
    assert pages.profile(url)["tags"] == ["a.b", "x", "y"]


def test_a_url_in_two_blocks_of_a_batch_is_visited_once(pages, web):
    url = web.page("/a", "page")
    put(pages, url, name="a.txt")
    put(pages, url, name="b.txt")
    assert pages.run(DAY)["items_skipped"] == 1
    assert web.paths() == ["/a"]


def test_lines_of_text_and_json_lines_list_the_same_pages(pages, web):
    put(pages, web.page("/a"), "", f"  {web.page('/b')}\r")
    put(pages, (web.url("/c"), ["x"]), name="b.jsonl")
    assert pages.run(DAY)["items_used"] == 3
    assert sorted(web.paths()) == ["/a", "/b", "/c"]


def test_a_line_that_is_no_url_of_a_page_is_a_dead_letter_with_its_reason(pages, web):
    put(pages, web.page("/a"), "ftp://h/", "a b", f"{web.url('/')}{'x' * 1000}")
    assert pages.run(DAY)["dead_letters"] == 3
    reasons = " ".join(letter["reason"] for letter in pages.letters())
    assert Counter(reasons.split())["http://"] == 2
    assert "more than 1,000 bytes" in reasons


def test_an_error_of_ours_is_a_dead_letter_of_each_item_of_the_page(pages, web, monkeypatch):
    def visit_pages(wanted, rules):
        return [
            ZeroDivisionError("ours") if "bug" in page.url else real([page], rules)[0]
            for page in wanted
        ]

    real = page_profiles.visit_pages
    monkeypatch.setattr(page_profiles, "visit_pages", visit_pages)
    put(pages, web.page("/bug"), web.page("/fine"), web.page("/bug"))
    summary = pages.run(DAY)
    assert (summary["items_used"], summary["dead_letters"]) == (1, 2)
    assert {letter["reason"] for letter in pages.letters()} == {
        "ZeroDivisionError in the task: ours"
    }
    monkeypatch.setattr(page_profiles, "visit_pages", real)
    assert pages.redrive(DAY)["dead_letters"] == 0
    assert pages.profile(web.url("/bug"))["visits"] == 1


def test_a_wrong_setting_stops_the_batch_by_name(web, monkeypatch):
    monkeypatch.setenv("FANFOLD_HOST_CONNECTIONS", "none")
    listed = load_task("page_profiles").item("http://h/")
    with pytest.raises(Refused, match="FANFOLD_HOST_CONNECTIONS"):
        observe([listed], [{}])
