from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import event
from workers.declare import Sizes
from workers.sources.gaps import Gap, cut_evenly, gaps_of
from workers.sources.items import columns_of
from workers.sources.slicing import slice_gaps
from workers.tasks.user_profiles import Event
from workers.values import Block, ByteRange


def a_range(start: int, end: int) -> ByteRange:
    return ByteRange(key="k", etag="e", size=1000, start=start, end=end, items=1)


@given(edges=st.lists(st.integers(0, 1000), unique=True).map(sorted), keep=st.lists(st.booleans()))
def test_gaps_and_what_is_covered_make_up_the_block(edges, keep):
    tiles = list(zip([0, *edges], [*edges, 1000], strict=True))
    kept = [a_range(*tile) for tile, is_kept in zip(tiles, keep, strict=False) if is_kept]
    gaps = gaps_of("p", Block(key="k", etag="e", size=1000), kept)
    counted = [0] * 1000
    for part in [*kept, *gaps]:
        for byte in range(part.start, part.end):
            counted[byte] += 1
    assert counted == [1] * 1000


@given(start=st.integers(0, 50), length=st.integers(1, 50), parts=st.integers(1, 60))
def test_the_ranges_of_a_gap_cover_it_exactly(start, length, parts):
    gap = Gap(partition="p", key="k", etag="e", size=100, start=start, end=start + length)
    ranges = cut_evenly(gap, min(parts, length), 10)
    starts = [range_.start for range_ in ranges]
    ends = [range_.end for range_ in ranges]
    assert [ranges[0].start, *ends] == [*starts, start + length]
    assert all(range_.end > range_.start for range_ in ranges)


def test_a_plain_block_is_cut_by_samples_and_a_gzip_block_stays_whole(pipeline):
    items = [event(f"user{n}") for n in range(20_000)]
    for name in ("a.jsonl", "b.jsonl.gz"):
        pipeline.put(items, name=name)
    gaps = [gap for block in pipeline.store.list("events/") for gap in gaps_of("p", block, [])]
    ranges = slice_gaps(pipeline.store, gaps, "", columns_of(Event), Sizes(), 20_000).ranges["p"]
    plain = [range_ for range_ in ranges if range_.key.endswith(".jsonl")]
    assert 4 <= len(plain) <= 5
    (whole,) = [range_ for range_ in ranges if range_.key.endswith(".gz")]
    assert (whole.start, whole.end) == (0, whole.size)
    for of_block in (plain, [whole]):
        assert abs(sum(range_.items for range_ in of_block) - 20_000) < 2_000
