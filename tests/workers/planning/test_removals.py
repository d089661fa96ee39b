"""What goes from a folded partition, and when a run is held back for it."""

import re

import pytest

from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.planning.rebuild import begin_rebuild

NEXT = "1998-04-02"


def put_blocks(pipeline, count, day=DAY):
    """Put so many blocks of one event each, and return their keys."""
    return [pipeline.put([event(f"user{n}")], day, f"{n}.jsonl") for n in range(count)]


@pytest.fixture
def keys(pipeline):
    """The keys of ten blocks that are folded."""
    keys = put_blocks(pipeline, 10)
    pipeline.run()
    return keys


def test_a_partition_that_lost_all_of_its_blocks_is_held_back_and_stays(pipeline, keys):
    for key in keys:
        pipeline.remove(key)

    with pytest.raises(Refused) as error:
        pipeline.run()
    text = str(error.value)
    assert f"{DAY} (10 of 10 blocks, " in text
    assert keys[0] in text
    assert f"`fanfold run user_profiles --partition {DAY} --drop-removed`" in text
    assert pipeline.profiles.count_documents({}) == 10
    assert pipeline.ledger.plans.count_documents({}) == 1

    assert pipeline.run(drop_removed=True)["blocks"] == 0
    assert pipeline.profiles.count_documents({"events": {"$exists": True}}) == 0
    assert pipeline.verify().match
    pipeline.run()


@pytest.mark.parametrize(("count", "is_held_back"), [(1, False), (5, False), (6, True)])
def test_more_than_half_of_the_blocks_may_not_go_without_a_word(
    pipeline, keys, count, is_held_back
):
    for key in keys[:count]:
        pipeline.remove(key)
    assert bool(pipeline.preview().summary["remarks"]) == is_held_back
    if is_held_back:
        with pytest.raises(Refused, match=f"{count} of 10 blocks"):
            pipeline.run()
    else:
        assert pipeline.run()["blocks"] == 10 - count


def test_one_block_with_more_than_half_of_the_bytes_may_not_go_either(pipeline, keys):
    large = pipeline.put([event(f"x{n}") for n in range(20)], name="large.jsonl")
    pipeline.run()
    pipeline.remove(large)
    with pytest.raises(Refused, match="1 of 11 blocks"):
        pipeline.run()


def test_blocks_that_go_bit_by_bit_are_held_back_as_those_that_go_at_once(pipeline, keys):
    for key in keys[:5]:
        pipeline.remove(key)
        pipeline.run()

    pipeline.remove(keys[5])
    with pytest.raises(Refused, match="6 of 10 blocks"):
        pipeline.run()
    pipeline.run(drop_removed=True)
    pipeline.remove(keys[6])
    pipeline.run()
    assert pipeline.verify().match


def test_a_redrive_in_between_forgets_nothing_of_what_went(pipeline):
    keys = put_blocks(pipeline, 4)
    pipeline.put([event("cy"), b"bad"], name="bad.jsonl")
    pipeline.run()
    for key in keys[:2]:
        pipeline.remove(key)
    pipeline.run()
    pipeline.redrive()
    pipeline.remove(keys[2])
    with pytest.raises(Refused, match="3 of 5 blocks"):
        pipeline.run()


def test_a_block_that_is_replaced_under_its_key_did_not_go(pipeline, keys):
    for key in keys:
        pipeline.put([event("cy")], name=key.rpartition("/")[2])
    assert pipeline.run()["blocks"] == 10
    assert pipeline.profile("cy")["events"] == 10


def test_a_block_that_is_emptied_counts_as_gone(pipeline, keys):
    for key in keys[:6]:
        pipeline.store.put(key, b"")
    with pytest.raises(Refused, match="6 of 10 blocks"):
        pipeline.run()


def test_many_blocks_packed_into_one_did_not_go(pipeline, keys):
    for key in keys:
        pipeline.remove(key)
    pipeline.put([event(f"user{n}") for n in range(10)], name="packed.jsonl")
    assert pipeline.run()["blocks"] == 1
    assert pipeline.verify().match
    assert pipeline.preview().summary["remarks"] == []


def test_a_late_block_does_not_stand_for_all_that_went(pipeline, keys):
    for key in keys:
        pipeline.remove(key)
    pipeline.put([event("late")], name="late.jsonl")
    with pytest.raises(Refused, match="10 of 10 blocks"):
        pipeline.run()


def test_what_comes_back_is_no_loss_any_more(pipeline, keys):
    for key in keys[:5]:
        pipeline.remove(key)
    pipeline.run()
    put_blocks(pipeline, 5)
    pipeline.run()
    pipeline.remove(keys[9])
    pipeline.run()


def test_a_run_over_several_partitions_names_those_that_are_held_back(pipeline, keys):
    put_blocks(pipeline, 2, NEXT)
    pipeline.run(NEXT)
    for key in keys:
        pipeline.remove(key)
    summary = pipeline.run(DAY, NEXT)
    assert (summary["partitions_folded"], summary["partitions_failed"]) == ([NEXT], [DAY])
    (refusal,) = summary["refused"]
    assert re.search(f"gone: {DAY} \\(.*--partition {DAY} --drop-removed", refusal["why"])
    (remark, rest) = pipeline.preview(DAY, NEXT).summary["remarks"]
    assert "held back" in remark
    assert rest == f"1 of 2 partitions have no block: {DAY}"


def test_what_is_held_back_beside_others_stays_until_a_person_says_that_it_is_meant(pipeline, keys):
    put_blocks(pipeline, 2, NEXT)
    pipeline.run(NEXT)
    before = pipeline.profiles.count_documents({})
    for key in keys[1:]:
        pipeline.remove(key)
    pipeline.run(DAY, NEXT)
    assert pipeline.profiles.count_documents({}) == before
    with pytest.raises(Refused, match="held back"):
        pipeline.run(DAY)
    with pytest.raises(Refused, match="held back"):
        pipeline.run(DAY, is_redrive=True)

    summary = pipeline.run(DAY, NEXT, drop_removed=True)
    assert summary["partitions_failed"] == []
    assert pipeline.verify().match


def test_what_is_held_back_beside_others_folds_once_its_blocks_are_back(pipeline, keys):
    put_blocks(pipeline, 2, NEXT)
    for key in keys:
        pipeline.remove(key)
    pipeline.run(DAY, NEXT)
    put_blocks(pipeline, 10)
    summary = pipeline.run(DAY, NEXT)
    assert summary["partitions_failed"] == []
    assert pipeline.verify().match


def test_with_copies_that_count_once_a_run_is_held_back_whole(pipeline):
    once = pipeline.changed(unique=("user", "action", "ts"))
    key = once.put([event("ann")])
    once.put([event("bo")], NEXT)
    once.run(DAY, NEXT)
    once.remove(key)
    with pytest.raises(Refused, match="held back"):
        once.run(DAY, NEXT)


def test_a_partition_without_an_item_has_nothing_to_lose(pipeline):
    key = pipeline.put([b"", b""])
    assert pipeline.run()["items"] == 0
    pipeline.remove(key)
    pipeline.run()


def test_a_rebuild_is_held_back_where_a_partition_lost_too_much(pipeline, keys):
    for key in keys[:6]:
        pipeline.remove(key)
    generation = begin_rebuild(pipeline.asset, pipeline.ledger)
    with pytest.raises(Refused, match="`fanfold rebuild user_profiles --drop-removed`"):
        pipeline.run(generation=generation)
    assert pipeline.run(generation=generation, drop_removed=True)["items"] == 4
