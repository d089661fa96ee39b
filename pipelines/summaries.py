"""What came of runs, as `--json` prints it, each and several as one; of partitions, for the UI.

A summary has run_id, asset, success, partitions and seconds. Where the partitions were folded, it
has the counts that `publish` recorded, and in `checks_failed` the checks that did not pass, for
which it is no success either; where they were not, `errors`. Where some were and others were not,
it has all of these: counts are of `partitions_folded`, errors of `partitions_failed`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from workers.declare.asset import Asset, span

Summary = dict[str, Any]
# What a person is told only where there is any; see adoption_text.
OF_ADOPTION = ("documents_adopted", "values_replaced")
LISTS = ("refused", "checks_failed", "warnings")  # what a summary says beside numbers


def summary_of_none(asset: Asset, ranges: Sequence[Sequence[str]], why: str) -> Summary:
    """Return the summary of runs over ranges of partitions that were not started."""
    return {
        "run_id": None,
        "asset": asset.name,
        "success": False,
        "partitions": [key for keys in ranges for key in keys],
        "errors": [f"not run: {why}"],
        "seconds": 0.0,
    }


def join_summaries(summaries: Sequence[Summary]) -> Summary:
    """Return the summaries of runs, of which there is one at least, as one.

    Numbers are sums over the runs that folded: a profile that two of them folded counts twice.
    """
    run_ids = [summary["run_id"] for summary in summaries if summary["run_id"]]
    if len(summaries) == 1:
        return {**summaries[0], "runs": run_ids}

    joined: Summary = {
        "run_id": run_ids[-1],
        "asset": summaries[0]["asset"],
        "success": all(summary["success"] for summary in summaries),
        "partitions": [key for summary in summaries for key in summary["partitions"]],
        "partitions_folded": [key for summary in summaries for key in partitions_folded(summary)],
        "partitions_failed": [key for summary in summaries for key in partitions_failed(summary)],
    }

    sums: Counter[str] = Counter()
    for summary in summaries:
        sums.update({name: value for name, value in summary.items() if is_number(value)})
    joined.update(sums)
    joined["seconds"] = round(joined["seconds"], 3)

    for name in LISTS:
        joined[name] = [entry for summary in summaries for entry in summary.get(name, [])]

    errors = [error for summary in summaries for error in _errors_by_partition(summary)]
    if errors:
        joined["errors"] = errors
    return joined | {"runs": run_ids}


def _errors_by_partition(summary: Summary) -> list[str]:
    """Return the errors of a run, each with the partitions that it is about."""
    if summary.get("refused"):
        return list(summary["errors"])
    return [f"{span(summary['partitions'])}: {error}" for error in summary.get("errors", [])]


def refusal_texts(asset: Asset, summary: Summary) -> list[str]:
    """Return why partitions of a run are not folded while others are, each reason once."""
    return [
        f"{asset.partitions.ranges_text(refusal['partitions'])}: {refusal['why']}"
        for refusal in summary["refused"]
    ]


def failures(summary: Summary) -> list[str]:
    """Return why a run is no success, in sentences; none where it is one."""
    return [*summary.get("errors", []), *failed_check_texts(summary)]


def failed_check_texts(summary: Summary) -> list[str]:
    """Return what the checks of a run say that did not pass."""
    return [f"{check['check']}: {check['text']}" for check in summary.get("checks_failed", [])]


def adoption_text(summary: Mapping[str, Any]) -> str:
    """Return what a run did to documents that were there before it; "" where it met none."""
    documents, values = (summary.get(name, 0) for name in OF_ADOPTION)
    if not documents:
        return ""
    text = f"The run made profiles of {counted(documents, 'document')} of others."
    if values:
        replaced = f"{counted(values, 'value')} in fields of the profiles"
        text += f' It replaced {replaced}; a field with adopt="begin" begins with such values'
        text += " instead."
    return text


def numbers_to_show(summary: Summary) -> dict[str, Any]:
    """Return the numbers of a summary that a person is shown."""
    return {
        name: value
        for name, value in summary.items()
        if is_number(value) and (value or name not in OF_ADOPTION)
    }


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def is_folded(summary: Summary) -> bool:
    """Tell whether a run folded all of its partitions, whatever its checks then said."""
    return "errors" not in summary


def partitions_folded(summary: Summary) -> list[str]:
    """Return the partitions that a run folded."""
    failed = partitions_failed(summary)
    return [partition for partition in summary["partitions"] if partition not in failed]


def partitions_failed(summary: Summary) -> list[str]:
    """Return the partitions that a run did not fold: some of them, or all."""
    all_or_none = [] if is_folded(summary) else summary["partitions"]
    failed: list[str] = summary.get("partitions_failed", all_or_none)
    return failed


def is_number(value: Any) -> bool:
    """Tell whether a value of a summary is one to add up."""
    return isinstance(value, int | float) and not isinstance(value, bool)
