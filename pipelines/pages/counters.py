"""How far runs are, where the UI shows it, whoever started them: in tags, and in the run's log.

The ledger counts, so a tick costs two requests and one write a run, and nothing in the run itself.
A run that ends before the first tick has no such tags.
"""

import time
from datetime import UTC, datetime

import dagster as dg
import msgspec
import pymongo

from pipelines.doors import Mongo
from pipelines.errors import in_a_sentence
from pipelines.purposes import BATCHES_TAG, DEAD_LETTERS_TAG, END_TAG, ITEMS_TAG
from pipelines.requested import assets_of, requested_partitions
from workers.ledger.ledger import Ledger
from workers.progress import Figures, figures, seconds_left
from workers.values import Value

ANSWER_SECONDS = 4  # that MongoDB has for a look
LOGGED_PARTS = 10  # of a run's items, after each of which its log has a line


class Look(Value, frozen=True, kw_only=True):
    """What was seen of a run before."""

    partitions: int
    # The first look at work under way, and when that was.
    first: Figures | None = None
    since: float = 0.0
    # How many parts of its items the log has told.
    told: int = 0


Looks = dict[str, Look]


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Tag runs on their way with how far they are: {ITEMS_TAG} and others.",
)
def progress_sensor(context: dg.SensorEvaluationContext, mongo: Mongo) -> dg.SensorResult:
    """Bring the tags of runs on their way up to date, and of those that ended since."""
    before = msgspec.json.decode(context.cursor or "{}", type=Looks)
    with in_a_sentence():
        looks = count_runs(context.instance, Ledger(mongo), before, time.time())
    cursor = msgspec.json.encode(looks).decode()
    return dg.SensorResult(skip_reason=f"{len(looks)} runs on their way", cursor=cursor)


def count_runs(instance: dg.DagsterInstance, ledger: Ledger, before: Looks, now: float) -> Looks:
    """Write how far runs are, given what was seen of them before; return what is seen now."""
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    runs = {run.run_id: run for run in instance.get_runs(started)}

    looks: Looks = {}
    for run_id, run in runs.items():
        look = before.get(run_id) or _first_look(instance, run)
        if look:
            looks[run_id] = _count(instance, ledger, run, look, now)

    for run_id in set(before) - set(runs):
        if instance.has_run(run_id):
            ended = _figures(ledger, run_id, before[run_id])
            instance.add_run_tags(run_id, progress_tags(ended, None) | {END_TAG: "over"})
    return looks


def _first_look(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Look | None:
    """Return a look at a run of ours; None at one of others, or one that only checks."""
    for asset in assets_of(instance, run):
        return Look(partitions=len(requested_partitions(asset, run)))
    return None


def _count(
    instance: dg.DagsterInstance, ledger: Ledger, run: dg.DagsterRun, look: Look, now: float
) -> Look:
    """Write how far a run is; return what is to be known of it at the next tick."""
    current = _figures(ledger, run.run_id, look)
    if look.first is None and current.stage == "working":
        look = msgspec.structs.replace(look, first=current, since=now)

    left = seconds_left(look.first, current, now - look.since) if look.first else None
    tags = progress_tags(current, None if left is None else datetime.fromtimestamp(now + left, UTC))
    if not tags.items() <= run.tags.items():
        instance.add_run_tags(run.run_id, tags)

    part = LOGGED_PARTS * current.items_done // current.items if current.items else 0
    if part > look.told:
        instance.report_engine_event(progress_text(current), run)
    return msgspec.structs.replace(look, told=max(part, look.told))


def _figures(ledger: Ledger, run_id: str, look: Look) -> Figures:
    with pymongo.timeout(ANSWER_SECONDS):
        return figures(ledger, run_id, look.partitions)


def progress_tags(now: Figures, end: datetime | None) -> dict[str, str]:
    """Return figures as tags, each short enough for a row of the page of runs."""
    if not now.is_planned:
        return {ITEMS_TAG: now.stage}

    failed = f", {now.failed:,} failed" if now.failed else ""
    tags = {
        ITEMS_TAG: f"{now.items_done:,} of {now.items:,}",
        BATCHES_TAG: f"{now.finished:,} of {now.batches:,}{failed}",
    }
    if now.dead:
        tags[DEAD_LETTERS_TAG] = f"{now.dead:,}"
    if end:
        tags[END_TAG] = f"about {end:%H:%M} UTC"
    return tags


def progress_text(now: Figures) -> str:
    """Return figures as one line of the run's log."""
    parts = [f"{now.items_done:,} of {now.items:,} items"]
    parts.append(f"{now.finished:,} of {now.batches:,} batches")
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.dead:
        parts.append(f"{now.dead:,} dead letters")
    if now.finished == now.batches:
        parts.append(f"{now.folded:,} of {now.partitions:,} partitions folded")
    return ", ".join(parts)
