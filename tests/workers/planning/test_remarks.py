"""What is left out of a partition, and what a run of nothing says."""

import pytest

from tests.support.pipeline import DAY, event, lines
from workers.errors import Refused
from workers.planning.rebuild import partitions_to_rebuild
from workers.sources.objects import blocks_of_partition

NEXT = "1998-04-02"
HIDDEN = ["_temporary/0/part-0.jsonl", ".spark-staging-1/part-0.jsonl", "a.jsonl.crc"]


@pytest.fixture
def messy(pipeline):
    """A partition of one block, beside what a killed job leaves behind."""
    pipeline.put([event("ann"), event("bo")])
    for name in HIDDEN:
        pipeline.put([event("ann")], name=name)
    for name in ("_SUCCESS", "empty.jsonl", "part_$folder$"):
        pipeline.store.put(f"events/dt={DAY}/{name}", b"")
    return pipeline


def test_what_lies_beside_data_is_left_out_of_profiles_and_of_what_they_are_held_against(messy):
    summary = messy.run()
    assert (summary["blocks"], summary["items"]) == (1, 2)
    assert messy.profile("ann")["events"] == 1
    assert messy.verify().match
    assert messy.verify(DAY).match
    assert partitions_to_rebuild(*messy.four, drop_removed=False) == [DAY]


def test_a_partition_of_nothing_but_hidden_objects_has_nothing_to_rebuild(messy):
    messy.put([event()], NEXT, "_temporary/a.jsonl")
    assert partitions_to_rebuild(*messy.four, drop_removed=False) == [DAY]


def test_the_plan_says_how_much_was_left_out_and_names_an_object(messy):
    summary = messy.preview().summary
    assert (summary["blocks"], summary["left_out"]) == (1, 6)
    assert summary["left_out_example"] == f"events/dt={DAY}/.spark-staging-1/part-0.jsonl"
    (remark,) = summary["remarks"]
    assert remark.startswith("6 objects beside data left out, such as events/")
    assert "reads_hidden=True" in remark


def test_what_is_left_out_does_not_make_a_partition_new(pipeline):
    pipeline.put([event()])
    before = pipeline.plan().plans[0].blocks_digest
    pipeline.put([event()], name="_temporary/a.jsonl")
    assert pipeline.plan().plans[0].blocks_digest == before


def test_an_asset_that_reads_hidden_objects_reads_them_from_its_next_run_on(messy):
    messy.run()
    changed = messy.changed(reads_hidden=True)
    assert changed.run()["items"] == 5
    assert changed.profile("ann")["events"] == 4
    assert changed.verify().match
    assert len(list(blocks_of_partition(changed.asset, messy.store, DAY))) == 7
    assert changed.preview().summary["left_out"] == 0
    assert messy.run(drop_removed=True)["items"] == 2


# Where nothing is


def remark(pipeline, *days):
    (sentence,) = pipeline.preview(*days).summary["remarks"]
    assert pipeline.list_blocks(*days).remarks == [sentence]
    return sentence


def test_a_run_of_nothing_says_where_it_looked_and_that_nothing_is_near(pipeline):
    bucket = pipeline.store.bucket
    assert remark(pipeline) == (
        f"no block under s3://{bucket}/events/dt={DAY}/; nothing at all lies under "
        f"s3://{bucket}/events/"
    )


@pytest.mark.parametrize(
    "key", ["events/dt=1998-4-1/a.jsonl", "events/1998-04-01/a.jsonl", "events/a.jsonl"]
)
def test_a_run_of_nothing_names_objects_that_fit_no_partition(pipeline, key):
    pipeline.store.put(key, lines([event()]))
    pipeline.put([event()], NEXT)
    assert remark(pipeline).endswith(
        f"; there are objects that fit no partition of the template 'events/dt={{partition}}/', "
        f"such as {key}"
    )


def test_a_run_of_nothing_says_that_other_partitions_have_blocks(pipeline):
    key = pipeline.put([event()], NEXT)
    assert remark(pipeline).endswith(f"; other partitions have some, such as {key}")


def test_a_template_without_its_last_slash_shows_by_the_keys_that_do_not_fit(pipeline):
    key = pipeline.put([event()])
    bare = pipeline.changed(template="events/dt={partition}")
    assert f"such as {key}" in remark(bare)


def test_objects_of_fanfold_itself_are_not_named(pipeline):
    pipeline.store.put("_fanfold/results/x", b"x")
    whole = pipeline.changed(template="{YYYY}/{MM}/{DD}/")
    assert remark(whole).endswith(f"nothing at all lies under s3://{pipeline.store.bucket}/")


def test_partitions_without_blocks_are_counted_beside_those_that_have_some(pipeline):
    pipeline.put([event()])
    assert remark(pipeline, DAY, NEXT) == f"1 of 2 partitions have no block: {NEXT}"


def test_several_prefixes_are_named_by_the_first_and_the_last(pipeline):
    hourly = pipeline.changed(template="raw/{YYYY}/{MM}/{DD}/{HH}/")
    assert remark(hourly).startswith(
        f"no block under s3://{pipeline.store.bucket}/raw/1998/04/01/00/, nor under 23 other "
        "prefixes up to raw/1998/04/01/23/"
    )


def test_what_cannot_be_listed_is_not_looked_at(pipeline, monkeypatch):
    def refuse(prefix, after=""):
        raise Refused("S3 refused access")

    monkeypatch.setattr(pipeline.store, "some_keys", refuse)
    assert remark(pipeline) == f"no block under s3://{pipeline.store.bucket}/events/dt={DAY}/"


def test_a_plan_says_once_why_blocks_that_begin_with_different_bytes_are_not_read(pipeline):
    for user in ("ann", "bo", "cy"):
        pipeline.store.put(f"events/dt={DAY}/{user}", f"{user},like,891388800\n".encode())
    (looked,) = pipeline.preview().summary["formats"]
    assert (looked["format"], looked["blocks"]) == ("not read", 3)
    assert "it begins with 'ann,like,891388800'): write format=\"csv\"" in looked["reason"]
