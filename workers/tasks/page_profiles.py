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
from workers.values import Document
from workers.web.addresses import normalised
from workers.web.politeness import Rules
from workers.web.visits import Page, Visit, visit_pages

LONGEST = 1_000  # bytes of a URL, as it is the id of a profile


class Listed(msgspec.Struct):
    """A page to visit; a line without a URL of http or https is a dead letter."""

    url: str
    tags: list[Key] = []

    def __post_init__(self) -> None:
        self.url = normalised(self.url)
        if len(self.url) > LONGEST:
            raise ValueError(f"the URL has more than {LONGEST:,} bytes")


class Seen(Visit, kw_only=True):
    """A visit to a page, and whether it found another content than the profile knew."""

    url: str
    tags: list[str]
    changed: bool


def look(listed: Sequence[Listed], known: Sequence[Document]) -> list[Seen | Exception | None]:
    """Visit each page once, however often it is listed: the first time stands for all its tags."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(listed):
        places.setdefault(one.url, []).append(place)
    profiles = {url: known[at[0]] for url, at in places.items()}
    pages = [
        Page(url, *(profile.get(name) or "" for name in ("final_url", "etag", "modified")))
        for url, profile in profiles.items()
    ]
    seen: list[Seen | Exception | None] = [None] * len(listed)
    for page, visit in zip(pages, visit_pages(pages, Rules.read()), strict=True):
        at = places[page.url]
        if isinstance(visit, Exception):
            for place in at:
                seen[place] = visit
            continue
        before = profiles[page.url].get("content_hash")
        seen[at[0]] = Seen(
            url=page.url,
            tags=sorted({tag for place in at for tag in listed[place].tags}),
            changed=visit.outcome == "ok" and before not in (None, visit.content_hash),
            **msgspec.structs.asdict(visit),
        )
    return seen


def contributions(seen: pd.DataFrame) -> Contributions:
    """Count visits, changes and failures; what a page says of itself comes from good answers.

    A good answer without ETag or Last-Modified says "" of them, so what an older one said is
    forgotten.
    """

    def of(visits: pd.DataFrame, *names: str) -> Contributions:
        return {name: rows(visits["url"], visits[name], at=visits["at"]) for name in names}

    outcome = seen["outcome"]
    changed = seen[seen["changed"]]
    failed = seen[~outcome.isin(["ok", "unchanged", "robots"])]
    tagged = seen.explode("tags").dropna(subset=["tags"])
    return {
        **of(seen, "status", "outcome"),
        **of(seen[seen["status"] > 0], "latency_seconds"),
        **of(seen[outcome.isin(["ok", "unchanged"])], "final_url", "etag", "modified"),
        **of(seen[outcome == "ok"], "content_hash", "title", "bytes"),
        "first_seen": rows(seen["url"], seen["at"]),
        "visited_at": rows(seen["url"], seen["at"]),
        "changed_at": rows(changed["url"], changed["at"]),
        "visits": rows(seen["url"]),
        "changes": rows(changed["url"]),
        "failures": rows(failed["url"]),
        "tags": rows(tagged["url"], key=tagged["tags"]),
    }


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
        of=lambda listed: listed.url,
        known=["final_url", "etag", "modified", "content_hash"],
        makes=Seen,
        look=look,
    ),
)

asset = Asset(
    name="page_profiles",
    description=__doc__,
    partitions=Partitions(every="day", start="2013-01-01"),
    template="pages/dt={partition}/",
    sizes=Sizes(min_items=20, max_items=1_000, target_seconds=120, seconds_per_item=0.5),
    tolerance=Tolerance(count=20, rate=0.01),
    open_partitions=7,
    # Every six hours the day's pages again. Off until turned on: it visits other people's servers.
    schedule=Schedule(cron="0 */6 * * *", current_partition=True),
)
