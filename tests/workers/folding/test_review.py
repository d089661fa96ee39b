"""Each partition of a run is folded or not by itself, and the others are named with the reason."""

import pytest

from tests.support.pipeline import DAY, event
from workers.batch import attempt_batch
from workers.errors import Refused
from workers.ledger.manifest import manifest_key
from workers.planning.not_folded import partitions_not_folded
from workers.planning.rebuild import begin_rebuild, swap

DAYS = [DAY, "1998-04-02", "1998-04-03", "1998-04-04"]
BAD = DAYS[1]


@pytest.fixture
def days(pipeline):
    """Four days, of which the second is beyond tolerance."""
    for day in DAYS:
        pipeline.put([event("ann"), event(day)], day)
    pipeline.put([{"user": 1}] * 50, BAD, "bad.jsonl")
    return pipeline


def states(pipeline):
    plans = pipeline.ledger.newest_plans(pipeline.asset.name, DAYS)
    return [plan.state for _, plan in sorted(plans.items())]


def not_folded(pipeline):
    return partitions_not_folded(pipeline.asset, pipeline.ledger)


def test_a_partition_beyond_tolerance_costs_the_others_nothing(days):
    summary = days.run(*DAYS)
    others = [day for day in DAYS if day != BAD]
    assert summary["partitions"] == DAYS
    assert (summary["partitions_folded"], summary["partitions_failed"]) == (others, [BAD])
    assert (summary["items"], summary["items_used"], summary["blocks"]) == (6, 6, 3)
    assert states(days) == ["folded", "refused", "folded", "folded"]
    assert days.profile("ann")["events"] == 3
    assert days.profile(BAD) is None
    assert days.verify(DAY, *DAYS[2:]).match

    plan = days.ledger.last_plan("user_profiles", BAD)
    assert f"so nothing of {BAD} is folded: 50 of 52 items of {BAD}" in plan.why
    manifest = days.store.get_json(manifest_key(plan))
    assert (manifest["state"], manifest["why"]) == ("refused", plan.why)

    assert not_folded(days) == [BAD]
    days.remove(f"events/dt={BAD}/bad.jsonl")
    assert days.run(*not_folded(days), drop_removed=True)["partitions"] == [BAD]
    assert not_folded(days) == []
    assert days.verify().match


def test_a_partition_is_refused_for_its_own_reason(days):
    work = days.sized(50).plan(*DAYS)
    first = next(iter(work.to_run))
    for batch_id in work.to_run:
        if batch_id != first:
            attempt_batch(days.ledger, days.store, batch_id)
    tolerance, missing = days.reconcile(work).refused
    assert (tolerance.partitions, missing.partitions) == ([BAD], [DAY])
    assert f"nothing of {BAD} is folded" in tolerance.why
    assert f"nothing of {DAY} is folded ({first} of {DAY}: is planned)" in missing.why
    whys = {plan.partition: plan.why for plan in days.ledger.plans_of_run(work.plans[0].run)}
    assert whys == {
        **dict.fromkeys(DAYS[2:], ""),
        DAY: f"user_profiles: {missing.why}",
        BAD: f"user_profiles: {tolerance.why}",
    }


def test_where_no_partition_is_whole_one_sentence_names_what_is_wrong_with_each(days):
    days.work(days.plan(BAD))
    work = days.plan(DAY, BAD)
    with pytest.raises(Refused) as refused:
        days.reconcile(work)
    assert "so nothing is folded: 50 of 52 items of 1998-04-02" in str(refused.value)
    assert ". 1 of 1 planned batches have no outcome, so nothing is folded" in str(refused.value)
    assert states(days) == ["refused", "refused"]
    assert days.profiles.count_documents({}) == 0


def test_what_a_run_left_behind_is_not_folded_until_a_run_as_new_folds_it(pipeline):
    pipeline.put([event("ann")])
    slow = pipeline.plan()
    assert not_folded(pipeline) == [DAY]  # its run was killed, for all that is known

    pipeline.put([event("bo")], name="b.jsonl")
    later = pipeline.plan()
    pipeline.work(slow)
    pipeline.work(later)
    reconciled = pipeline.reconcile(slow)
    pipeline.fold(reconciled)
    assert not_folded(pipeline) == [DAY]

    pipeline.finish(later)
    assert pipeline.ledger.plan(slow.plans[0].id).state == "abandoned"
    assert not_folded(pipeline) == []
    pipeline.run()
    assert not_folded(pipeline) == []


