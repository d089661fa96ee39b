from hypothesis import given
from hypothesis import strategies as st

from pipelines.assets import USER_PROFILES
from tests.world import event
from workers.model import Block, Range, Sizes
from workers.slicing import Gap, batch_items, cut, gaps, pack, share, slice_gaps


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
    made = cut(gap, min(parts, length), 10)
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
    made = pack(asset, "v", "p", ranges)
    assert [one for batch in made for one in batch.ranges] == ranges
    assert all(batch.items <= size or len(batch.ranges) == 1 for batch in made)
    order.shuffle(ranges)
    assert pack(asset, "v", "p", ranges) == made


@given(
    seconds=st.lists(st.floats(0.05, 300), min_size=1, max_size=80),
    slots=st.integers(1, 16),
    most=st.integers(1, 60),
)
def test_sharing_deals_each_batch_once_and_in_order_within_the_bounds(seconds, slots, most):
    batches = {str(number): own for number, own in enumerate(seconds)}
    shares = share(batches, slots, Sizes(max_batches=most))
    assert [one for own in shares for one in own] == list(batches)
    assert len(shares) <= most


def test_small_batches_share_workers_and_large_ones_do_not():
    small = {str(n): 0.05 for n in range(200)}
    assert [len(own) for own in share(small, 2, Sizes())] == [50] * 4
    large = {str(n): 100.0 for n in range(20)}
    assert len(share(large, 2, Sizes())) == 20
    assert share({}, 2, Sizes()) == []


def test_the_size_of_a_batch_meets_the_target_within_the_bounds():
    def size(**given):
        return batch_items(Sizes(min_items=20, max_items=1000, target_seconds=120, **given))

    assert size(seconds_per_item=1.0) == 120
    assert size(seconds_per_item=100.0) == 20
    assert size(seconds_per_item=0.001) == 1000


def test_a_plain_block_is_cut_by_samples_and_a_gzip_block_stays_whole(world):
    items = [event(f"user{n}") for n in range(20_000)]
    for name in ("a.jsonl", "b.jsonl.gz"):
        world.put(items, name=name)
    found = [gap for block in world.store.list("events/") for gap in gaps("p", block, [])]
    ranges = slice_gaps(world.store, found, Sizes(min_items=5_000, max_items=5_000))["p"]
    plain = [one for one in ranges if one.key.endswith(".jsonl")]
    assert 4 <= len(plain) <= 5
    assert abs(sum(one.items for one in plain) - 20_000) < 1_000
    (whole,) = [one for one in ranges if one.key.endswith(".gz")]
    assert (whole.start, whole.end) == (0, whole.size)
    assert whole.items == 20_000
