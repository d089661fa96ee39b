"""The events of the benchmarks: the same for the same seed, and what the task reads."""

import msgspec

from benchmarks.events import USERS, event_blocks
from workers.sources.formats.lines import Lines
from workers.sources.items import ItemReader
from workers.tasks.user_profiles import Event


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others():
    first = dict(event_blocks(1_000, 3, 1, "1998-06-01"))
    assert dict(event_blocks(1_000, 3, 1, "1998-06-01")) == first
    assert dict(event_blocks(1_000, 3, 2, "1998-06-01")) != first
    assert len(first) == 3


def test_every_line_is_an_event_of_the_day():
    reader = ItemReader(Event)
    bodies = [body for _, body in event_blocks(1_000, 3, 1, "1998-06-01")]

    run = Lines(0, b"".join(bodies).splitlines())
    items = reader.items(run, lambda *bad: 1 / 0).items
    assert len(items) == 1_000

    frame = reader.frame(items)
    assert frame["ts"].between(896659200000, 896659200000 + 86_400_000).all()
    assert 300 < frame["user"].nunique() < USERS
    assert msgspec.json.encode(items[0].topics)
