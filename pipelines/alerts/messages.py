"""How an alert reads: what happened to which partitions, counts, reasons, and what to type."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from statistics import median

from pipelines.alerts.alert import AlertKind
from pipelines.alerts.report import RunOutcome, RunReport
from pipelines.alerts.run_records import Command
from pipelines.links import run_link
from workers.declare.asset import span
from workers.errors import Refused
from workers.ledger.losses import why_not_folded
from workers.values import Counts

# The kinds of alerts that people can ask for, as a subject says them.
SUBJECTS = {
    AlertKind.FAILED: "failed",
    AlertKind.RECOVERED: "recovered",
    AlertKind.WARNED: "finished with warnings",
    AlertKind.FINISHED: "finished",
    AlertKind.CANCELLED: "was cancelled",
}
DEFAULT_KINDS = "failed,recovered,warned"  # where FANFOLD_NOTIFY_ON names none
MAX_SENTENCES = 3  # of a failed run, and partitions that one of them names
MAX_SENTENCE_CHARACTERS = 500
PRECISE_SECONDS = 10  # below which a duration has a decimal
LONG_SECONDS = 600  # from which a duration is in minutes
# What of the counts of partitions a message adds up.
TOTALS = (
    *("items", "used", "dead", "duplicates", "failed", "pending"),
    *("batches_failed", "unread_parts", "unread_items"),
)
QUOTED_COMMAND = re.compile(r"`(fanfold [^`]+)`")


def alert_kinds() -> set[AlertKind]:
    """Return the kinds of alerts that the settings ask for."""
    setting = os.environ.get("FANFOLD_NOTIFY_ON") or DEFAULT_KINDS
    names = {name.strip() for name in setting.split(",") if name.strip()}
    if unknown := names - set(SUBJECTS):
        raise Refused(
            f"FANFOLD_NOTIFY_ON names {', '.join(sorted(unknown))}; it can name "
            f"{', '.join(SUBJECTS)}"
        )
    return {AlertKind(name) for name in names}


def message_subject(report: RunReport, kind: AlertKind) -> str:
    """Return the first line of a message."""
    has_warnings = kind is AlertKind.RECOVERED and any(report.causes.values())
    ending = ", with warnings" if has_warnings else ""
    return f"{report.asset.name} {_span(report.partitions)} {SUBJECTS[kind]}{ending}"


def message_text(report: RunReport, kind: AlertKind, usual_seconds: Sequence[float]) -> str:
    """Return a whole message, given the seconds that the last runs of its kind took."""
    lines = [message_subject(report, kind)]
    lines += _sentences(report)
    lines += _numbers(report)
    lines += [f"{number:,} x {_shorten(reason)}" for reason, number in report.reasons]
    lines += _duration_line(report, usual_seconds)
    lines.append(run_link(report.run))
    lines += _command(report)
    return "\n".join(lines)


def _span(partitions: Sequence[str]) -> str:
    if not partitions:
        return "(no partition)"
    if len(partitions) == 1:
        return partitions[0]
    return f"{span(partitions)} ({len(partitions)} partitions)"


def _sentences(report: RunReport) -> list[str]:
    """Return what went wrong, in a few sentences."""
    sentences = []
    if report.folded:
        count = f"{len(report.folded):,} of {len(report.partitions):,}"
        sentences.append(f"{count} partitions are folded")
    if report.outcome is RunOutcome.FAILED and report.intolerable:
        sentences.append(_intolerable_sentence(report))
        if not report.folded:
            return sentences  # reasons and a command follow by themselves

    sentences += [_shorten(sentence) for sentence in report.sentences[:MAX_SENTENCES]]
    more = len(report.sentences) - MAX_SENTENCES
    if more > 0:
        sentences.append(f"and {more} more, in the run's log")
    return sentences + _unusual_sentences(report)


def _unusual_sentences(report: RunReport) -> list[str]:
    """Return the numbers of partitions that are not as usual."""
    told = [f"{name}: {_shorten(text)}" for name, text in report.unusual.items()]
    more = len(told) - MAX_SENTENCES
    if more > 0:
        told[MAX_SENTENCES:] = [f"and {more} more partitions that are not as usual"]
    return told


def _intolerable_sentence(report: RunReport) -> str:
    partitions = [counts.partition for counts in report.intolerable]
    named = ", ".join(partitions[:MAX_SENTENCES])
    more = len(partitions) - MAX_SENTENCES
    if more > 0:
        named += f" and {more} more"
    why = why_not_folded(report.asset, report.intolerable)
    of_these = f" of {'it' if len(partitions) == 1 else 'them'}" if report.folded else ""
    return f"{named}: {why}, so nothing{of_these} is folded"


def _shorten(sentence: str) -> str:
    """Return a sentence on one line, cut where it is long."""
    line = " ".join(sentence.split())
    if len(line) <= MAX_SENTENCE_CHARACTERS:
        return line
    return f"{line[:MAX_SENTENCE_CHARACTERS]}..."


def _numbers(report: RunReport) -> list[str]:
    """Return the lines of what became of the items of all partitions, where any was planned."""
    if not report.counts:
        return []

    totals: Counter[str] = Counter()
    for counts in report.counts:
        totals.update({name: getattr(counts, name) for name in TOTALS})

    parts = [f"{totals['used']:,} used", f"{totals['dead']:,} dead letters"]
    if totals["duplicates"]:
        parts.append(f"{totals['duplicates']:,} duplicates")
    about = f" (about {totals['failed']:,} items)" if totals["failed"] else ""
    parts.append(f"{totals['batches_failed']:,} failed batches{about}")
    if totals["unread_parts"]:
        unread = f"{totals['unread_parts']:,} unread parts of blocks"
        parts.append(f"{unread} (about {totals['unread_items']:,} more items by their bytes)")
    if totals["pending"]:
        parts.append(f"about {totals['pending']:,} not run")

    profiles = "" if report.profiles is None else f"; {report.profiles:,} profiles"
    lines = [f"{totals['items']:,} items: {', '.join(parts)}{profiles}"]
    return [*lines, report.adopted] if report.adopted else lines


def _duration_line(report: RunReport, usual_seconds: Sequence[float]) -> list[str]:
    if report.seconds is None:
        return []
    usual = f", usually {_duration(median(usual_seconds))}" if usual_seconds else ""
    return [f"{_duration(report.seconds)}{usual}"]


def _duration(seconds: float) -> str:
    if seconds < PRECISE_SECONDS:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < LONG_SECONDS else f"{seconds / 60:.0f} min"


def _command(report: RunReport) -> list[str]:
    """Return the command that a person should run next; none where nothing is wrong."""
    name = report.asset.name
    is_finished = report.outcome is RunOutcome.FINISHED

    to_redrive = report.incomplete if is_finished else report.intolerable
    others = len(report.partitions) - len(report.folded) - len(report.intolerable)
    if report.folded and others and report.command is Command.RUN:
        return [f"Again: fanfold run {name} --failed"]
    if to_redrive:
        where = f" --partition {to_redrive[0].partition}" if len(to_redrive) == 1 else ""
        return [_mending(report, to_redrive, where)]

    if not report.partitions or (is_finished and not report.sentences):
        return []
    if quoted := QUOTED_COMMAND.search(" ".join(report.sentences)):
        # What drops profiles is for a person to say, not simply the next step.
        when = "If that is meant" if "--drop-removed" in quoted[1] else "Then"
        return [f"{when}: {quoted[1]}"]
    return [f"Again: fanfold {report.command} {name}{_partition_option(report)}"]


def _mending(report: RunReport, lacking: Sequence[Counts], where: str) -> str:
    """Return the command that is about what partitions lack: a redrive reads the same bytes."""
    name = report.asset.name
    if any(counts.unread_parts for counts in lacking):
        return f"See: fanfold dead-letters {name}{where} --unread"
    if any(counts.partition in report.redrivable for counts in lacking):
        return f"When the cause is mended: fanfold redrive {name}{where}"
    return f"Again, with its blocks as they are now: fanfold run {name}{where or ' --failed'}"


def _partition_option(report: RunReport) -> str:
    """Return how the command of a run names its partitions."""
    is_range = len(report.partitions) > 1
    if report.command is Command.REBUILD or (is_range and report.command is Command.REDRIVE):
        return ""  # a rebuild takes all, a redrive all or one
    return f" --partition{'s' if is_range else ''} {span(report.partitions)}"
