"""Alerts: what is known of the partitions of a run, what of it is new, and who has yet to take it.

What the latest alert that holds a partition says of it is the partition's state: ranges and single
partitions meet there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from pipelines.alerts.report import RunOutcome, RunReport
from pipelines.alerts.run_records import Command
from workers.values import Document, Value

USUAL_RUNS = 10  # earlier runs that a duration is compared with
SIZE_FACTOR = 2  # by which their partitions may be more or fewer


class AlertKind(StrEnum):
    """What an alert tells people."""

    # A partition failed, or failed for another reason than before.
    FAILED = "failed"
    # It failed as it had before: nobody is told again.
    REPEATED = "repeated"
    # A partition that had failed was folded.
    RECOVERED = "recovered"
    # All is folded, and something is wrong that was not before.
    WARNED = "warned"
    FINISHED = "finished"
    # A person stopped the run.
    CANCELLED = "cancelled"


class Health(StrEnum):
    """What is known of a partition."""

    WELL = "well"
    # It is folded, and some of its items could not be used, or a check did not pass.
    WARNED = "warned"
    # Its last run failed.
    FAILED = "failed"


class PartitionState(Value, frozen=True, kw_only=True):
    """What is known of a partition after a run; the same state again is no news."""

    partition: str
    health: Health
    # What is wrong; empty where it is well.
    cause: str = ""


class Alert(Value, frozen=True, kw_only=True):
    """One asset in one run that ended, whether people are told of it or not."""

    asset: str
    run: str
    kind: AlertKind
    outcome: RunOutcome
    command: Command
    ended: datetime
    # None where the run did not start.
    seconds: float | None
    # How many partitions the run was for; of a cancelled one there are no states.
    partitions: int
    states: list[PartitionState]
    created: datetime
    # Empty where nobody is told.
    subject: str = ""
    text: str = ""
    # The channels that are still to take it, those that took it and when, and those that did not
    # until it was given up.
    waiting: list[str] = msgspec.field(default_factory=list)
    delivered: dict[str, datetime] = msgspec.field(default_factory=dict)
    given_up: list[str] = msgspec.field(default_factory=list)

    @property
    def id(self) -> str:
        return alert_id(self.run, self.asset)

    def to_document(self) -> Document:
        """Return the document that MongoDB keeps."""
        values: Document = msgspec.to_builtins(self, builtin_types=[datetime])
        return {"_id": self.id} | values


def alert_id(run: str, asset: str) -> str:
    """Return the id of the one alert of an asset in a run."""
    return f"{run}/{asset}"


def states_after(report: RunReport) -> dict[str, PartitionState]:
    """Return what is known of each partition after a run; after a cancelled one nothing new."""
    if report.outcome is RunOutcome.CANCELLED:
        return {}

    states = {}
    has_failed = report.outcome is RunOutcome.FAILED
    for partition, cause in report.causes.items():
        is_folded = not has_failed or partition in report.folded
        trouble = Health.WARNED if is_folded else Health.FAILED
        health = trouble if cause else Health.WELL
        states[partition] = PartitionState(partition=partition, health=health, cause=cause)
    return states


def kind_of(report: RunReport, before: Mapping[str, PartitionState]) -> AlertKind:
    """Return what is to be told of a run, given the states of its partitions before it."""
    if report.outcome is RunOutcome.CANCELLED:
        return AlertKind.CANCELLED

    states = states_after(report)
    troubled = [state for state in states.values() if state.health is not Health.WELL]
    has_news = any(state != before.get(state.partition) for state in troubled)
    had_failed = [state.partition for state in before.values() if state.health is Health.FAILED]
    has_recovered = any(states[partition].health is not Health.FAILED for partition in had_failed)
    if report.outcome is RunOutcome.FAILED:
        return AlertKind.FAILED if has_news or has_recovered else AlertKind.REPEATED

    if has_recovered:
        return AlertKind.RECOVERED
    return AlertKind.WARNED if has_news else AlertKind.FINISHED


class Alerts:
    """The collection `alerts`; the one door to its documents."""

    def __init__(self, database: Database[Document]) -> None:
        self.collection: Collection[Document] = database["alerts"]

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        fields = (["asset", "states.partition"], ["asset", "ended"], ["waiting"])
        indexes = [IndexModel([(name, ASCENDING) for name in names]) for names in fields]
        self.collection.create_indexes(indexes)

    def has(self, run: str, asset: str) -> bool:
        """Tell whether an asset in a run has its alert."""
        return self.collection.find_one({"_id": alert_id(run, asset)}, {"_id": 1}) is not None

    def add(self, alert: Alert) -> bool:
        """Write an alert; False where a tick that Dagster gave up on wrote it meanwhile."""
        try:
            self.collection.insert_one(alert.to_document())
        except DuplicateKeyError:
            return False
        return True

    def latest_states(self, asset: str, partitions: Iterable[str]) -> dict[str, PartitionState]:
        """Return the states of those partitions that any alert holds."""
        query: Document = {"states.partition": {"$in": list(partitions)}}
        stages: list[Document] = [
            {"$match": {"asset": asset, **query}},
            {"$unwind": "$states"},
            {"$match": query},
            {"$sort": {"ended": 1}},
            {"$group": {"_id": "$states.partition", "state": {"$last": "$states"}}},
            {"$replaceRoot": {"newRoot": "$state"}},
        ]
        states = [PartitionState.of(document) for document in self.collection.aggregate(stages)]
        return {state.partition: state for state in states}

    def usual_seconds(self, report: RunReport) -> list[float]:
        """Return the seconds of the last runs of about this size that finished."""
        size = len(report.partitions)
        query: Document = {
            "asset": report.asset.name,
            "outcome": RunOutcome.FINISHED,
            "command": report.command,
            "partitions": {"$gte": size / SIZE_FACTOR, "$lte": size * SIZE_FACTOR},
            "seconds": {"$ne": None},
        }
        latest = self.collection.find(query, sort=[("ended", DESCENDING)], limit=USUAL_RUNS)
        alerts = [Alert.of(document) for document in latest]
        return [alert.seconds for alert in alerts if alert.seconds is not None]

    def waiting(self) -> Iterator[Alert]:
        """Yield the alerts that a channel is still to take, the oldest first."""
        query: Document = {"waiting": {"$gt": ""}}
        for document in self.collection.find(query, sort=[("ended", ASCENDING)]):
            yield Alert.of(document)

    def count_waiting(self, channel: str) -> int:
        """Return how many alerts a channel is still to take."""
        return self.collection.count_documents({"waiting": channel})

    def mark_delivered(self, alert: Alert, channel: str) -> None:
        """Record that a channel took an alert."""
        now = datetime.now(UTC)
        change: dict[str, Any] = {"$pull": {"waiting": channel}}
        change["$set"] = {f"delivered.{channel}": now}
        self.collection.update_one({"_id": alert.id}, change)

    def give_up(self, alert: Alert, names: Sequence[str]) -> None:
        """Record that nobody tries these channels for an alert any more."""
        change = {"$set": {"waiting": [], "given_up": list(names)}}
        self.collection.update_one({"_id": alert.id}, change)
