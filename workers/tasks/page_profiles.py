"""What is known of web pages: whether they answer, what they are called, when they change.

Blocks under `pages/dt={partition}/` list URLs, one a line (`.txt`) or as JSON lines with `url` and
`tags`. Each run visits them, politely and at public addresses only, and folds what it found into
one MongoDB document a page. A page that fails is a fact about it: `outcome` says why (see `Visit`
in workers/web/visits.py). A page that did not change since the last visit is not sent again (304).
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import pandas as pd

from workers.declare import (
    Asset,
    Contributions,
    Document,
    Key,
    Latest,
    Max,
    Min,
    Observe,
    Partitions,
    Schedule,
    Set,
    Sizes,
    Sum,
    Task,
    Tolerance,
    rows,
)
from workers.web.addresses import normalised
from workers.web.politeness import Rules
from workers.web.visits import Page, Visit, visit_pages

MAX_URL_BYTES = 1_000  # as a URL is the id of a profile


class Listed(msgspec.Struct):
    """A page to visit; a line without a URL of http or https is a dead letter."""

    url: str
    tags: list[Key] = []

    def __post_init__(self) -> None:
        self.url = normalised(self.url)
        if len(self.url) > MAX_URL_BYTES:
            raise ValueError(f"the URL has more than {MAX_URL_BYTES:,} bytes")


class PageVisit(Visit, kw_only=True):
    """A visit to a page, and whether the content was another than the profile knew."""

    url: str
    tags: list[str]
    changed: bool


def observe(
    listed: Sequence[Listed], known: Sequence[Document]
) -> list[PageVisit | Exception | None]:
    """Visit each page once, however often it is listed: the first time stands for all its tags."""
    numbers_by_url: dict[str, list[int]] = {}
    for number, item in enumerate(listed):
        numbers_by_url.setdefault(item.url, []).append(number)

    known_by_url = {url: known[numbers[0]] for url, numbers in numbers_by_url.items()}
    pages = [_page(url, fields) for url, fields in known_by_url.items()]
    visits = visit_pages(pages, Rules.read())

    answers: list[PageVisit | Exception | None] = [None] * len(listed)
    for page, visit in zip(pages, visits, strict=True):
        numbers = numbers_by_url[page.url]
        if isinstance(visit, Exception):
            for number in numbers:
                answers[number] = visit
            continue

        tags = {tag for number in numbers for tag in listed[number].tags}
        known_hash = known_by_url[page.url].get("content_hash")
        answers[numbers[0]] = PageVisit(
            url=page.url,
            tags=sorted(tags),
            changed=visit.outcome == "ok" and known_hash not in (None, visit.content_hash),
            **msgspec.structs.asdict(visit),
        )
    return answers


def _page(url: str, fields: Document) -> Page:
    """Return a page with what its profile knows of it, which may be nothing."""
    return Page(
        url,
        final_url=fields.get("final_url") or "",
        etag=fields.get("etag") or "",
        modified=fields.get("modified") or "",
    )


def contributions(visits: pd.DataFrame) -> Contributions:
    """Count visits, changes and failures; what a page says of itself comes from good answers.

    A good answer without ETag or Last-Modified says "" of them, so what an older one said is
    forgotten.
    """
    url = visits["url"]
    time = visits["visited_at"]
    outcome = visits["outcome"]

    answered = visits[visits["status"] > 0]
    good = visits[outcome.isin(["ok", "unchanged"])]
    sent = visits[outcome == "ok"]
    changed = visits[visits["changed"]]
    failed = visits[~outcome.isin(["ok", "unchanged", "robots"])]
    tagged = visits.explode("tags").dropna(subset=["tags"])

    return {
        **_latest(visits, "status", "outcome"),
        **_latest(answered, "latency_seconds"),
        **_latest(good, "final_url", "etag", "modified"),
        **_latest(sent, "content_hash", "title", "bytes"),
        "first_seen": rows(url, time),
        "visited_at": rows(url, time),
        "changed_at": rows(changed["url"], changed["visited_at"]),
        "visits": rows(url),
        "changes": rows(changed["url"]),
        "failures": rows(failed["url"]),
        "tags": rows(tagged["url"], key=tagged["tags"]),
    }


def _latest(visits: pd.DataFrame, *fields: str) -> Contributions:
    """Return what visits say for fields that keep the latest value."""
    url = visits["url"]
    time = visits["visited_at"]
    return {field: rows(url, visits[field], at=time) for field in fields}


task = Task(
    item=Listed,
    fields={
        "status": Latest(),
        "outcome": Latest(str),
        "final_url": Latest(str),
        "content_hash": Latest(str),
        "title": Latest(str),
        "bytes": Latest(),
        "latency_seconds": Latest(float),
        "etag": Latest(str),
        "modified": Latest(str),
        "first_seen": Min(datetime),
        "visited_at": Max(datetime),
        "changed_at": Max(datetime),
        "visits": Sum(),
        "changes": Sum(),
        "failures": Sum(),
        "tags": Set(),
    },
    contributions=contributions,
    observe=Observe(
        profile_id=lambda listed: listed.url,
        known_fields=["final_url", "etag", "modified", "content_hash"],
        observation=PageVisit,
        observe=observe,
    ),
)

asset = Asset(
    name="page_profiles",
    description=__doc__,
    partitions=Partitions(every="day", start="2013-01-01"),
    template="pages/dt={partition}/",
    sizes=Sizes(min_items=20, max_items=1_000, target_seconds=120, seconds_per_item=0.5),
    tolerance=Tolerance(count=20, rate=0.01),
    # Every six hours the day's pages again. Off until turned on: it visits other people's servers.
    schedule=Schedule(cron="0 */6 * * *", current_partition=True),
)
