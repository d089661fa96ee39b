"""One message for each asset in a run that failed, recovered or finished with warnings.

A sensor looks for runs that ended, writes what became of their assets to `alerts`, once, and hands
what is to be told to the channels until each has taken it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

import dagster as dg

from pipelines.alerts.alert import Alert, Alerts, kind_of, states_after
from pipelines.alerts.channels import Channel, channels
from pipelines.alerts.messages import alert_kinds, message_subject, message_text
from pipelines.alerts.report import RunReport, report_run
from pipelines.alerts.run_records import RetryStatus, ended_at, retry_status
from pipelines.doors import Mongo, Store
from pipelines.errors import in_a_sentence
from pipelines.requested import assets_of
from workers.errors import Refused, Unavailable
from workers.ledger.ledger import Ledger
from workers.store import BlockStore

MAX_RUNS = 100  # that a tick looks at
TICK_SECONDS = 15  # after which each half of a tick leaves the rest to the next; Dagster gives 60
# Runs end on other machines, whose clocks may differ, and are recorded a moment later.
OVERLAP = timedelta(minutes=2)
GIVE_UP_AFTER = timedelta(days=1)
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Tell the log, and a webhook and SNS where they are set, which partitions failed, "
        "recovered or finished with warnings: one message for each asset in a run, and none for "
        "what was told before."
    ),
)
def alerts_sensor(
    context: dg.SensorEvaluationContext,
    mongo: Mongo,
    store: Store,
) -> dg.SensorResult:
    """Record alerts of the runs that ended since the last tick, and deliver those that wait."""
    with in_a_sentence():
        open_channels = channels(context.log)
        recorder = AlertRecorder(Ledger(mongo), store, context.instance, list(open_channels))
        cursor, recorded = recorder.record(Cursor.read(context.cursor))
        troubles = deliver(recorder.alerts, open_channels, context.log)

    reason = f"{recorded} alerts recorded" if recorded else "no run ended"
    return dg.SensorResult(skip_reason="; ".join([reason, *troubles]), cursor=cursor.text)


class Cursor(NamedTuple):
    """How far the sensor has looked."""

    # When it first looked; runs that ended before are not told.
    since: datetime
    # Runs whose records changed after this may be new to it.
    after: datetime

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Return the cursor in a text; where there is none, the sensor begins now."""
        if not text:
            now = datetime.now(UTC)
            return cls(now, now)
        since, after = text.split(" ")
        return cls(datetime.fromisoformat(since), datetime.fromisoformat(after))

    @property
    def text(self) -> str:
        """The cursor as Dagster keeps it."""
        return f"{self.since.isoformat()} {self.after.isoformat()}"


class AlertRecorder:
    """Records an alert for each asset of a run that ended, whether people are told or not."""

    def __init__(
        self,
        ledger: Ledger,
        store: BlockStore,
        instance: dg.DagsterInstance,
        channel_names: Sequence[str],
    ) -> None:
        self.ledger = ledger
        self.store = store
        self.instance = instance
        self.channel_names = channel_names
        self.told_kinds = alert_kinds()
        self.alerts = Alerts(ledger.database)
        self.alerts.ensure_indexes()

    def record(self, cursor: Cursor) -> tuple[Cursor, int]:
        """Record the alerts of runs that ended; return where to look next, and how many.

        A run may come by more than once: within OVERLAP, and whenever its tags change.
        """
        started = datetime.now(UTC)
        deadline = time.monotonic() + TICK_SECONDS
        records = self._ended_runs(cursor)

        is_last = len(records) < MAX_RUNS
        after = started - OVERLAP if is_last else records[-1].update_timestamp
        recorded = 0
        for record in records:
            status = retry_status(self.instance, record)
            if status is RetryStatus.UNDECIDED or time.monotonic() > deadline:
                after = min(after, record.update_timestamp)
            elif status is RetryStatus.OVER and ended_at(record) >= cursor.since:
                recorded += self._record_run(record)

        # Others may share the very moment.
        after -= timedelta(microseconds=1)
        return cursor._replace(after=max(cursor.after, after)), recorded

    def _ended_runs(self, cursor: Cursor) -> Sequence[dg.RunRecord]:
        return self.instance.get_run_records(
            dg.RunsFilter(statuses=ENDED, updated_after=cursor.after),
            limit=MAX_RUNS,
            order_by="update_timestamp",
            ascending=True,
        )

    def _record_run(self, record: dg.RunRecord) -> int:
        """Record the alerts that a run lacks; return how many."""
        recorded = 0
        run = record.dagster_run
        for asset in assets_of(self.instance, run):
            if self.alerts.has(run.run_id, asset.name):
                continue
            report = report_run(asset, self.ledger, self.store, self.instance, record)
            if report and self.alerts.add(self._alert(report)):
                recorded += 1
        return recorded

    def _alert(self, report: RunReport) -> Alert:
        """Return the alert of a report; it waits for channels where people are to be told."""
        before = self.alerts.latest_states(report.asset.name, report.causes)
        kind = kind_of(report, before)

        subject = ""
        text = ""
        waiting: list[str] = []
        if kind in self.told_kinds:
            subject = message_subject(report, kind)
            text = message_text(report, kind, self.alerts.usual_seconds(report))
            waiting = list(self.channel_names)

        return Alert(
            asset=report.asset.name,
            run=report.run,
            kind=kind,
            outcome=report.outcome,
            command=report.command,
            ended=report.ended,
            seconds=report.seconds,
            partitions=len(report.partitions),
            states=list(states_after(report).values()),
            created=datetime.now(UTC),
            subject=subject,
            text=text,
            waiting=waiting,
        )


def deliver(alerts: Alerts, open_channels: Mapping[str, Channel], log: logging.Logger) -> list[str]:
    """Hand alerts that wait to their channels, the oldest first; return why some still wait.

    A channel that does not answer is left alone until the next tick.
    """
    now = datetime.now(UTC)
    deadline = time.monotonic() + TICK_SECONDS

    troubles: dict[str, Exception] = {}
    for alert in alerts.waiting():
        if time.monotonic() > deadline:
            break

        waiting = []
        for name in alert.waiting:
            is_silent = isinstance(troubles.get(name), Unavailable)
            if name not in open_channels or is_silent:
                waiting.append(name)
                continue
            try:
                open_channels[name](alert)
            except (Unavailable, Refused) as error:
                troubles[name] = error
                waiting.append(name)
            else:
                alerts.mark_delivered(alert, name)

        if waiting and alert.created < now - GIVE_UP_AFTER:
            names = ", ".join(waiting)
            log.warning(f"{names} did not take an alert for a day: {alert.subject}")
            alerts.give_up(alert, waiting)

    sentences = []
    for name, trouble in troubles.items():
        number = alerts.count_waiting(name)
        sentences.append(f"{trouble}; {number} alerts wait for the next tick")
    for sentence in sentences:
        log.warning(sentence)
    return sentences
