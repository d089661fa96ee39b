"""A partition that is not like those like it: the check, the message and the command."""

from pipelines.checks.usual import as_usual
from pipelines.runs import materialise
from tests.support.pipeline import event
from workers.ledger.records import Plan, PlanState
from workers.values import Counts

DAYS = [f"1998-03-{day:02}" for day in range(1, 29)]
SUNDAY = "1998-03-29"
ZEROS = dict.fromkeys(set(Counts.__struct_fields__) - {"plan", "partition", "warnings"}, 0)
COUNTS = ZEROS | {"items": 1_000, "bytes": 60_000, "blocks": 1, "profiles": 50, "widest_gap": None}


def remember(pipeline, days, **counts):
    """Let days be folded, as the ledger remembers them; return their plans."""
    plans = []
    for day in days:
        plan = Plan(
            asset=pipeline.asset.name,
            partition=day,
            run="earlier",
            version="v",
            generation=0,
            round=0,
            listed=pipeline.ledger.now(),
            blocks_digest="",
            blocks=1,
            bytes=1,
            batches=[],
            reused=[],
            items=1,
        )
        numbers = Counts(plan=plan.id, partition=day, **{**COUNTS, **counts}).to_json()
        folded = {"state": PlanState.FOLDED, "epoch": 1, "counts": numbers}
        pipeline.ledger.plans.insert_one({"_id": plan.id, **plan.to_document(), **folded})
        plans.append(plan)
    return plans


def checked(pipeline, plans, run="earlier"):
    """Return what the check says of the last of some partitions."""
    return as_usual(pipeline.asset, pipeline.ledger, plans, run)[-1]


def put_day(pipeline, day, items, seconds=86_400, **more):
    """Put a day of so many events, evenly spread over its first seconds."""
    midnight = int(pipeline.asset.partitions.time(day).timestamp())
    times = [midnight + number * seconds // items for number in range(items)]
    pipeline.put([event(f"user{n % 50}", ts=ts, **more) for n, ts in enumerate(times)], day)


def test_a_day_with_a_tenth_of_the_items_is_told_with_its_numbers(pipeline, hook, watch):
    for number, day in enumerate(DAYS):
        remember(pipeline, [day], items=1_000 + number, bytes=60_000 + number)
    put_day(pipeline, SUNDAY, 100)
    summary = materialise(pipeline.asset, [SUNDAY])
    watch.tick()

    (warning,) = summary["warnings"]
    assert warning.startswith(f"{SUNDAY}: 100 items, where Sundays have 1,000 to 1,021")
    (text,) = hook.texts
    subject, numbers, *_ = text.splitlines()
    assert subject == f"user_profiles {SUNDAY} finished with warnings"
    assert numbers == warning
    assert summary["success"]


def test_of_a_range_only_the_days_that_are_not_as_usual_are_named(pipeline):
    plans = remember(pipeline, DAYS[:13]) + remember(pipeline, DAYS[13:])
    pipeline.ledger.plans.update_one({"partition": DAYS[13]}, {"$set": {"counts.items": 100}})
    findings = as_usual(pipeline.asset, pipeline.ledger, plans, "earlier")
    (told,) = [finding for finding in findings if not finding.passed]
    assert told.partition == DAYS[13]
    assert told.description == f"{DAYS[13]}: 100 items, where the days around it have 1,000"
    (row,) = told.metadata["unusual"].records
    assert row.data["measure"] == "items"


def test_without_history_nothing_is_compared(pipeline):
    result = checked(pipeline, remember(pipeline, DAYS[:5]))
    assert result.passed
    assert result.description.startswith("nothing compared: that takes 10 others")


def test_a_day_that_is_not_over_is_not_compared(pipeline):
    remember(pipeline, DAYS)
    plans = remember(pipeline, [SUNDAY], items=10)
    assert not checked(pipeline, plans).passed
    noon = pipeline.asset.partitions.time(SUNDAY).timestamp() + 43_200
    pipeline.ledger.plans.update_one({"partition": SUNDAY}, {"$set": {"listed": noon}})
    assert checked(pipeline, plans).passed


def test_numbers_that_earlier_runs_did_not_count_are_not_compared(pipeline):
    remember(pipeline, DAYS)
    pipeline.ledger.plans.update_many({}, {"$unset": {"counts.profiles": ""}})
    assert checked(pipeline, remember(pipeline, [SUNDAY], profiles=1)).passed


def test_a_day_without_its_second_half_is_told_by_its_gap(pipeline):
    remember(pipeline, DAYS, widest_gap=240.0)
    put_day(pipeline, SUNDAY, 1_000, seconds=43_200)
    pipeline.run(SUNDAY)
    result = checked(pipeline, [pipeline.ledger.last_plan("user_profiles", SUNDAY)])
    assert "12.0 h without an item, where Sundays have 4 min" in result.description


def test_a_field_that_comes_later_is_told_once_with_an_example(pipeline):
    put_day(pipeline, DAYS[0], 10)
    put_day(pipeline, DAYS[1], 10, colour="red" * 50)
    put_day(pipeline, DAYS[2], 10, colour="blue")
    results = []
    for day in DAYS[:3]:
        pipeline.run(day)
        plan = pipeline.ledger.last_plan("user_profiles", day)
        results.append(checked(pipeline, [plan], plan.run))
    assert [result.passed for result in results] == [True, False, True]
    shown = "red" * 13 + "…"
    assert (
        f"the type knows no field `colour` (such as {shown!r} in events/dt={DAYS[1]}/a.jsonl)"
    ) in results[1].description


def test_a_field_that_the_first_blocks_have_is_told_and_no_warning(pipeline):
    put_day(pipeline, DAYS[0], 10, colour="red")
    assert "`colour` (such as 'red' in" in pipeline.preview(DAYS[0]).summary["remarks"][0]
    summary = materialise(pipeline.asset, DAYS[:1])
    assert "`colour` (such as 'red' in" in summary["warnings"][0]
    assert pipeline.preview(DAYS[0]).summary["remarks"] == []
