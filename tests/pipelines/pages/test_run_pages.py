"""What the UI shows of a run: where it finds it, its tags, tables of batches, why it failed."""

import dagster as dg
import pytest
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from pipelines.errors import IN_FULL, headline
from pipelines.location import job_origin
from pipelines.lost_runs import PROCESS, process_of_run, process_tag, tell_unfinished
from pipelines.pages.counters import Look, count_runs
from pipelines.purposes import BATCHES_TAG, END_TAG, ITEMS_TAG
from pipelines.runs import dagster_instance, materialise
from resources.run_queue import ASSET_TAG, PARTITIONS_TAG, STARTED_BY
from tests.support.pipeline import DAY, event
from tests.support.webhook import begun
from workers import steps
from workers.batch import Worker

NEXT = "1998-04-02"
STEP = dg.DagsterEventType


def events_of(run_id, kind):
    with dagster_instance() as instance:
        return [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kind)]


def rows(metadata, label):
    return [dict(record.data) for record in metadata[label].records]


@pytest.fixture
def failed(pipeline, monkeypatch):
    """A run of two days, of which one has a batch that raises whatever is tried."""
    monkeypatch.setattr("pipelines.errors.FIRST_PAUSE_SECONDS", 0.001)
    pipeline.put([event("ann")])
    pipeline.put([event("bo")], NEXT)
    real = Worker.read

    def read(worker):
        if worker.batch.partition == NEXT:
            raise RuntimeError("out of luck")
        return real(worker)

    monkeypatch.setattr(Worker, "read", read)
    return materialise(pipeline.asset, [DAY, NEXT])


def test_a_run_by_command_stands_at_its_job_in_the_code_location_with_tags_for_people(pipeline):
    pipeline.put([event("ann")])
    run_id = materialise(pipeline.asset, [DAY, NEXT])["run_id"]
    with dagster_instance() as instance:
        run = instance.get_run_by_id(run_id)

    assert run.remote_job_origin.repository_origin.get_label() == (
        "__repository__@pipelines.definitions"
    )
    assert run.remote_job_origin.job_name == "user_profiles_job"
    assert run.tags_for_storage()[REPOSITORY_LABEL_TAG].endswith("@pipelines.definitions")
    assert (run.tags[ASSET_TAG], run.tags[STARTED_BY]) == ("user_profiles", "fanfold run")
    assert run.tags[PARTITIONS_TAG] == f"{DAY}...{NEXT}"
    assert run.tags["dagster/max_retries"] == "0"  # its command sees to it


def test_a_run_is_made_where_no_workspace_says_where_the_ui_finds_it(tmp_path):
    assert job_origin("user_profiles_job", tmp_path / "workspace.yaml") is None
    (tmp_path / "workspace.yaml").write_text("load_from: [nonsense]")
    assert job_origin("user_profiles_job", tmp_path / "workspace.yaml") is None


def test_a_run_that_executes_another_again_is_not_taken_for_that_ones_process():
    tags = {PROCESS: process_of_run("first")}
    assert process_tag(dg.DagsterRun("job", run_id="first", tags=tags))
    assert not process_tag(dg.DagsterRun("job", run_id="again", tags=tags))


def test_a_worker_is_named_by_partition_and_number_and_steps_show_what_they_did(pipeline):
    key = pipeline.put([event("ann"), event("bo"), b'{"user": 1}'])
    run_id = materialise(pipeline.asset, [DAY])["run_id"]
    outputs = {
        each.step_key: each.event_specific_data.metadata
        for each in events_of(run_id, STEP.STEP_OUTPUT)
    }
    metadata = outputs["user_profiles.run_batch[1998_04_01__0]"]
    (batch,) = rows(metadata, "batches")
    assert {"block": key, "items": 3, "used": 2, "dead": 1, "attempt": 1}.items() <= batch.items()
    (letter,) = rows(metadata, "dead_letters")
    assert (letter["block"], letter["batch"]) == (key, batch["batch"])
    assert letter["reason"].startswith("Expected `str`")

    (shard,) = rows(outputs["user_profiles.fold_shard[0]"], "shard")
    assert (shard["profiles"], shard["partitions"], shard["failed"]) == (2, 1, 0)


