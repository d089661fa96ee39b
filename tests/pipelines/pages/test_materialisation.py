"""What the UI shows of a partition that was folded."""

import pytest

from pipelines.pages.materialisation import pages
from tests.support.pipeline import DAY, event
from workers.declare import Sizes
from workers.ledger.counts import count_plan

NEXT = "1998-04-02"


@pytest.fixture
def shown(pipeline):
    """Fold days in small batches, and return what the UI shows of each."""
    small = pipeline.changed(sizes=Sizes(min_items=2, max_items=2, target_seconds=1))

    def show(*days):
        small.run(*days)
        plans = [small.ledger.last_plan(small.asset.name, day) for day in days]
        counts = [count_plan(small.ledger, plan, small.ledger.batches_of(plan)) for plan in plans]
        return pages(small.asset, small.ledger, counts, dict.fromkeys(days, 2))

    return show


def test_a_page_begins_with_a_sentence_and_a_picture(pipeline, shown):
    pipeline.put([event("ann"), event("bo"), b"bad"])
    page = shown(DAY)[DAY]
    assert list(page)[:2] == ["summary", "seconds"]
    assert page["summary"].value.startswith(
        "**2 of 3 items** used, from 1 block, for 2 profiles; **1 dead letter**. "
    )
    assert page["seconds"].value.startswith("![2 batches of ")


def test_what_batches_took_stands_beside_what_was_planned(pipeline, shown):
    pipeline.put([event("ann"), event("bo")] * 3)
    page = shown(DAY)[DAY]
    took, planned = (record.data for record in page["quantiles"].records)
    assert (took["seconds"], planned["seconds"]) == ("took", "planned")
    assert 0 < planned["min"] <= planned["median"] <= planned["max"]


def test_the_slowest_batches_link_to_the_log_of_the_run_that_made_them(pipeline, shown):
    pipeline.put([event("ann"), event("bo")] * 3)
    lines = shown(DAY)[DAY]["slowest"].value.splitlines()
    plan = pipeline.ledger.last_plan("user_profiles", DAY)
    assert len(lines) == 2 + len(plan.batches)
    assert all(f"/runs/{plan.run})" in line for line in lines[2:])


def test_reasons_of_dead_letters_are_those_of_the_partition(pipeline, shown):
    pipeline.put([event("ann"), b"bad"])
    pipeline.put([event("ann"), {"user": 1}], NEXT)
    pages_ = shown(DAY, NEXT)
    reasons = [
        [record.data["reason"] for record in pages_[day]["reasons"].records] for day in (DAY, NEXT)
    ]
    assert reasons == [
        ["JSON is malformed: invalid character (byte N)"],
        ["Expected `str`, got `int` - at `$.user`"],
    ]


def test_a_partition_is_held_against_those_before(pipeline, shown):
    pipeline.put([event("ann")] * 8)
    pipeline.put([event("ann")], NEXT)
    pages_ = shown(DAY, NEXT)
    assert "trend" not in pages_[DAY]
    assert pages_[NEXT]["trend"].value == (
        f"█▁ {DAY}...{NEXT}: 1 items, where the median of the 1 before is 8"
    )


def test_numbers_that_are_mostly_zero_are_shown_where_they_are_not(pipeline, shown):
    pipeline.put([event("ann")])
    page = shown(DAY)[DAY]
    assert page["dead_letters"] == 0
    assert not {"duplicates", "unread_items", "warnings", "items_redriven"} & page.keys()


def test_a_partition_without_items_says_so(pipeline, shown):
    assert shown(DAY)[DAY]["summary"].value == "No items in 0 blocks."
