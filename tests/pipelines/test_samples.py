"""The sample and the demo, on a few made-up ratings in the real data's layout."""

import gzip
import json
import zipfile

import pytest
from rich.console import Console

from pipelines import samples
from pipelines.demo import show_demo
from resources import embedded
from workers import settings

RATINGS = """user_id:token\titem_id:token\trating:float\ttimestamp:float
1\t10\t5\t891388800
1\t11\t1\t891388801
2\t10\t3\t891475200
"""
FILMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
10\tAlien\t1979\tHorror Sci-Fi
11\tBig\t1988\tComedy
"""


@pytest.fixture
def cache(servers):
    """The folder of samples, with a wheel in it, so that nothing is downloaded."""
    folder = settings.home() / "samples"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "recbole-0.whl", "w") as wheel:
        wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", RATINGS)
        wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.item", FILMS)
    yield folder
    (folder / "recbole-0.whl").unlink()


def test_ratings_become_canonical_events_in_a_block_a_day(cache):
    blocks = dict(samples.movielens(cache))
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
    blocks = samples.movielens(cache)
    assert samples.load(store, blocks, lambda _: None)["blocks_put"] == 2
    assert samples.load(store, samples.movielens(cache), lambda _: None)["blocks_put"] == 0
    store.put(blocks[0][0], b"something else")
    assert samples.load(store, blocks, lambda _: None)["blocks_put"] == 1


def test_the_demo_tells_the_whole_story_and_leaves_running_servers_alone(cache, world):
    told = Console(record=True, width=120)
    show_demo(told)
    text = told.export_text()
    assert "2 blocks under s3://" in text
    assert "2 batches (0 reused) over 3 items" in text
    assert "2 profiles match 3 raw items" in text
    assert "Horror 50%, Sci-Fi 50%" in text
    assert "make dev" in text
    assert all(server["running"] for server in embedded.status().values())
