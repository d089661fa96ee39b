"""All that people and sensors have Fanfold do, once: to see what rights that takes."""

import gzip
from datetime import UTC, datetime

import dagster as dg
import msgspec

from pipelines.definitions import definitions
from pipelines.runs import dagster_instance
from tests.support.pipeline import event, lines
from workers.assets import assets
from workers.batch import finish_batches

DAYS = ("1998-04-01", "1998-04-02")
RANGE = "...".join(DAYS)
COMMANDS = [
    ("plan", "user_profiles", "--partition", DAYS[0]),
    ("run", "user_profiles", "--partitions", RANGE),
    ("dead-letters", "user_profiles"),
    ("redrive", "user_profiles"),
    ("dead-letters", "user_profiles", "--reason", "Expected", "--discard", "nobody mends it"),
    ("run", "user_profiles", "--partition", DAYS[0]),
    ("batches", "user_profiles"),
    ("verify", "user_profiles"),
    ("rebuild", "user_profiles"),
    ("run", "influence_scores", "--partition", f"{datetime.now(UTC):%Y-%m-%d}"),
    ("clean", "--older-than", "0"),
]
SENSORS = ("user_profiles_sensor", "alerts_sensor", "lost_runs_sensor")


def live(pipeline, fanfold, monkeypatch) -> dict[tuple[str, ...], int]:
    """Do all of it over blocks that are there; return the exit code of each command."""
    sizes = msgspec.structs.replace(assets()["user_profiles"].sizes, max_batch_bytes=20_000)
    changed = msgspec.structs.replace(assets()["user_profiles"], sizes=sizes)
    monkeypatch.setitem(assets(), "user_profiles", changed)

    codes = {command: fanfold(*command)[0] for command in COMMANDS}
    _look()
    _come_second(pipeline)
    return codes


def put_blocks(pipeline) -> None:
    """Put what there is to do: plain blocks, one that is cut into segments, and a bad item."""
    pipeline.put([event(f"user{n}", item=str(n)) for n in range(20)] + [{"user": "no time"}])
    large = [event(f"user{n % 50}", item=f"item {n}") for n in range(3_000)]
    pipeline.store.put(f"events/dt={DAYS[1]}/large.jsonl.gz", gzip.compress(lines(large)))


def _look() -> None:
    """Evaluate the sensors as the daemon does."""
    location = definitions()
    repository = location.get_repository_def()
    with dagster_instance() as instance:
        for name in SENSORS:
            with dg.build_sensor_context(
                instance=instance, repository_def=repository, resources=location.resources
            ) as context:
                repository.get_sensor_def(name).evaluate_tick(context)


def _come_second(pipeline) -> None:
    """Finish a batch that another worker has finished: its result is deleted."""
    batch = next(
        batch for batch in pipeline.ledger.batches_of_asset("user_profiles") if batch.is_done
    )
    late = f"{batch.finished_outcome.result}.late"
    outcome = msgspec.structs.replace(batch.finished_outcome, result=late)
    finish_batches(pipeline.ledger, pipeline.store, {batch.id: outcome})
