"""What a later run keeps of a plan, and what it plans anew."""

import time

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.pipeline import DAY, event
from workers.declare.asset import Sizes
from workers.declare.task import Task, load_task


def test_a_finished_batch_is_reused_by_a_later_run(pipeline):
    pipeline.put([event()])
    pipeline.run()
    assert pipeline.run()["batches_reused"] == 1
    (batch,) = pipeline.ledger.batches.find()
    assert batch["attempts"] == 1


def test_a_new_block_adds_a_batch_and_leaves_the_finished_ones(pipeline):
    pipeline.put([event()])
    pipeline.run()
    before = [batch["_id"] for batch in pipeline.ledger.batches.find()]

    pipeline.put([event("bo")], name="late.jsonl")
    summary = pipeline.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 1)
    assert before[0] in [batch["_id"] for batch in pipeline.ledger.batches.find()]
    assert pipeline.verify().match


def test_the_plan_of_unchanged_blocks_stays_when_sizes_change(pipeline):
    pipeline.put([event(f"user{n}") for n in range(1_000)])
    first = pipeline.sized(100).plan()
    pipeline.work(first)
    assert pipeline.sized(1_000).plan().plans[0].batches == first.plans[0].batches


def test_a_result_that_is_gone_from_s3_is_made_again(pipeline):
    pipeline.put([event()])
    pipeline.run()
    (batch,) = pipeline.ledger.batches.find()
    pipeline.remove(batch["outcome"]["result"])
    assert pipeline.run()["batches_reused"] == 0
    assert pipeline.verify().match


def test_a_block_that_changes_there_and_back_finds_its_finished_batch(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    pipeline.put([event("bo")])
    pipeline.run()
    pipeline.put([event("ann")])
    assert pipeline.run()["batches_reused"] == 1
    assert pipeline.verify().match


def test_a_plan_that_is_written_after_a_newer_one_was_folded_is_abandoned(pipeline):
    """A run frozen while it plans, and woken when all is done."""
    pipeline.put([event("ann")])
    listed = pipeline.list_blocks()
    pipeline.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    pipeline.run()

    late = pipeline.queue(listed)
    assert pipeline.ledger.plan(late.plans[0].id).state == "abandoned"
    assert pipeline.ledger.last_plan("user_profiles", DAY).state == "folded"
    assert pipeline.run()["batches_reused"] == 1


def test_many_small_blocks_are_sliced_by_several_slicers_and_packed(pipeline):
    for number in range(60):
        pipeline.put([event(f"user{number}")] * 3, name=f"{number:03}.jsonl")
    several = pipeline.sized(50, blocks_per_slicer=25)

    queued = several.preview()
    assert queued.summary["slicers"] == 3
    assert 3 <= len(queued.work.plans[0].batches) <= 6

    assert several.run()["items_used"] == 180
    assert pipeline.verify().match


def test_after_two_runs_the_size_of_batches_meets_the_target(pipeline, monkeypatch):
    """A task with a known cost: each item sleeps a millisecond."""
    task = load_task("user_profiles")

    def slow(items):
        time.sleep(len(items) * 0.001)
        return task.contributions(items)

    changed = Task(task.item, task.fields, slow, task.derive)
    changed.__dict__["version"] = task.version
    monkeypatch.setattr("workers.tasks.user_profiles.task", changed)

    sizes = Sizes(min_items=20, max_items=100_000, target_seconds=0.5, seconds_per_item=0.01)
    pipeline.asset = msgspec.structs.replace(pipeline.asset, sizes=sizes)

    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-03")
    for day in days:
        pipeline.put([event(f"user{n % 9}") for n in range(2_000)], day)
    pipeline.run(days[0])
    pipeline.run(days[1])

    work = pipeline.plan(days[2])
    assert work.sizing.learned_from > 10
    for batch in work.new[:-1]:  # the last takes what is left
        assert 0.25 <= batch.items * 0.001 <= 1.0


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(50, 2_000), min_size=2, max_size=4), seed=st.integers())
def test_a_plan_is_stable_whatever_size_history_asks_for_later(pipeline, sizes, seed):
    day = pipeline.asset.partitions.shift(DAY, seed % 1_000)
    for name in ("a.jsonl", "b.jsonl.gz"):
        pipeline.put([event(f"user{n}") for n in range(1_500)], day, name)

    before: set[str] = set()
    for number, size in enumerate(sizes):
        planned = set(pipeline.sized(size).plan(day).plans[0].batches)
        assert before <= planned
        before = planned
        pipeline.put([event("late")] * 100, day, f"late{number}.jsonl")

    ranges = []
    for batch in pipeline.ledger.batches.find({"partition": day}):
        ranges += batch["ranges"]

    for key in {range_["key"] for range_ in ranges}:
        of_block = [range_ for range_ in ranges if range_["key"] == key]
        cuts = sorted((range_["start"], range_["end"], range_["size"]) for range_ in of_block)
        assert [end for _, end, _ in cuts] == [*(start for start, _, _ in cuts[1:]), cuts[0][2]]
