"""What the commands do that look at one profile: what it says, and which items make it so."""

from datetime import datetime
from itertools import islice
from typing import Any

from pipelines.cli.console import servers, show
from pipelines.cli.readable import (
    cut,
    field_lines,
    page_width,
    print_lines,
    text_of,
    wrapped,
)
from pipelines.summaries import counted
from workers.contributors import Contributor, Made, Question, made_of
from workers.declare.asset import Asset
from workers.declare.task import Task, load_task
from workers.explain import ExplainedItem, Explanation

MAX_PARTITIONS = 20  # that a page names
DEFAULT_ITEMS = 20  # items that a page lists


def show_profile(asset: Asset, profile_id: str, as_json: bool) -> None:
    """Print a profile as readers see it, with the partitions that it is made of."""
    task = load_task(asset.task)
    with servers() as (ledger, store):
        made = made_of(asset, task, ledger, store, profile_id)

    partitions = _partition_rows(task, made)
    document = {
        "asset": asset.name,
        "id": profile_id,
        "fields": made.fields,
        "others_fields": made.others,
        "began_with": made.began_with(task),
        "partitions": partitions,
        "partitions_not_known": made.lost,
    }
    show(as_json, document, lambda: _print_profile(document))


def _partition_rows(task: Task, made: Made) -> list[dict[str, Any]]:
    """Return what each partition says of a profile, with the batches that say it."""
    rows: dict[str, list[Contributor]] = {}
    for contributor in made.contributors:
        rows.setdefault(contributor.partition, []).append(contributor)
    return [
        {
            "partition": partition,
            "is_folded": all(contributor.is_folded for contributor in contributors),
            "batches": [contributor.batch for contributor in contributors],
            "says": made.said_by(task, contributors),
        }
        for partition, contributors in rows.items()
    ]


def _print_profile(document: dict[str, Any]) -> None:
    lines = [f"{document['asset']} {document['id']}", "", *field_lines(document["fields"])]
    if document["others_fields"]:
        lines += ["", "of others", *field_lines(document["others_fields"])]
    if document["began_with"]:
        lines += ["", "began with", *field_lines(document["began_with"])]

    rows = document["partitions"]
    batches = sum(len(row["batches"]) for row in rows)
    lines += ["", f"made of {counted(len(rows), 'partition')}, {counted(batches, 'batch')}"]
    for row in rows[-MAX_PARTITIONS:]:
        state = "" if row["is_folded"] else "being folded: "
        label = f"  {row['partition']}  "
        lines += wrapped(state + _saying(_single(row["says"])), label, " " * len(label))
    if len(rows) > MAX_PARTITIONS:
        lines.append(f"  and {len(rows) - MAX_PARTITIONS:,} older; --json has all")
    lines += _lost_lines(document["partitions_not_known"])
    lines += ["", f"fanfold explain {document['asset']} {document['id']} FIELD says which items"]
    print_lines(lines)


def explain(asset: Asset, profile_id: str, field: str, limit: int | None, as_json: bool) -> None:
    """Print which partitions, batches, blocks and items make a profile, or a field of it."""
    task = load_task(asset.task)
    most = DEFAULT_ITEMS if limit is None and not as_json else limit
    with servers() as (ledger, store):
        made = made_of(asset, task, ledger, store, profile_id)
        question = Question.of_text(task, made, field)
        explanation = Explanation(task, ledger, store, made, question)
        items = list(islice(explanation.items(), None if most is None else most + 1))

    has_more = most is not None and len(items) > most
    items = items[:most]
    document = _explained(asset, field, explanation, items, has_more)
    show(as_json, document, lambda: _print_explained(document, task.observe is not None))


def _explained(
    asset: Asset,
    field: str,
    explanation: Explanation,
    items: list[ExplainedItem],
    has_more: bool,
) -> dict[str, Any]:
    """Return an explanation as `--json` prints it."""
    made = explanation.made
    return {
        "asset": asset.name,
        "id": made.profile.id,
        "field": field,
        "value": explanation.value,
        "is_as_stored": explanation.is_as_stored,
        "batches": [
            {
                "partition": contributor.partition,
                "batch": contributor.batch,
                "blocks": explanation.blocks_of(contributor),
                "is_redrive": explanation.is_redrive(contributor),
                "says": explanation.says(contributor),
            }
            for contributor in explanation.contributors
        ],
        "items": [item.to_json() for item in items],
        "has_more_items": has_more,
        "began_with": explanation.began_with,
        "unread": [unread.to_json() for unread in explanation.unread],
        "partitions_not_known": made.lost,
        "batches_of_other_code": explanation.of_other_code,
        "read": {
            "results": made.results,
            "bytes_of_results": made.bytes_read,
            "ranges": explanation.ranges,
            "bytes_of_ranges": explanation.bytes_read,
        },
    }


