import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import event
from workers.declare.asset import Sizes
from workers.planning.packing import pack, share
from workers.planning.sizing import decide_sizing, learn
from workers.sources.slicing import Gap, cut_evenly, gaps, slice_gaps
from workers.tasks import user_profiles
from workers.values import Block, Ran, Range

USER_PROFILES = user_profiles.asset


def a_range(start: int, end: int, key: str = "k", items: int = 1) -> Range:
    return Range(key=key, etag="e", size=1000, start=start, end=end, items=items)


@given(edges=st.lists(st.integers(0, 1000), unique=True).map(sorted), keep=st.lists(st.booleans()))
def test_gaps_and_what_is_covered_make_up_the_block(edges, keep):
    tiles = list(zip([0, *edges], [*edges, 1000], strict=True))
    kept = [a_range(*tile) for tile, is_kept in zip(tiles, keep, strict=False) if is_kept]
    found = gaps("p", Block(key="k", etag="e", size=1000), kept)
    counted = [0] * 1000
    for part in [*kept, *found]:
        for byte in range(part.start, part.end):
            counted[byte] += 1
    assert counted == [1] * 1000


@given(start=st.integers(0, 50), length=st.integers(1, 50), parts=st.integers(1, 60))
def test_the_ranges_of_a_gap_cover_it_exactly(start, length, parts):
    gap = Gap(partition="p", key="k", etag="e", size=100, start=start, end=start + length)
    made = cut_evenly(gap, min(parts, length), 10)
    assert [made[0].start, *(one.end for one in made)] == [
        *(one.start for one in made),
        start + length,
    ]
    assert all(one.end > one.start for one in made)


@given(
    items=st.lists(st.integers(1, 50), max_size=40),
    size=st.integers(1, 60),
    order=st.randoms(use_true_random=False),
)
def test_packing_keeps_every_range_once_within_the_size_in_any_order(items, size, order):
    asset = USER_PROFILES.__class__(
        name="a",
        task="t",
        description="",
        partitions=USER_PROFILES.partitions,
        sizes=Sizes(min_items=size, max_items=size),
    )
    ranges = [a_range(n, n + 1, items=count) for n, count in enumerate(items)]
    made = pack(asset, "v", "p", ranges, size, 0)
    covered = [byte for b in made for one in b.ranges for byte in range(one.start, one.end)]
    assert covered == list(range(len(items)))
    assert sum(batch.items for batch in made) == sum(items)
    assert all(batch.items <= size or batch.bytes == 1 for batch in made)
    order.shuffle(ranges)
    assert pack(asset, "v", "p", ranges, size, 0) == made


@given(
    seconds=st.lists(st.floats(0.05, 300), min_size=1, max_size=80),
    slots=st.integers(1, 16),
    most=st.integers(1, 60),
)
def test_sharing_deals_each_batch_once_and_in_order_within_the_bounds(seconds, slots, most):
    batches = {str(number): own for number, own in enumerate(seconds)}
    shares = share(batches, slots, Sizes(max_workers=most))
    assert [one for own in shares for one in own] == list(batches)
    assert len(shares) <= most


def test_small_batches_share_workers_and_large_ones_do_not():
    small = {str(n): 0.05 for n in range(200)}
    assert [len(own) for own in share(small, 2, Sizes())] == [50] * 4
    large = {str(n): 100.0 for n in range(20)}
    assert len(share(large, 2, Sizes())) == 20
    assert share({}, 2, Sizes()) == []


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
        st.builds(Ran, st.integers(0, 10_000), st.integers(1, 500), st.floats(0, 1e4)), max_size=30
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
    cost, learned_from = learn(SIZES, [Ran(100, 1, 200.06)] * 20 + [Ran(100, 1, 100.06)] * 20)
    assert learned_from == 40
    assert 1.6 < cost < 1.7
    assert learn(SIZES, []) == (1.0, 0)
    assert learn(SIZES, [Ran(0, 1, 5.0)]) == (1.0, 0)


def test_many_small_blocks_weigh_by_their_requests_and_not_by_their_items_alone():
    cheap = Sizes(min_items=1, max_items=1_000_000, seconds_per_item=0.000_01)
    alone = decide_sizing(cheap, [], 50_000, 50_000, slots=2)
    small = decide_sizing(cheap, [], 50_000, 50_000, slots=2, parts=5_000)
    assert (alone.decided_by, small.decided_by) == ("slots", "max_items")
    ranges = [a_range(0, 10, key=f"{n:04}", items=10) for n in range(5_000)]
    made = pack(USER_PROFILES, "v", "p", ranges, 500_000, 1_000)
    assert len(made) == 11


def test_a_plain_block_is_cut_by_samples_and_a_gzip_block_stays_whole(pipeline):
    items = [event(f"user{n}") for n in range(20_000)]
    for name in ("a.jsonl", "b.jsonl.gz"):
        pipeline.put(items, name=name)
    found = [gap for block in pipeline.store.list("events/") for gap in gaps("p", block, [])]
    ranges = slice_gaps(pipeline.store, found, "", Sizes(), 20_000).ranges["p"]
    plain = [one for one in ranges if one.key.endswith(".jsonl")]
    assert 4 <= len(plain) <= 5
    (whole,) = [one for one in ranges if one.key.endswith(".gz")]
    assert (whole.start, whole.end) == (0, whole.size)
    for one in (plain, [whole]):
        assert abs(sum(cut.items for cut in one) - 20_000) < 2_000
