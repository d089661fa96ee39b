"""What the command does for items that could not be used: list them, discard them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from pipelines.cli.console import check_partition, err, out, print_table, servers, show
from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.dead_letters import DeadLetter, DeadLetterState
from workers.ledger.ledger import Ledger
from workers.ledger.losses import failed_batches
from workers.ledger.records import Batch

SHOWN_LETTERS = 20
SHOWN_REASONS = 10
ID_CHARACTERS = 8  # of an id, at least; more where letters share them


class Chosen(NamedTuple):
    """Which letters of an asset a person asks for."""

    partition: str | None
    letter_id: str | None
    reason: str | None
    state: str | None
    is_unread: bool

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves out more than other partitions."""
        return bool(self.letter_id or self.reason or self.state or self.is_unread)


def list_dead_letters(
    asset: Asset, is_all: bool, why: str | None, as_json: bool, **options: Any
) -> None:
    """Print the items of an asset that could not be used, with the reason; then failed batches."""
    chosen = Chosen(**options)
    check_partition(asset, chosen.partition)
    if why is not None and not why.strip():
        raise Refused("--discard needs a reason, for whoever looks at it later")

    with servers() as (ledger, _):
        letters, discarded = _find(asset, ledger, chosen, why)
        is_narrow = chosen.is_narrow or why
        batches = [] if is_narrow else failed_batches(ledger, asset.name, chosen.partition)

    rows = [_letter_row(letter) for letter in letters]
    failed = [_failed_row(batch) for batch in batches]
    document = {"dead_letters": rows, "failed_batches": failed}
    document |= {"discarded": discarded} if why else {}

    def print_text() -> None:
        if chosen.letter_id:
            _print_whole(rows[0])
            return
        states = {chosen.state or DeadLetterState.OPEN} if not why else set(DeadLetterState)
        where = asset.name + (f" --partition {chosen.partition}" if chosen.partition else "")
        _print_letters(rows, states, where, None if is_all else SHOWN_LETTERS)
        _print_failed(failed)
        _print_ways(where, rows, failed)

    show(as_json, document, print_text)
    if why:
        err.print(f"{discarded} discarded")


def _find(
    asset: Asset, ledger: Ledger, chosen: Chosen, why: str | None
) -> tuple[list[DeadLetter], int]:
    """Return the letters that are chosen, and how many of them are discarded for this reason."""
    letter_id = _whole_id(asset, ledger, chosen.letter_id) if chosen.letter_id else None
    query = (asset.name, chosen.partition, letter_id, chosen.reason)
    letters = ledger.dead_letters.find(*query, chosen.state, chosen.is_unread)
    if not why:
        return letters, 0

    ids = {letter.id for letter in letters}
    discarded = ledger.dead_letters.discard(ids, why)
    # Their state may be no longer the one that they were chosen by.
    letters = ledger.dead_letters.find(*query)
    return [letter for letter in letters if letter.id in ids], discarded


def _whole_id(asset: Asset, ledger: Ledger, beginning: str) -> str:
    """Return the id that begins so; Refused where none does, or several do."""
    ids = ledger.dead_letters.ids_beginning(asset.name, beginning)
    if not ids:
        raise Refused(f"{asset.name} has no such dead letter {beginning!r}")
    if len(ids) > 1:
        raise Refused(f"ids of several dead letters begin with {beginning!r}; say more of it")
    return ids[0]


