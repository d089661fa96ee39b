"""Many partitions listed together are as each is by itself."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import USER_PROFILES, event
from workers.sources import together
from workers.sources.objects import LeftOut
from workers.sources.together import view_partition, view_together
from workers.values import Block

DAYS = [f"1998-04-{day:02}" for day in range(1, 31)]
PAGE_KEYS = 3
TEMPLATES = {
    "events/dt={partition}/": "events/dt={day}/{name}",
    "{YYYY}/{MM}/{DD}/log": "{year}/{month}/{date}/log{name}",
    "{YYYY}-{MM}-{DD}-{H}.{*}.json": "{day}-{hour}.{name}.json",
    "logs/{*}/{YYYY}{MM}{DD}.json": "logs/{name}/{compact}.json",
    r"re:in/(?P<year>\d{4})/(?P<month>\d\d)-(?P<day>\d\d)-.*": "in/{year}/{month}-{date}-{name}",
}


class Keys:
    """A bucket that answers three keys at a time, and counts the seconds."""

    def __init__(self, keys):
        self.blocks = [Block(key=key, etag="e", size=len(key) % 3) for key in sorted(keys)]
        self.clock = itertools.count()
        self.requests = 0

    def now(self):
        return float(next(self.clock))

    def list_aged(self, prefix):
        self.requests += 1
        return ((block, 0.0) for block in self.blocks if block.key.startswith(prefix))

    def pages(self, prefix):
        mine = [block for block in self.blocks if block.key.startswith(prefix)]
        for start in range(0, max(len(mine), 1), PAGE_KEYS):
            self.requests += 1
            yield mine[start : start + PAGE_KEYS], start + PAGE_KEYS >= len(mine)


def key_of(template, day, name):
    year, month, date = day.split("-")
    return TEMPLATES[template].format(
        day=day,
        name=name,
        year=year,
        month=month,
        date=date,
        compact=day.replace("-", ""),
        hour={"a": 1, "b": 10}.get(name, 2),
    )


@pytest.fixture
def few(monkeypatch):
    """Two partitions are enough to be listed together, and one of a page to go on."""
    monkeypatch.setattr(together, "FEWEST_PARTITIONS", 1)


@given(
    template=st.sampled_from(list(TEMPLATES)),
    objects=st.sets(
        st.tuples(st.sampled_from(DAYS), st.sampled_from(["a", "b", "c", "_hidden", "1"])),
        max_size=40,
    ),
    others=st.sets(st.sampled_from(["events/x", "events/dt=1998-04-1/a", "zz", "1998/4/1"])),
    wanted=st.lists(st.sampled_from(DAYS), min_size=1, max_size=12, unique=True).map(sorted),
)
def test_together_partitions_are_as_each_is_by_itself(template, objects, others, wanted):
    asset = msgspec.structs.replace(USER_PROFILES, template=template)
    store = Keys({key_of(template, day, name) for day, name in objects} | others)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "FEWEST_PARTITIONS", 1)
        views = view_together(asset, store, wanted, store.now)
    for day, view in views.items():
        alone = view_partition(asset, store, day, store.now)
        assert (view.blocks, view.left_out) == (alone.blocks, alone.left_out)
    assert set(views) in (set(), set(wanted))


def test_each_partition_was_listed_before_the_request_that_brought_it(few):
    store = Keys({f"events/dt={day}/a.jsonl" for day in DAYS[:9]})
    views = view_together(USER_PROFILES, store, DAYS[:9], store.now)
    assert [view.listed for view in views.values()] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_large_partitions_are_listed_one_by_one():
    store = Keys({f"events/dt={day}/{n}.jsonl" for day in DAYS for n in range(10)})
    assert view_together(USER_PROFILES, store, DAYS, store.now) == {}
    assert store.requests == 1


def test_partitions_that_others_lie_between_are_listed_one_by_one(few):
    store = Keys({f"events/dt={day}/a.jsonl" for day in DAYS})
    assert view_together(USER_PROFILES, store, [DAYS[0], DAYS[29]], store.now) == {}
    assert store.requests == 1


def test_a_few_partitions_are_listed_one_by_one():
    store = Keys({f"events/dt={day}/a.jsonl" for day in DAYS})
    assert view_together(USER_PROFILES, store, DAYS[:3], store.now) == {}
    assert store.requests == 0


def test_partitions_without_a_block_are_known_as_such(few):
    store = Keys({f"events/dt={DAYS[3]}/a.jsonl"})
    views = view_together(USER_PROFILES, store, DAYS, store.now)
    assert len(views) == len(DAYS)
    assert [day for day, view in views.items() if view.blocks] == [DAYS[3]]
    assert {view.left_out for view in views.values()} == {LeftOut()}


def test_a_real_bucket_lists_many_partitions_in_one_request(pipeline):
    for day in DAYS:
        pipeline.put([event("ann")], day)
    pipeline.put([event("ann")], DAYS[4], "_hidden")
    views = view_together(pipeline.asset, pipeline.store, DAYS, pipeline.ledger.now)
    for day in DAYS:
        alone = view_partition(pipeline.asset, pipeline.store, day, pipeline.ledger.now)
        assert (views[day].blocks, views[day].left_out) == (alone.blocks, alone.left_out)
        assert views[day].blocks
        assert views[day].listed <= alone.listed
