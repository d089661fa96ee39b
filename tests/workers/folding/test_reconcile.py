"""Only what is whole is folded."""

import msgspec
import pytest

from tests.support.pipeline import DAY, event
from workers.batch import attempt_batch
from workers.declare import Tolerance
from workers.errors import Refused

NEXT = "1998-04-02"


def test_a_block_replaced_between_plan_and_read_fails_its_batch_by_name(pipeline):
    pipeline.asset = msgspec.structs.replace(pipeline.asset, tolerance=Tolerance(rate=0.01))
    key = pipeline.put([event()])
    work = pipeline.plan()
    pipeline.put([event(), event()])

    with pytest.raises(Refused, match=f"{key} was replaced after it was planned"):
        pipeline.work(work)
    with pytest.raises(Refused, match=rf"about 1 items of 1 failed.*{key} was replaced"):
        pipeline.reconcile(work)

    assert pipeline.run()["items"] == 2


def test_reconcile_names_a_batch_that_never_ran_and_folds_the_other_partitions(pipeline):
    pipeline.put([event()])
    pipeline.put([event()], NEXT)
    work = pipeline.plan(DAY, NEXT)
    first, second = work.to_run
    attempt_batch(pipeline.ledger, pipeline.store, first)
    (refusal,) = pipeline.reconcile(work).refused
    assert refusal.partitions == [NEXT]
    says = f"1 of 1 planned batches have no outcome, so nothing of {NEXT} is folded ({second} of"
    assert refusal.why.startswith(f"{says} {NEXT}: is planned). Start a new run")
    assert pipeline.run(DAY, NEXT)["batches_reused"] == 1


def test_where_a_batch_of_every_partition_never_ran_the_run_is_refused(pipeline):
    pipeline.put([event()])
    pipeline.put([event()], NEXT)
    work = pipeline.plan(DAY, NEXT)
    with pytest.raises(Refused, match="2 of 2 planned batches have no outcome, so nothing is fold"):
        pipeline.reconcile(work)


def test_reconcile_finds_a_batch_missing_from_the_ledger(pipeline):
    pipeline.put([event()])
    work = pipeline.plan()
    pipeline.work(work)
    pipeline.ledger.batches.drop()
    with pytest.raises(Refused, match="is unknown"):
        pipeline.reconcile(work)
