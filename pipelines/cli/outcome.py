"""How people read what became of a run, on a terminal."""

from collections.abc import Sequence
from textwrap import fill

from pipelines.cli.console import out, print_table
from pipelines.summaries import Summary, failed_check_texts, numbers_to_show
from workers.declare.asset import Asset

LIST_COLUMNS = 80  # that a list of partitions fits


def print_summary(summary: Summary, asset: Asset) -> None:
    """Print what became of the partitions of a run: why some are not folded, and its numbers."""
    if summary.get("errors"):
        _print_errors(summary, asset)
        if "items" not in summary:
            return

    labels = {name: name.replace("_", " ") for name in summary}
    if len(summary["runs"]) > 1:
        labels["profiles"] = "profiles, run by run"  # one that two runs folded is counted by both

    rows = [(labels[name], value) for name, value in numbers_to_show(summary).items()]
    print_table(("", summary["asset"]), rows)
    _print_sentences("checks failed", failed_check_texts(summary))
    _print_sentences("warnings", summary.get("warnings", []))
    print_remarks(summary["remarks"])


def print_remarks(remarks: Sequence[str]) -> None:
    """Print what else a person should know."""
    for remark in remarks:
        out.print(f"\n{remark}", markup=False)


def _print_errors(summary: Summary, asset: Asset) -> None:
    failed = summary.get("partitions_failed", [])
    folded = summary.get("partitions_folded", [])
    if failed:
        count = f"{len(failed):,} of {len(summary['partitions']):,}"
        out.print(f"{count} partitions {'is' if len(failed) == 1 else 'are'} not folded:")
    else:
        out.print(f"run {summary['run_id']} failed:")

    for error in summary["errors"]:
        out.print(f"  {error}", markup=False)

    if summary.get("refused"):
        out.print(f"  `fanfold run {asset.name} --failed` runs what is not folded again")
    if folded:
        out.print(f"{len(folded):,} {'is' if len(folded) == 1 else 'are'} folded:")
        out.print(_wrapped(asset.partitions.ranges_text(folded)), markup=False)


def _wrapped(text: str) -> str:
    """Return a list as indented lines that fit a narrow terminal."""
    indent = "  "
    return fill(
        text,
        LIST_COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _print_sentences(title: str, sentences: Sequence[str]) -> None:
    """Print sentences under their title, where there are any."""
    if sentences:
        out.print(f"\n{title}:")
    for sentence in sentences:
        out.print(f"  {sentence}", markup=False)
