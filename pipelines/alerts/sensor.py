"""One message for each coarse unit that failed, recovered or finished with warnings.

A sensor looks for runs that ended, writes what became of their units to `notices`, once, and hands
what is to be told to the sinks until each has taken it. Runs know nothing of this, so nothing here
can fail one.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

import dagster as dg
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from pipelines.alerts.channels import Channel, channels
from pipelines.alerts.messages import alert_kinds, message_subject, message_text
from pipelines.alerts.report import RunReport, assets_of, ended_at, report_of, retry_status
from pipelines.errors import in_a_sentence
from workers.errors import Refused, Unavailable
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Document

PER_TICK = 100  # runs that a tick looks at, at most
SECONDS = 15  # after which each half of a tick leaves the rest to the next; Dagster gives it 60
# Runs end on other machines, whose clocks may differ, and are recorded a moment later.
OVERLAP = timedelta(minutes=2)
GIVE_UP = timedelta(days=1)
USUAL = 10  # earlier runs that a duration is compared with
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Tell the log, and a webhook and SNS where they are set, which units failed, recovered or "
        "finished with warnings: one message for each, and none for what was said before."
    ),
)
def alerts_sensor(
    context: dg.SensorEvaluationContext,
    blocks: dg.ResourceParam[BlockStore],
    mongo: dg.ResourceParam[Database[Document]],
) -> dg.SensorResult:
    """Make notices of the runs that ended since the last tick, and deliver those that wait."""
    with in_a_sentence():
        to = channels(context.log)
        maker = AlertMaker(context.instance, Ledger(mongo), blocks, list(to))
        place, made = maker.make(Cursor.of(context.cursor))
        waits = deliver(maker.notices, to, context.log)
    said = f"{made} units ended" if made else "no run ended"
    return dg.SensorResult(skip_reason="; ".join([said, *waits]), cursor=place.to_cursor())


class Cursor(NamedTuple):
    """How far the sensor has looked, as its cursor holds it."""

    # When it first looked; runs that ended before are not told.
    since: datetime
    # Runs whose records changed after this may be new to it.
    after: datetime

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """Return what a cursor holds; where there is none, the sensor begins now."""
        if not cursor:
            return cls(datetime.now(UTC), datetime.now(UTC))
        return cls(*(datetime.fromisoformat(one) for one in cursor.split(" ")))

    def to_cursor(self) -> str:
        return f"{self.since.isoformat()} {self.after.isoformat()}"


class AlertMaker:
    """Makes notices of runs that ended. Each unit of a run has one, told or not.

    What the latest notice that holds a partition says of it is the partition's state: ranges and
    single partitions meet there.
    """

    def __init__(
        self, instance: dg.DagsterInstance, ledger: Ledger, blocks: BlockStore, to: Sequence[str]
    ) -> None:
        self.instance, self.ledger, self.blocks, self.to = instance, ledger, blocks, to
        self.told = alert_kinds()
        self.notices: Collection[Document] = ledger.database["notices"]
        by = (["asset", "units.partition"], ["asset", "ended"], ["waiting"])
        self.notices.create_indexes([IndexModel([(k, ASCENDING) for k in keys]) for keys in by])

    def make(self, place: Cursor) -> tuple[Cursor, int]:
        """Make notices of runs that ended since; return where to look next, and how many.

        A run may come by more than once: within OVERLAP, and whenever its tags change.
        """
        started, until, made = datetime.now(UTC), time.monotonic() + SECONDS, 0
        records = self.instance.get_run_records(
            dg.RunsFilter(statuses=ENDED, updated_after=place.after),
            limit=PER_TICK,
            order_by="update_timestamp",
            ascending=True,
        )
        after = started - OVERLAP if len(records) < PER_TICK else records[-1].update_timestamp
        for record in records:
            fate = retry_status(self.instance, record)
            if fate == "undecided" or time.monotonic() > until:
                after = min(after, record.update_timestamp)
            elif fate == "over" and ended_at(record) >= place.since:
                made += self._make(record)
        # Others may share the very moment.
        return place._replace(after=max(place.after, after - timedelta(microseconds=1))), made

    def _make(self, record: dg.RunRecord) -> int:
        """Make the notices that a run lacks; return how many."""
        made, run = 0, record.dagster_run
        for asset in assets_of(self.instance, run):
            at = f"{run.run_id}/{asset.name}"
            if self.notices.find_one({"_id": at}, {"_id": 1}):
                continue
            if unit := report_of(self.instance, self.ledger, self.blocks, record, asset):
                try:
                    self.notices.insert_one({"_id": at} | self._notice(unit))
                except DuplicateKeyError:
                    continue  # a tick that Dagster gave up on wrote it meanwhile
                made += 1
        return made

    def _notice(self, unit: RunReport) -> Document:
        kind = kind_of(unit, self._before(unit))
        notice: Document = {
            "asset": unit.asset.name,
            "run": unit.run,
            "kind": kind,
            "outcome": unit.outcome,
            "job": unit.job,
            "ended": unit.ended,
            "seconds": unit.seconds,
            "partitions": len(unit.partitions),
            "units": [
                {"partition": partition, "state": state}
                for partition, state in states_of(unit).items()
            ],
            "made": datetime.now(UTC),
            "waiting": [],
        }
        if kind in self.told:
            text = message_text(unit, kind, self._usual(unit))
            notice |= {"subject": message_subject(unit, kind), "text": text, "waiting": self.to}
        return notice

    def _before(self, unit: RunReport) -> dict[str, str]:
        """Return the states of the unit's partitions before it ended."""
        query = {"units.partition": {"$in": list(unit.causes)}}
        found = self.notices.aggregate(
            [
                {"$match": {"asset": unit.asset.name, **query}},
                {"$unwind": "$units"},
                {"$match": query},
                {"$sort": {"ended": 1}},
                {"$group": {"_id": "$units.partition", "state": {"$last": "$units.state"}}},
            ]
        )
        return {one["_id"]: one["state"] for one in found}

    def _usual(self, unit: RunReport) -> list[float]:
        """Return the seconds that the last such units took which finished, of about that size."""
        size = len(unit.partitions)
        found = self.notices.find(
            {
                "asset": unit.asset.name,
                "outcome": "finished",
                "job": unit.job,
                "partitions": {"$gte": size / 2, "$lte": size * 2},
                "seconds": {"$ne": None},
            },
            {"seconds": 1},
            sort=[("ended", DESCENDING)],
            limit=USUAL,
        )
        return [one["seconds"] for one in found]


