"""What `fanfold verify` found, as people read it."""

from collections.abc import Sequence

from pipelines.cli.readable import print_lines, wrapped
from pipelines.summaries import counted
from workers.declare.asset import Asset, span
from workers.verify import Verdict

MAX_RANGES = 10  # of partitions that were not run, as a person reads them


def print_verdict(asset: Asset, verdict: Verdict) -> None:
    """Print what was compared, and below it each thing that is not as it should be."""
    word = "do NOT match" if verdict.differing else "match"
    lines = [f"{verdict.profiles:,} profiles {word} {verdict.items:,} items in {verdict.against}"]
    if verdict.differing:
        lines.append(f"{verdict.expected_profiles:,} are expected; the first that differ:")
        lines += [f"  {profile_id}" for profile_id in verdict.differing]
        lines.append(
            "Blocks that no run has taken up yet count too; --partitions narrows the view."
        )
    if verdict.not_run:
        lines += _not_run_lines(asset, verdict.not_run)
    if verdict.unread_blocks:
        lines.append(f"{counted(verdict.unread_blocks, 'block')} cannot be read whole:")
        for unread in verdict.unread:
            lines += wrapped(unread, "  ", "    ")
        if more := verdict.unread_blocks - len(verdict.unread):
            lines.append(f"  and {more:,} more")
    print_lines(lines)


def _not_run_lines(asset: Asset, not_run: Sequence[str]) -> list[str]:
    """Return what was not run, and the command that runs it: what is finished costs nothing."""
    ranges = [span(range_) for range_ in asset.partitions.ranges(not_run)]
    more = len(ranges) - MAX_RANGES
    text = ", ".join(ranges[:MAX_RANGES]) + (f" and {more:,} more ranges" if more > 0 else "")
    which = f"--partitions {not_run[0]}...{not_run[-1]}"
    if len(not_run) == 1:
        which = f"--partition {not_run[0]}"
    return [
        f"{counted(len(not_run), 'partition')} with blocks not run, and not compared:",
        *wrapped(text, "  ", "  "),
        "what runs them:",
        f"  fanfold run {asset.name} {which}",
    ]