def _print_explained(document: dict[str, Any], is_observed: bool) -> None:
    batches = document["batches"]
    partitions = {row["partition"] for row in batches}
    lines = [f"{document['asset']} {document['id']}", *field_lines(document["value"]), ""]
    if not document["is_as_stored"]:
        lines += ["MongoDB holds another value: a run is at it, or somebody wrote to it.", ""]
    if document["began_with"]:
        lines += ["began with", *field_lines(document["began_with"]), ""]
    lines.append(
        f"said by {counted(len(batches), 'batch')} of {counted(len(partitions), 'partition')}"
    )
    for row in batches[-MAX_PARTITIONS:]:
        says = row["says"] if document["field"] else _single(row["says"])
        label = f"  {row['partition']}  {row['batch']}  "
        lines += wrapped(_saying(says), label, " " * len(label))
        redrive = "redriven, of " if row["is_redrive"] else ""
        lines.append(f"    {redrive}{_first_of(row['blocks'])}")
    if len(batches) > MAX_PARTITIONS:
        lines.append(f"  and {len(batches) - MAX_PARTITIONS:,} older; --json has all")

    lines += ["", *_item_lines(document)]
    if is_observed:
        lines += ["", "What was seen of the world is in the results alone, so items say nothing."]
    lines += _note_lines(document)
    print_lines(lines)


def _item_lines(document: dict[str, Any]) -> list[str]:
    """Return the items by batch and block, each in two lines: what it says, and how it stands."""
    items = document["items"]
    more = ", and there are more: --limit N lists N of them, --json all"
    lines = [counted(len(items), "item") + (more if document["has_more_items"] else "")]
    before = ("", "")
    for item in items:
        where = (item["batch"], item["block"])
        if where != before:
            lines += [f"  {item['partition']}  {item['batch']}", f"    {item['block']}"]
            before = where
        says = cut(f"{item['place']}: {_saying(item['says'])}", page_width() - 6)
        lines += [f"      {says}", f"        {cut(item['item'], page_width() - 8)}"]
    return lines


def _note_lines(document: dict[str, Any]) -> list[str]:
    """Return what is not known, and what was read."""
    lines = _lost_lines(document["partitions_not_known"])
    for number, unread in enumerate(document["unread"][:MAX_PARTITIONS]):
        lines += [] if number else [""]
        lines += wrapped(f"not read: {unread['why']}", "", "  ")
    if other := document["batches_of_other_code"]:
        text = f"{counted(len(other), 'batch')} ran with other code; items are told by the code now"
        lines += wrapped(text, "", "  ")
    read = document["read"]
    text = (
        f"read: {read['bytes_of_results'] / 1000:,.0f} kB of {counted(read['results'], 'result')}"
    )
    text += f", {read['bytes_of_ranges'] / 1000:,.0f} kB of {counted(read['ranges'], 'range')}"
    return [*lines, "", *wrapped(text, "", "  ")]


def _saying(says: dict[str, Any]) -> str:
    return "; ".join(f"{name} {text_of(value)}" for name, value in says.items()) or "-"


def _single(says: dict[str, Any]) -> dict[str, Any]:
    """Return what is said without maps, lists and times, which would take a page."""
    left_out = (dict, list, datetime)
    return {name: value for name, value in says.items() if not isinstance(value, left_out)}


def _first_of(blocks: list[str]) -> str:
    if not blocks:
        return "-"
    more = f" and {len(blocks) - 1:,} more" if len(blocks) > 1 else ""
    return cut(blocks[0], page_width() - 20 - len(more)) + more


def _lost_lines(partitions: list[str]) -> list[str]:
    if not partitions:
        return []
    text = f"results are no longer in S3, so what these say is not known: {text_of(partitions)}"
    return ["", *wrapped(text, "", "  ")]
