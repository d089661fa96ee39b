"""Which moments of a partition have items, and the widest gap between them."""

from itertools import pairwise

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import event
from workers.batch import attempt_batch
from workers.declare import Time
from workers.ledger.moments import Moments, widest_gap
from workers.small import run_together

DAY = "1998-04-01"
MIDNIGHT = 891_388_800_000
MINUTE = 60_000


class Seen(msgspec.Struct):
    user: str
    at: Time | None = None


class Timeless(msgspec.Struct):
    user: str
    many: list[Time] = []


def text_of(minutes, partition=DAY, item=Seen):
    moments = Moments(partition, item)
    moments.add(pd.DataFrame({"at": [MIDNIGHT + minute * MINUTE for minute in minutes]}))
    return moments.text


minutes = st.lists(st.integers(0, 1_439), max_size=20)


@given(st.lists(minutes, min_size=1, max_size=4))
def test_the_widest_gap_is_the_same_however_items_are_spread_over_batches(batches):
    together = [text_of([minute for batch in batches for minute in batch])]
    apart = [text_of(batch) for batch in reversed(batches)]
    assert widest_gap(DAY, apart) == widest_gap(DAY, together)


@given(minutes)
def test_the_widest_gap_is_the_most_minutes_in_a_row_without_an_item(seen):
    edges = [-1, *sorted(set(seen)), 1_440]
    longest = max(last - first - 1 for first, last in pairwise(edges))
    assert widest_gap(DAY, [text_of(seen)]) == longest * 60


def test_the_time_before_the_first_item_and_after_the_last_counts():
    assert widest_gap(DAY, [text_of(range(720))]) == 43_200


def test_times_outside_of_the_partition_say_nothing():
    assert text_of([-1, 5, 1_440, 900_000]) == text_of([5])


def test_an_hour_has_moments_of_its_own():
    assert widest_gap(f"{DAY}-00:00", [text_of([0, 30], f"{DAY}-00:00")]) == 30 * 60 - 2.5


def test_items_without_a_time_are_passed_over():
    moments = Moments(DAY, Seen)
    moments.add(pd.DataFrame({"at": [float("nan"), MIDNIGHT + MINUTE]}))
    assert moments.text == text_of([1])


def test_the_gap_of_items_that_have_no_time_is_not_known():
    moments = Moments(DAY, Timeless)
    moments.add(pd.DataFrame({"user": ["ann"]}))
    assert moments.text == ""
    assert widest_gap(DAY, [moments.text]) is None


def test_the_gap_is_not_known_where_an_older_outcome_does_not_say():
    assert widest_gap(DAY, [text_of([1]), ""]) is None


@pytest.mark.parametrize("is_together", [True, False])
def test_a_batch_keeps_its_own_moments_however_it_is_run(pipeline, is_together):
    for number, day in enumerate([DAY, "1998-04-02"]):
        first = MIDNIGHT // 1_000 + number * 86_400
        pipeline.put([event(ts=first + 60 * minute) for minute in (number, 700)], day)
    batch_ids = pipeline.plan(DAY, "1998-04-02").to_run
    if is_together:
        batches = [pipeline.ledger.begin(batch_id) for batch_id in batch_ids]
        run_together(pipeline.ledger, pipeline.store, batches, is_last=True)
    else:
        for batch_id in batch_ids:
            attempt_batch(pipeline.ledger, pipeline.store, batch_id)

    batches = [pipeline.ledger.batch(batch_id) for batch_id in batch_ids]
    texts = {batch.partition: batch.finished_outcome.moments for batch in batches}
    assert texts == {DAY: text_of([0, 700]), "1998-04-02": text_of([1, 700])}
