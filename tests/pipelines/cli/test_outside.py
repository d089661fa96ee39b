"""What a person is told of blocks that are not where they were looked for, or no longer."""

import json

import dagster as dg
import pytest

from pipelines.alerts.messages import QUOTED_COMMAND
from pipelines.purposes import DROP_REMOVED_TAG
from pipelines.runs import dagster_instance, materialise
from tests.pipelines.conftest import told
from tests.support.pipeline import DAY, event

NEXT = "1998-04-02"
STRAY = "events/dt=1998-4-1/a.jsonl"


@pytest.mark.parametrize("command", ["plan", "run"])
def test_plan_and_run_of_nothing_say_where_they_looked_and_succeed(pipeline, fanfold, command):
    pipeline.store.put(STRAY, b"{}")
    call = (command, "user_profiles", "--partition", DAY)
    code, out, _ = fanfold(*call)
    assert code == 0
    assert f"no block under s3://{pipeline.store.bucket}/events/dt={DAY}/" in out
    assert STRAY in out
    code, document = told(fanfold(*call, "--json"))
    (remark,) = document["remarks"]
    assert (code, STRAY in remark) == (0, True)


def test_plan_says_how_much_lies_beside_data(pipeline, fanfold):
    pipeline.put([event()])
    hidden = pipeline.put([event()], name="_temporary/a.jsonl")
    _, plan = told(fanfold("plan", "user_profiles", "--partition", DAY, "--json"))
    assert (plan["blocks"], plan["left_out"], plan["left_out_example"]) == (1, 1, hidden)
    assert (
        "1 object beside data left out" in fanfold("plan", "user_profiles", "--partition", DAY)[1]
    )
    _, summary = told(fanfold("run", "user_profiles", "--partition", DAY, "--json"))
    assert (summary["items"], summary["remarks"]) == (1, [])


@pytest.fixture
def expired(pipeline):
    """A folded partition whose blocks are all gone, beside one that is whole."""
    key = pipeline.put([event("ann")])
    pipeline.put([event("bo")], NEXT)
    pipeline.run(DAY, NEXT)
    pipeline.remove(key)
    return pipeline


def test_a_run_that_is_held_back_changes_nothing_until_a_person_says_that_it_is_meant(
    expired, fanfold
):
    call = ("run", "user_profiles", "--partition", DAY)
    code, summary = told(fanfold(*call, "--json"))
    assert code == 1
    (error,) = summary["errors"]
    assert "held back" in error
    assert QUOTED_COMMAND.search(error)[1] == " ".join(("fanfold", *call, "--drop-removed"))
    assert expired.profile("ann")["events"] == 1
    assert "held back" in fanfold("plan", *call[1:])[1]

    code, summary = told(fanfold(*call, "--drop-removed", "--json"))
    assert (code, summary["blocks"]) == (0, 0)
    assert "no block under" in summary["remarks"][0]
    assert expired.profile("ann") is None
    assert fanfold(*call)[0] == 0
    assert expired.verify().match


def test_a_run_in_the_ui_says_by_a_tag_that_a_removal_is_meant(expired):
    held_back = materialise(expired.asset, [DAY, NEXT])
    assert "gone: 1998-04-01 (1 of 1 blocks" in held_back["errors"][0]
    meant = materialise(expired.asset, [DAY, NEXT], tags={DROP_REMOVED_TAG: "yes"})
    assert meant["success"]
    with dagster_instance() as instance:
        (event_,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("user_profiles"), asset_partitions=[DAY]),
            limit=1,
        ).records
    place = event_.asset_materialization.metadata["no_block_under"].value
    assert place == f"s3://{expired.store.bucket}/events/dt={DAY}/"


def test_a_rebuild_of_partitions_that_lost_blocks_needs_the_same_word(pipeline, fanfold):
    keys = [pipeline.put([event(f"user{n}")], name=f"{n}.jsonl") for n in range(4)]
    pipeline.run()
    for key in keys[:3]:
        pipeline.remove(key)

    code, out, _ = fanfold("rebuild", "user_profiles")
    assert code == 1
    assert "the old profiles stay as they are" in out
    assert "`fanfold rebuild user_profiles --drop-removed`" in out
    assert pipeline.profiles.count_documents({}) == 4
    code, out, _ = fanfold("rebuild", "user_profiles", "--drop-removed", "--json")
    assert (code, json.loads(out)["profiles"]) == (0, 1)
