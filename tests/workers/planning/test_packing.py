import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.declare import Asset, Sizes
from workers.planning.packing import pack, share
from workers.planning.sizing import decide_sizing, learn
from workers.tasks import user_profiles
from workers.values import BatchCost, ByteRange

USER_PROFILES = user_profiles.asset


def a_range(start: int, end: int, key: str = "k", items: int = 1) -> ByteRange:
    return ByteRange(key=key, etag="e", size=1000, start=start, end=end, items=items)


def ran(items: int, ranges: int, seconds: float) -> BatchCost:
    return BatchCost(items=items, ranges=ranges, seconds=seconds)


@given(
    items=st.lists(st.integers(1, 50), max_size=40),
    size=st.integers(1, 60),
    order=st.randoms(use_true_random=False),
)
def test_packing_keeps_every_range_once_within_the_size_in_any_order(items, size, order):
    asset = Asset(
        name="a",
        task="t",
        description="",
        partitions=USER_PROFILES.partitions,
        template=USER_PROFILES.template,
        sizes=Sizes(min_items=size, max_items=size),
    )
    ranges = [a_range(n, n + 1, items=count) for n, count in enumerate(items)]
    batches = pack(asset, "v", "p", ranges, size, 0)
    covered = []
    for batch in batches:
        for range_ in batch.ranges:
            covered += range(range_.start, range_.end)
    assert covered == list(range(len(items)))
    assert sum(batch.items for batch in batches) == sum(items)
    assert all(batch.items <= size or batch.bytes == 1 for batch in batches)
    order.shuffle(ranges)
    assert pack(asset, "v", "p", ranges, size, 0) == batches


@given(
    seconds=st.lists(st.floats(0.05, 300), min_size=1, max_size=80),
    slots=st.integers(1, 16),
    most=st.integers(1, 60),
)
def test_sharing_deals_each_batch_once_and_in_order_within_the_bounds(seconds, slots, most):
    batches = {str(number): expected for number, expected in enumerate(seconds)}
    shares = share(batches, slots, most)
    assert [batch for dealt in shares for batch in dealt] == list(batches)
    assert len(shares) <= most


def test_small_batches_share_workers_and_large_ones_do_not():
    small = {str(n): 0.05 for n in range(200)}
    assert [len(dealt) for dealt in share(small, 2, 500)] == [50] * 4
    large = {str(n): 100.0 for n in range(20)}
    assert len(share(large, 2, 500)) == 20
    assert share({}, 2, 500) == []


def test_each_slot_has_as_many_shares_as_any_other():
    seconds = {str(number): 0.06 for number in range(400)}  # 24 s in all: worth five workers
    assert len(share(seconds, 2, 500)) == 6


SIZES = Sizes(min_items=20, max_items=1000, target_seconds=120, seconds_per_item=1.0)


@pytest.mark.parametrize(
    ("given", "batch_items", "decided_by"),
    [
        ({}, 120, "target_seconds"),
        ({"seconds_per_item": 100.0}, 20, "min_items"),
        ({"seconds_per_item": 0.001}, 1000, "max_items"),
        ({"max_batch_bytes": 1_000}, 10, "max_batch_bytes"),
        ({"min_items": 500, "max_items": 100}, 100, "max_items"),
    ],
)
def test_the_size_of_a_batch_meets_the_target_within_the_bounds(given, batch_items, decided_by):
    sizing = decide_sizing(msgspec.structs.replace(SIZES, **given), [], 100_000, 10_000_000, 2)
    assert (sizing.batch_items, sizing.decided_by) == (batch_items, decided_by)


def test_batches_are_smaller_where_slots_would_be_idle_but_worth_a_worker():
    assert decide_sizing(SIZES, [], 100, 100, slots=4).batch_items == 25
    sizing = decide_sizing(SIZES, [], 100, 100, slots=50)
    assert (sizing.batch_items, sizing.decided_by) == (20, "min_items")
    cheap = msgspec.structs.replace(SIZES, min_items=1, seconds_per_item=0.5)
    assert decide_sizing(cheap, [], 100, 100, slots=50).batch_items == 10


@given(
    history=st.lists(
        st.builds(ran, st.integers(0, 10_000), st.integers(1, 500), st.floats(0, 1e4)), max_size=30
    ),
    items=st.integers(0, 10**9),
    width=st.integers(1, 10_000),
    slots=st.integers(1, 64),
    least=st.integers(1, 500),
    more=st.integers(0, 10_000),
    bytes_=st.integers(1, 10**9),
)
def test_whatever_history_says_the_bounds_hold(history, items, width, slots, least, more, bytes_):
    sizes = Sizes(min_items=least, max_items=least + more, max_batch_bytes=bytes_)
    sizing = decide_sizing(sizes, history, items, items * width, slots)
    assert 1 <= sizing.batch_items <= sizes.max_items
    if sizing.decided_by == "max_batch_bytes":
        assert sizing.batch_items * width <= max(bytes_, width)
    else:
        assert sizing.batch_items >= sizes.min_items


def test_later_batches_weigh_more_and_set_up_is_not_taken_for_work():
    cost, learned_from = learn(SIZES, [ran(100, 1, 200.06)] * 20 + [ran(100, 1, 100.06)] * 20)
    assert learned_from == 40
    assert 1.6 < cost < 1.7
    assert learn(SIZES, []) == (1.0, 0)
    assert learn(SIZES, [ran(0, 1, 5.0)]) == (1.0, 0)


def test_many_small_blocks_weigh_by_their_requests_and_not_by_their_items_alone():
    cheap = Sizes(min_items=1, max_items=1_000_000, seconds_per_item=0.000_01)
    alone = decide_sizing(cheap, [], 50_000, 50_000, slots=2)
    small = decide_sizing(cheap, [], 50_000, 50_000, slots=2, ranges=5_000)
    assert (alone.decided_by, small.decided_by) == ("slots", "max_items")
    ranges = [a_range(0, 10, key=f"{n:04}", items=10) for n in range(5_000)]
    assert len(pack(USER_PROFILES, "v", "p", ranges, 500_000, 1_000)) == 11