def states_of(unit: RunReport) -> dict[str, str]:
    """Return what is known of each partition after a unit ended; of a cancelled one nothing new.

    "" where it is well, else "failed" or "warned" and the cause: the same text is old news.
    """
    if unit.outcome == "cancelled":
        return {}
    word = "failed" if unit.outcome == "failed" else "warned"
    return {one: f"{word} {cause}" if cause else "" for one, cause in unit.causes.items()}


def kind_of(unit: RunReport, before: Mapping[str, str]) -> str:
    """Return the kind of a unit's notice; "" for a failure that was said before."""
    if unit.outcome == "cancelled":
        return "cancelled"
    news = [state for one, state in states_of(unit).items() if state and state != before.get(one)]
    if unit.outcome == "failed":
        return "failed" if news else ""
    if any(state.startswith("failed") for state in before.values()):
        return "recovered"
    return "warned" if news else "finished"


def deliver(
    notices: Collection[Document], to: Mapping[str, Channel], log: logging.Logger
) -> list[str]:
    """Hand notices that wait to their sinks, the oldest first; say which sinks did not take one.

    A sink that does not answer is left alone until the next tick.
    """
    now, until = datetime.now(UTC), time.monotonic() + SECONDS
    silent, troubles = set[str](), dict[str, str]()
    for notice in notices.find({"waiting": {"$gt": ""}}, sort=[("ended", ASCENDING)]):
        if time.monotonic() > until:
            break
        left = list(notice["waiting"])
        for name in notice["waiting"]:
            if name not in to or name in silent:
                continue
            try:
                to[name](notice)
            except (Unavailable, Refused) as error:
                troubles[name] = str(error)
                silent |= {name} if isinstance(error, Unavailable) else set()
                continue
            left.remove(name)
            taken = {"$pull": {"waiting": name}, "$set": {f"delivered.{name}": datetime.now(UTC)}}
            notices.update_one({"_id": notice["_id"]}, taken)
        if left and notice["made"] < now - GIVE_UP:
            log.warning(f"{', '.join(left)} did not take a notice for a day: {notice['subject']}")
            notices.update_one({"_id": notice["_id"]}, {"$set": {"waiting": [], "given_up": left}})
    said = [
        f"{trouble}; {notices.count_documents({'waiting': name})} notices wait for the next tick"
        for name, trouble in troubles.items()
    ]
    for one in said:
        log.warning(one)
    return said