def _letter_row(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as people read it: places and attempts are text."""
    found_by = [f"{attempt.batch}-{attempt.number}" for attempt in letter.found_by]
    as_text = {"place": str(letter.place), "found_by": found_by}
    as_text |= {"is_estimate": letter.place.is_rest}
    return {"id": letter.id} | letter.to_json() | as_text


def _failed_row(batch: Batch) -> dict[str, Any]:
    """Return a batch that failed for good; what it reads is unused, in a number not known."""
    return {
        "id": batch.id,
        "partition": batch.partition,
        "items": batch.items,
        "is_estimate": True,
        "attempts": batch.attempts,
        "blocks": sorted({range_.key for range_ in batch.ranges}),
        "error": batch.error,
    }


def _print_letters(
    rows: Sequence[dict[str, Any]], states: set[str], where: str, most: int | None
) -> None:
    """Print the reasons of letters in these states, then letters by block, up to a number."""
    counted = [row for row in rows if row["state"] in states]
    others = Counter(row["state"] for row in rows if row["state"] not in states)
    _print_reasons(counted, states)
    if others:
        listed = ", ".join(f"{count:,} {state}" for state, count in others.most_common())
        out.print(f"besides: {listed} (--state lists them)")
    if not counted:
        return

    shown = counted[:most]
    ids = _short_ids([row["id"] for row in rows])
    widths = [max(len(ids[row["id"]]) for row in shown), max(len(row["place"]) for row in shown)]
    block = None
    for row in shown:
        if block != (row["partition"], row["block"]):
            block = (row["partition"], row["block"])
            out.print(f"\n{row['block']}  ({row['partition']})", markup=False)
        _print_letter(row, ids[row["id"]], widths, len(states) > 1)

    more = len(counted) - len(shown)
    if more:
        out.print(f"\nand {more:,} more: fanfold dead-letters {where} --all")


def _print_reasons(counted: Sequence[dict[str, Any]], states: set[str]) -> None:
    named = "dead letters" if len(states) > 1 else f"{next(iter(states))} dead letters"
    if not counted:
        out.print(f"no {named}")
        return

    causes = Counter(row["cause"] for row in counted).most_common()
    print_table(("letters", "reason"), [(count, cause) for cause, count in causes[:SHOWN_REASONS]])
    if len(causes) > SHOWN_REASONS:
        out.print(f"and {len(causes) - SHOWN_REASONS:,} reasons more")
    if len(causes) > 1 or len(counted) > SHOWN_LETTERS:
        out.print(f"{len(counted):,} {named} in all")


def _print_letter(row: dict[str, Any], id_: str, widths: Sequence[int], with_state: bool) -> None:
    """Print a letter as a line under its block; of a rest it says how much that may be."""
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(min_width=widths[0] + 2, no_wrap=True)
    line.add_column(min_width=min(widths[1], 24))
    line.add_column(overflow="fold")

    estimate = f", about {row['items']:,} items" if row["is_estimate"] else ""
    tries = f" ({row['attempts']:,} times)" if row["attempts"] > 1 else ""
    state = f"{row['state']}: " if with_state else ""
    line.add_row(f"  {id_}", row["place"] + estimate, escape(f"{state}{row['reason']}{tries}"))
    out.print(line)


def _short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Return as much of each id as tells it from all others."""
    characters = ID_CHARACTERS
    while len({id_[:characters] for id_ in ids}) < len(set(ids)):
        characters += 1
    return {id_: id_[:characters] for id_ in ids}


def _print_failed(failed: Sequence[dict[str, Any]]) -> None:
    """Print failed batches, each in three lines: which, what it reads, why."""
    if failed:
        out.print("\nfailed batches:")
    for row in failed:
        first, *more = row["blocks"]
        blocks = f"{first} and {len(more):,} more" if more else first
        tries = f"{row['attempts']} attempt{'' if row['attempts'] == 1 else 's'}"
        out.print(f"  {row['id']}  {row['partition']}  about {row['items']:,} items, {tries}")
        out.print(f"    {blocks}\n    {row['error']}", markup=False)


def _print_ways(
    where: str, rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]
) -> None:
    """Print what to type next, a command a line."""
    open_rows = [row for row in rows if row["state"] == DeadLetterState.OPEN]
    ways = []
    if open_rows:
        id_ = open_rows[0]["id"][:ID_CHARACTERS]
        ways.append(f"fanfold dead-letters {where.partition(' ')[0]} --id {id_}    # one, whole")
    if open_rows or failed:
        ways.append(f"fanfold redrive {where}    # once the cause is mended")
    if ways:
        out.print("\nnext:")
    for way in ways:
        out.print(f"  {way}", markup=False)


def _print_whole(row: dict[str, Any]) -> None:
    """Print one letter, a field a line; the lines of a list stand below each other."""
    indent = "\n" + " " * 12
    for name, value in row.items():
        lines = value if isinstance(value, list) else [value]
        out.print(f"{name:<12}" + indent.join(str(line) for line in lines), markup=False)
