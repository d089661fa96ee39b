"""What every asset needs to be run once: its blocks, and what must be there before."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.support.pipeline import Pipeline, event, lines
from workers.assets import assets

BAD = "bad"  # is in the id of a profile of each scenario, on which a fragile task fails


@dataclass(frozen=True)
class Scenario:
    """What an asset needs to be run once, with one profile whose id holds BAD."""

    partition: str
    # Puts its blocks, and whatever must be there before; gets the address of a web server.
    put: Callable[[Pipeline, str], None]
    # The column of what its task gets that names the profile.
    column: str
    # Whether another run says the same again; a page that is visited again was visited twice.
    repeats: bool = True


def put_events(pipeline: Pipeline, web: str) -> None:
    pipeline.put([event(f"user{n % 40}", author="user1", topics=["War"]) for n in range(400)])
    pipeline.put([event(BAD), b"no event"], name="b.jsonl.gz")


def put_profiles(pipeline: Pipeline, web: str) -> None:
    put_events(pipeline, web)
    replace(pipeline, asset=assets()["user_profiles"]).run()


def put_readings(pipeline: Pipeline, web: str) -> None:
    readings = [f"{device},temp,{n / 7},2013-01-02T{n:02}:00Z" for device in "ab" for n in range(9)]
    body = "\n".join(["device,metric,value,ts", *readings, "a,temp,NA,2013-01-02T10:00Z"])
    pipeline.store.put(
        "readings/dt=2013-01-02/a.csv", f"{body}\n{BAD},temp,1,1357084800\n".encode()
    )


def put_archive(pipeline: Pipeline, web: str) -> None:
    def starred(login: str) -> dict:
        return {
            "type": "WatchEvent",
            "actor": {"login": login},
            "repo": {"name": "owner/a.repo"},
            "created_at": "2015-06-01T05:00:00Z",
        }

    body = lines([starred(name) for name in ("ann", "bo", "ann", BAD)])
    pipeline.store.put("github/2015-06-01-5.json.gz", gzip.compress(body, mtime=0))


def put_urls(pipeline: Pipeline, web: str) -> None:
    urls = [f"{web}/page/{n}" for n in range(30)] + [f"{web}/{BAD}"]
    pipeline.store.put("pages/dt=2026-01-02/urls.txt", "\n".join(urls).encode())


SCENARIOS = {
    "device_profiles": Scenario("2013-01-02", put_readings, "device"),
    "github_profiles": Scenario("2015-06-01-05:00", put_archive, "actor"),
    "influence_scores": Scenario("1998-04-01", put_profiles, "id"),
    "page_profiles": Scenario("2026-01-02", put_urls, "url", repeats=False),
    "user_profiles": Scenario("1998-04-01", put_events, "user"),
}