def test_a_redrive_folds_what_works_now_and_names_what_does_not(days):
    days.put([{"user": 2}] * 50, DAY, "bad.jsonl")
    with pytest.raises(Refused):
        days.run(DAY, BAD)
    letters = days.ledger.dead_letters.find("user_profiles", DAY)
    days.ledger.dead_letters.discard({letter.id for letter in letters}, "a test of theirs")
    summary = days.redrive(DAY, BAD)
    assert (summary["partitions_folded"], summary["partitions_failed"]) == ([DAY], [BAD])
    assert days.profile("ann")["events"] == 1


def test_a_rebuild_folds_all_partitions_or_none_and_is_not_swapped_without_one(days):
    strict, tolerant = days, days.tolerant(count=50)
    tolerant.run(*DAYS)
    before = list(days.profiles.find())

    generation = begin_rebuild(strict.asset, strict.ledger)
    with pytest.raises(Refused, match=f"so nothing is folded: 50 of 52 items of {BAD}"):
        strict.run(*DAYS, generation=generation)
    plans = strict.ledger.folded.unfolded("user_profiles", generation)
    assert {(plan.partition, plan.state) for plan in plans} == {(day, "refused") for day in DAYS}
    with pytest.raises(Refused, match="the rebuild did not fold 1998-04-01, 1998-04-02, "):
        swap(strict.asset, strict.task, strict.ledger, generation)
    assert list(days.profiles.find()) == before
    assert not_folded(days) == []


# Copies of items


@pytest.fixture
def once(pipeline):
    """Three days of which the second has copies of the first; a run of them that has worked."""
    once = pipeline.changed(unique=("user", "action", "ts"))
    copied = [event("ann", ts=891388800 + n) for n in range(5)]
    once.put(copied)
    once.put(copied, DAYS[1])
    once.put([event("bo")], DAYS[2])
    once.run(DAY)
    return once


def end_first_day(once):
    """Let the first day's block go, so that the copies in the second have to count."""
    once.remove(f"events/dt={DAY}/a.jsonl")
    once.run(DAY, drop_removed=True)


def check_that_the_next_run_takes_over(once):
    assert once.profile("ann") is None
    assert once.profile("bo")["events"] == 1
    assert not_folded(once) == [DAYS[1]]
    assert once.run(DAYS[1])["items_used"] == 5
    assert not_folded(once) == []
    assert once.profile("ann")["events"] == 5
    assert once.verify().match


def test_a_partition_that_has_to_count_anew_costs_the_others_nothing(once):
    work = once.plan(*DAYS[1:3])
    once.work(work)
    end_first_day(once)

    reconciled = once.reconcile(work)
    (refusal,) = reconciled.refused
    assert refusal.partitions == [DAYS[1]]
    assert f"1 batches of {DAYS[1]} have to count anew, and nothing of {DAYS[1]}" in refusal.why
    once.publish(reconciled, once.fold(reconciled))
    assert once.ledger.plan(work.plans[0].id).state == "refused"
    check_that_the_next_run_takes_over(once)


def test_a_claim_that_has_to_count_anew_is_not_folded_and_the_next_run_takes_over(
    once, monkeypatch
):
    work = once.plan(*DAYS[1:3])
    once.work(work)
    real = once.ledger.claims.claim

    def claim(plans, results):
        claims = real(plans, results)
        monkeypatch.undo()
        end_first_day(once)
        return claims

    monkeypatch.setattr(once.ledger.claims, "claim", claim)
    reconciled = once.reconcile(work)
    assert [refusal.partitions for refusal in reconciled.refused] == [[DAYS[1]]]
    assert [claim.partition for claim in reconciled.claims] == [DAYS[2]]
    summary = once.publish(reconciled, once.fold(reconciled))
    assert summary["partitions_failed"] == [DAYS[1]]

    plan = once.ledger.plan(work.plans[0].id)
    assert (plan.state, "have to count anew" in plan.why) == ("folding", True)
    check_that_the_next_run_takes_over(once)
    assert once.ledger.plan(plan.id).state == "abandoned"
