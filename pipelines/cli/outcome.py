"""How people read what became of a run, on a terminal."""

import re
from collections.abc import Sequence
from textwrap import fill

from pipelines.cli.console import out, print_table, wrapped
from pipelines.links import run_link
from pipelines.summaries import Summary, failed_check_texts, numbers_to_show
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch

LIST_COLUMNS = 80  # that a list of partitions fits
COMMAND = re.compile(r"`(fanfold [^`]+)`")
# Where a sentence may be broken: before the next one, and before what follows a semicolon.
CLAUSE_END = re.compile(r"(?<=[.]) (?=[A-Z`\d])|; ")


def print_summary(summary: Summary, asset: Asset, slowest: Batch | None = None) -> None:
    """Print what became of the partitions of a run: why some are not folded, and its numbers."""
    if summary.get("errors"):
        _print_errors(summary, asset)
        if "items" not in summary:
            _print_links(summary)
            return

    labels = {name: name.replace("_", " ") for name in summary}
    if len(summary["runs"]) > 1:
        labels["profiles"] = "profiles, run by run"  # one that two runs folded is counted by both

    numbers = numbers_to_show(summary)
    rows = [(labels[name], _number(value)) for name, value in numbers.items() if value]
    print_table(("", summary["asset"]), rows)
    _print_links(summary)
    if slowest:
        print_slowest(slowest)
    _print_titled("checks failed", failed_check_texts(summary))
    _print_titled("warnings", summary.get("warnings", []))
    print_remarks(summary["remarks"])


def slowest_batch(ledger: Ledger, summary: Summary) -> Batch | None:
    """Return the batch that took longest in the newest of a summary's runs, of two at least."""
    if not summary["run_id"]:
        return None
    plans = ledger.plans_under_way(summary["run_id"])
    run = {batch_id for plan in plans for batch_id in plan.batches}
    reused = {batch_id for plan in plans for batch_id in plan.reused}
    return ledger.slowest(run - reused) if len(run - reused) > 1 else None


def print_slowest(batch: Batch) -> None:
    """Print which batch took longest, with its first block."""
    outcome = batch.finished_outcome
    blocks = sorted({range_.key for range_ in batch.ranges})
    more = f" and {len(blocks) - 1:,} more" if len(blocks) > 1 else ""
    out.print(
        f"slowest batch: {batch.id} of {batch.partition}, {outcome.items:,} items in "
        f"{outcome.seconds:.2f} s"
    )
    if blocks:
        out.print(f"  {blocks[0]}{more}", markup=False)


def print_remarks(remarks: Sequence[str]) -> None:
    """Print what else a person should know."""
    for remark in remarks:
        out.print(f"\n{wrapped(remark)}", markup=False)


def print_sentences(texts: Sequence[str]) -> None:
    """Print texts clause by clause, each on lines of its own; commands can be pasted."""
    for text in texts:
        indent = "  "
        for clause in CLAUSE_END.split(text):
            for line in _lines_of(clause, indent):
                out.print(line, markup=False)
            indent = "    "


def _lines_of(clause: str, indent: str) -> list[str]:
    """Return a clause as lines that fit; the command in it stands on a line of its own."""
    command = COMMAND.search(clause)
    if not command:
        return [wrapped(clause, indent)]
    words = clause[: command.start()] + "this" + clause[command.end() :].rstrip(".")
    return [wrapped(f"{words}:", indent), f"{indent}  {command[1]}"]


def _print_errors(summary: Summary, asset: Asset) -> None:
    failed = summary.get("partitions_failed", [])
    folded = summary.get("partitions_folded", [])
    if failed:
        count = f"{len(failed):,} of {len(summary['partitions']):,}"
        out.print(f"{count} partitions {'is' if len(failed) == 1 else 'are'} not folded:")
    else:
        out.print(f"run {summary['run_id']} failed:")

    print_sentences(summary["errors"])
    if summary.get("refused"):
        out.print("\nto run what is not folded again:")
        out.print(f"  fanfold run {asset.name} --failed")
    if folded:
        out.print(f"\n{len(folded):,} {'is' if len(folded) == 1 else 'are'} folded:")
        out.print(_listed(asset.partitions.ranges_text(folded)), markup=False)
        out.print()


def _print_links(summary: Summary) -> None:
    """Print where the UI shows the runs, where there were any."""
    out.print()
    for run_id in summary["runs"]:
        out.print(run_link(run_id), markup=False)


def _number(value: float) -> float | str:
    return f"{value:,.1f}" if isinstance(value, float) else value


def _listed(text: str) -> str:
    """Return a list as indented lines that fit a narrow terminal, wherever they are printed."""
    how = {"break_long_words": False, "break_on_hyphens": False}
    return fill(text, LIST_COLUMNS, initial_indent="  ", subsequent_indent="  ", **how)


def _print_titled(title: str, sentences: Sequence[str]) -> None:
    """Print sentences under their title, where there are any."""
    if sentences:
        out.print(f"\n{title}:")
    print_sentences(sentences)