def test_a_worker_whose_batch_failed_is_failed_in_the_chart_and_told_once(failed):
    failures = events_of(failed["run_id"], STEP.STEP_FAILURE)
    (failure,) = [each for each in failures if "run_batch[1998_04_0" in each.step_key]
    worker = failure.step_failure_data.user_failure_data
    assert worker.description == "1 batch failed"
    (batch,) = rows(worker.metadata, "failed_batches")
    assert batch["block"] == f"events/dt={NEXT}/a.jsonl"
    assert "out of luck" in batch["why"]
    (way,) = rows(worker.metadata, "to_mend")
    assert way["command"] == f"fanfold redrive user_profiles --partition {NEXT}"

    (error,) = failed["errors"]
    assert error.startswith(f"{NEXT}: 1 batch failed, which no tolerance covers")


def test_the_failure_of_a_run_is_short_with_tables_above_the_whole_text(failed):
    by_step = {each.step_key: each for each in events_of(failed["run_id"], STEP.STEP_FAILURE)}
    why = by_step["user_profiles.publish"].step_failure_data.user_failure_data
    assert why.description == "1 of 2 partitions not folded"
    assert list(why.metadata)[:2] == ["failed_batches", "reasons"]
    assert rows(why.metadata, "reasons")[0]["items"] == 1
    assert rows(why.metadata, "partitions")[0]["not_folded"] == NEXT
    assert "out of luck" in why.metadata[IN_FULL].value


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("no such bucket", "no such bucket"),
        (
            "user_profiles: 1 batch failed, which no tolerance covers, so nothing is folded: 3 of",
            "1 batch failed, which no tolerance covers",
        ),
        (
            "S3 refused access to s3://bucket/; check the policies of the role that workers have",
            "S3 refused access to s3://bucket/",
        ),
        ("a " * 40 + "b", "a " * 29 + "a ..."),
    ],
)
def test_a_failure_begins_with_what_matters(text, short):
    assert headline(text) == short


def test_a_lost_run_tells_the_batches_that_it_was_at(pipeline):
    pipeline.put([event("ann")])
    with dagster_instance() as instance:
        run = begun(instance)
        listed = steps.list_blocks(*pipeline.four, [DAY], 1)
        sliced = [steps.slice_blocks(*pipeline.four, group) for group in listed.groups]
        steps.queue_batches(*pipeline.four, run.run_id, listed, sliced, 1)
        (planned,) = pipeline.ledger.batches_of_asset("user_profiles")
        pipeline.ledger.begin(planned.id)

        tell_unfinished(instance, run)
        told = events_of(run.run_id, STEP.ENGINE_EVENT)[-1].event_specific_data.metadata
        instance.report_run_failed(run)

    (batch,) = rows(told, "batches")
    assert (batch["batch"], batch["outcome"]) == (planned.id, "running")
    assert rows(told, "to_mend")[0]["command"] == f"fanfold run user_profiles --partition {DAY}"


def test_a_run_on_its_way_is_tagged_with_how_far_it_is_and_at_its_end_once_more(pipeline):
    pipeline.put([event("ann"), event("bo")])
    with dagster_instance() as instance:
        run = begun(instance)
        looks = count_runs(instance, pipeline.ledger, {}, 0.0)
        assert looks[run.run_id] == Look(partitions=1)
        listed = steps.list_blocks(*pipeline.four, [DAY], 1)
        sliced = [steps.slice_blocks(*pipeline.four, group) for group in listed.groups]
        work = steps.queue_batches(*pipeline.four, run.run_id, listed, sliced, 1).work

        looks = count_runs(instance, pipeline.ledger, {}, 0.0)
        tags = instance.get_run_by_id(run.run_id).tags
        assert (tags[ITEMS_TAG], tags[BATCHES_TAG]) == ("0 of 2", "0 of 1")

        pipeline.finish(work)
        instance.report_run_failed(run)
        assert run.run_id not in count_runs(instance, pipeline.ledger, looks, 1.0)
        tags = instance.get_run_by_id(run.run_id).tags
        assert (tags[ITEMS_TAG], tags[BATCHES_TAG], tags[END_TAG]) == ("2 of 2", "1 of 1", "over")
