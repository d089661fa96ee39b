"""What a run asks of MongoDB does not grow with its partitions, where it is not their own work."""

import pymongo
import pytest

from tests.support.pipeline import Pipeline, event
from workers.ledger.claims import Fold
from workers.ledger.ledger import Ledger
from workers.ledger.records import PlanState

DAYS = [f"1998-04-{day:02}" for day in range(1, 31)]


class Commands(pymongo.monitoring.CommandListener):
    """The commands that a client sends."""

    def __init__(self):
        self.sent = []

    def started(self, event):
        if not event.command_name.startswith("sasl"):
            self.sent.append(event.command_name)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


@pytest.fixture
def commands():
    return Commands()


@pytest.fixture
def counted(pipeline, servers, commands):
    """The same pipeline over a client whose commands are counted."""
    with pymongo.MongoClient(
        servers.mongodb_uri, event_listeners=[commands], tz_aware=True, w="majority"
    ) as client:
        database = client[pipeline.database.name]
        yield Pipeline(pipeline.store, database, Ledger(database), pipeline.asset)


def requests_of(counted, commands, days):
    """Return how many commands the steps of a run over days take, those of workers left out."""
    steps = {}

    def take(name, step):
        commands.sent.clear()
        answer = step()
        steps[name] = len(commands.sent)
        return answer

    listed = take("list", lambda: counted.list_blocks(*days))
    work = take("queue", lambda: counted.queue(listed))
    counted.work(work)
    reconciled = take("reconcile", lambda: counted.reconcile(work))
    folded = take("fold", lambda: counted.fold(reconciled))
    take("publish", lambda: counted.publish(reconciled, folded))
    return steps


def test_thirty_partitions_take_as_many_requests_as_one(counted, commands):
    for day in DAYS:
        counted.put([event("ann"), event("bo")], day)
    of_one = requests_of(counted, commands, DAYS[:1])
    of_all = requests_of(counted, commands, DAYS)
    assert all(of_all[step] <= of_one[step] + 2 for step in of_one), (of_one, of_all)
    assert counted.verify().match

    again = requests_of(counted, commands, DAYS)
    assert all(again[step] <= of_one[step] + 2 for step in of_one), (of_one, again)
    assert counted.verify().match


def test_the_newest_plan_of_a_partition_is_the_one_that_a_search_by_partition_finds(pipeline):
    for number in range(5):
        pipeline.put([event("ann")], name=f"{number}.jsonl")
        pipeline.run()
    newest = pipeline.ledger.newest_plans("user_profiles", [*DAYS])
    last = pipeline.ledger.last_plan("user_profiles", DAYS[0])
    assert {day: plan.id for day, plan in newest.items()} == {DAYS[0]: last.id}


def test_an_epoch_that_another_run_takes_in_between_costs_another_try(pipeline, monkeypatch):
    for day in DAYS[:3]:
        pipeline.put([event("ann")], day)
    slow, fast = pipeline.plan(*DAYS[:3]), pipeline.plan(DAYS[1])
    pipeline.work(slow)
    claims = pipeline.ledger.claims
    look = claims._next_claims

    def overtaken(plans):
        looked = look(plans)
        if len(plans) == 3:  # the first look; before it is written, the other run claims
            claims.claim(fast.plans, {fast.plans[0].id: {}})
        return looked

    monkeypatch.setattr(claims, "_next_claims", overtaken)
    claimed = claims.claim(slow.plans, {plan.id: {} for plan in slow.plans})
    # The other run has listed its partition later, so its claim stays.
    assert sorted(claim.partition for claim in claimed.values()) == [DAYS[0], DAYS[2]]
    assert pipeline.ledger.plan(slow.plans[1].id).state is PlanState.PLANNED
    assert {claim.epoch for claim in claimed.values()} == {1}


def test_of_claims_marked_at_once_those_that_were_overtaken_are_left_out(pipeline):
    for day in DAYS[:3]:
        pipeline.put([event("ann")], day)
    work = pipeline.plan(*DAYS[:3])
    pipeline.work(work)
    reconciled = pipeline.reconcile(work)
    pipeline.put([event("bo")], DAYS[1], "late.jsonl")
    newer = pipeline.run(DAYS[1])

    pairs = zip(reconciled.claims, reconciled.counts, strict=True)
    folds = [Fold(claim, counts, []) for claim, counts in pairs]
    marked = pipeline.ledger.claims.mark_folded(folds)
    assert marked == {work.plans[0].id, work.plans[2].id}
    assert pipeline.ledger.last_plan("user_profiles", DAYS[1]).counts.items == newer["items"]
    assert pipeline.ledger.claims.mark_folded(folds) == marked
