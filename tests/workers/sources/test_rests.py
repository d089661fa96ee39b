"""How many items a part of a block holds that nobody can read: an estimate, never nothing."""

from hypothesis import given
from hypothesis import strategies as st

from workers.sources.rests import TYPICAL_ITEM_BYTES, Density, items_of_rest
from workers.values import BrokenRange, ByteRange, Place

NOTHING = Density(0, 0)


def whole(size=100_000, items=1, start=0):
    return ByteRange(key="k", etag="e", size=size, start=start, end=size, items=items)


def test_a_block_of_which_nothing_is_understood_has_items_of_a_typical_size():
    estimate = items_of_rest(whole(), Place.rest(0), 0, NOTHING)
    assert estimate == 100_000 / TYPICAL_ITEM_BYTES


def test_what_its_samples_promised_counts_where_that_is_more():
    assert items_of_rest(whole(items=2_000), Place.rest(0), 0, NOTHING) == 2_000
    # Decompressed, it is read to a place that lies beyond its bytes.
    assert items_of_rest(whole(items=2_000), Place.rest(400_000), 500, NOTHING) == 1_500


def test_a_rest_is_as_dense_as_what_was_read_of_its_range_or_else_of_its_batch():
    assert items_of_rest(whole(), Place.rest(25_000), 100, NOTHING) == 300
    assert items_of_rest(whole(start=50_000), Place.rest(75_000), 100, NOTHING) == 100
    assert items_of_rest(whole(), Place.rest(0), 0, Density(10, 1_000)) == 1_000


def test_a_part_that_a_slicer_could_not_read_is_as_dense_as_its_batch():
    broken = BrokenRange(
        key="k", etag="e", size=9_000, start=1_000, end=9_000, items=1, offset=70_000, reason="no"
    )
    assert items_of_rest(broken, Place.rest(70_000), 0, Density(50, 1_000)) == 400


def test_of_an_upload_that_was_cut_short_no_byte_is_left_and_one_item_at_least_is_lost():
    assert items_of_rest(whole(items=100), Place.rest(300_000), 120, NOTHING) == 1


@given(st.integers(0, 10**12), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_an_estimate_is_one_item_at_least(position, items_read, items, size):
    range_ = whole(size=size, items=items)
    assert items_of_rest(range_, Place.rest(position), items_read, Density(items, size)) >= 1
