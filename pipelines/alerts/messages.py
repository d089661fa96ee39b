"""How a notice reads: what happened to which unit, its counts and reasons, and what to type."""

import os
import re
from collections.abc import Sequence
from statistics import median

from pipelines.alerts.report import RunReport
from workers.declare.asset import span
from workers.errors import Refused

# The kinds of notices, as a subject says them.
ALERT_KINDS = {
    "failed": "failed",
    "recovered": "recovered",
    "warned": "finished with warnings",
    "finished": "finished",
    "cancelled": "was cancelled",
}
TOLD = "failed,recovered,warned"  # those that are told where FANFOLD_NOTIFY_ON names none
SENTENCES = 3  # of a failed run, at most
LONGEST = 500  # characters of a sentence
UI = "http://127.0.0.1:3000"


def alert_kinds() -> set[str]:
    """Return the kinds of notices that the settings ask for."""
    named = os.environ.get("FANFOLD_NOTIFY_ON") or TOLD
    kinds = {kind.strip() for kind in named.split(",") if kind.strip()}
    if unknown := kinds - set(ALERT_KINDS):
        raise Refused(
            f"FANFOLD_NOTIFY_ON names {', '.join(sorted(unknown))}; it can name {', '.join(ALERT_KINDS)}"
        )
    return kinds


def message_subject(unit: RunReport, kind: str) -> str:
    """Return a notice's first line."""
    warned = ", with warnings" if kind == "recovered" and any(unit.causes.values()) else ""
    return f"{unit.asset.name} {_named(unit.partitions)} {ALERT_KINDS[kind]}{warned}"


def message_text(unit: RunReport, kind: str, earlier: Sequence[float]) -> str:
    """Return a whole notice; `earlier` are the seconds that the last runs of its kind took."""
    ui = (os.environ.get("FANFOLD_UI_URL") or UI).rstrip("/")
    lines = [message_subject(unit, kind), *_sentences(unit), *_numbers(unit)]
    lines += [f"{number:,} x {_short(reason)}" for reason, number in unit.reasons]
    lines += [*_took(unit, earlier), f"{ui}/runs/{unit.run}", *_command(unit)]
    return "\n".join(lines)


def _named(partitions: Sequence[str]) -> str:
    if len(partitions) < 2:
        return "".join(partitions) or "(no partition)"
    return f"{span(partitions)} ({len(partitions)} partitions)"


def _sentences(unit: RunReport) -> list[str]:
    if unit.outcome == "failed" and unit.beyond:  # reasons and a command follow by themselves
        over = [one.partition for one in unit.beyond]
        more = f" and {len(over) - SENTENCES} more" if len(over) > SENTENCES else ""
        of = ", ".join(over[:SENTENCES]) + more
        text = (
            f"Too many items of {of} could not be used (tolerated: {unit.asset.tolerance.text}), "
        )
        return [f"{text}so nothing is folded"]
    said, more = [_short(one) for one in unit.said[:SENTENCES]], len(unit.said) - SENTENCES
    return [*said, f"and {more} more, in the run's log"] if more > 0 else said


def _short(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _numbers(unit: RunReport) -> list[str]:
    if not unit.counts:
        return []
    of = unit.counts
    failed, pending = sum(one.failed for one in of), sum(one.pending for one in of)
    batches = f"{sum(one.batches_failed for one in of):,} failed batches"
    parts = [
        f"{sum(one.used for one in of):,} used",
        f"{sum(one.dead for one in of):,} dead letters",
        batches + (f" (about {failed:,} items)" if failed else ""),
    ]
    if pending:
        parts.append(f"about {pending:,} not run")
    profiles = "" if unit.profiles is None else f"; {unit.profiles:,} profiles"
    return [f"{sum(one.items for one in of):,} items: {', '.join(parts)}{profiles}"]


def _took(unit: RunReport, earlier: Sequence[float]) -> list[str]:
    if unit.seconds is None:
        return []
    usual = f", usually {_duration(median(earlier))}" if earlier else ""
    return [f"{_duration(unit.seconds)}{usual}"]


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _command(unit: RunReport) -> list[str]:
    """Return what to type: what a sentence of the run says itself, or what mends the unit."""
    name, of = unit.asset.name, unit.partitions
    mends = unit.bad if unit.outcome == "finished" else unit.beyond
    if mends:
        where = f" --partition {mends[0].partition}" if len(mends) == 1 else ""
        return [f"When the cause is mended: fanfold redrive {name}{where}"]
    if not of or (unit.outcome == "finished" and not unit.said):
        return []
    if told := re.search(r"`(fanfold [^`]+)`", " ".join(unit.said)):
        return [f"Then: {told[1]}"]
    where = f" --partition{'s' if len(of) > 1 else ''} {span(of)}"
    if unit.job == "redrive" and len(of) > 1:
        where = ""
    return [f"Again: fanfold {unit.job} {name}{'' if unit.job == 'rebuild' else where}"]
