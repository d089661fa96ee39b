"""Profiles that MongoDB cannot hold."""

import pytest

from pipelines.checks.findings import nothing_lost
from tests.support.pipeline import DAY, event
from workers.contributions.readers import ProfileError
from workers.declare.task import Task, load_task
from workers.ledger.profile_writes import encode_profile
from workers.ledger.profiles import Bookkeeping

NEXT = "1998-04-02"


@pytest.fixture
def large(pipeline, monkeypatch):
    """A pipeline with one user whose topics pass what MongoDB holds (a little less, for speed)."""
    monkeypatch.setattr("workers.ledger.profile_writes.MAX_DOCUMENT_BYTES", 100_000)

    pipeline.put([event("ann", topics=["x" * 1_000]), event("bo")])
    pipeline.run()

    pipeline.put([event("ann", topics=[f"{n:01000}" for n in range(200)]), event("bo")], NEXT)

    return pipeline


def test_a_profile_too_large_is_refused_by_id_and_field_and_the_others_go_on(large):
    summary = large.run(NEXT)
    assert summary["profiles_failed"] == 1
    assert large.profile("bo")["events"] == 2
    assert large.profile("ann")["events"] == 1

    plan = large.ledger.last_plan("user_profiles", NEXT)
    (failed,) = plan.failed_profiles
    assert (failed.profile, failed.field, failed.partitions) == ("ann", "topics", [NEXT])
    assert "MongoDB holds 100,000" in failed.why


def test_a_failed_profile_folds_again_once_its_partition_shrinks(large):
    large.run(NEXT)
    large.put([event("ann"), event("bo")], NEXT)
    assert large.run(NEXT)["profiles_failed"] == 0
    assert large.verify().match


def test_a_failed_profile_can_be_taken_out_of_its_partition_again(large):
    large.run(NEXT)
    large.put([event("cy")], NEXT)
    large.run(NEXT)
    assert large.verify().match


def test_the_real_bound_of_a_profile_is_that_of_mongodb(pipeline):
    """Sixteen megabytes and a bit, for real."""
    topics = [f"{n:010000}" for n in range(1_700)]
    pipeline.put([event("ann", topics=topics), event("bo")])

    summary = pipeline.run()
    assert summary["profiles_failed"] == 1
    assert pipeline.profile("ann") is None
    assert pipeline.profile("bo")["events"] == 1

    pipeline.put([event("ann", topics=topics[:300]), event("bo")])
    assert pipeline.run()["profiles_failed"] == 0
    assert pipeline.verify().match


def test_a_number_beyond_64_bits_is_refused_by_name():
    with pytest.raises(ProfileError, match=r"^total: .*8-byte ints"):
        encode_profile("ann", {"name": "x" * 100, "total": 2**64}, Bookkeeping())


def test_a_profile_that_derive_fails_on_stays_as_it_was_and_the_others_go_on(pipeline, monkeypatch):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    real = load_task("user_profiles")

    def derive(profile):
        return {"rate": 1 / (2 - profile["events"])}

    fragile = Task(real.item, real.fields, real.contributions, derive)
    fragile.__dict__["version"] = real.version
    monkeypatch.setattr("workers.tasks.user_profiles.task", fragile)

    pipeline.put([event("ann"), event("cy")], NEXT)
    assert pipeline.run(NEXT)["profiles_failed"] == 1
    assert pipeline.profile("ann")["events"] == 1
    assert pipeline.profile("cy")["rate"] == 1

    (failed,) = pipeline.ledger.last_plan("user_profiles", NEXT).failed_profiles
    assert (failed.profile, failed.field) == ("ann", "derive")
    assert failed.why == "ZeroDivisionError in the task: division by zero"


def test_a_failed_profile_fails_the_check_by_name(large):
    large.run(NEXT)
    plan = large.ledger.last_plan("user_profiles", NEXT)
    (result,) = nothing_lost(large.ledger, [plan])
    assert not result.passed
    assert f"{NEXT}: profile 'ann' lacks it; topics" in result.description
    assert DAY not in result.description
