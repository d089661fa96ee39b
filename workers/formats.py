"""The formats of blocks: JSON lines, text, CSV and Parquet; all but the last plain or compressed.

One function reads a range of a block in any of them, as runs of lines or rows.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Literal

import msgspec

from workers import parquet
from workers.blocks import BlockStore
from workers.compression import PIECE, SUFFIXES, pieces
from workers.errors import Malformed, Refused
from workers.items import BOM, Rows
from workers.lines import LONGEST, Lines, split_lines
from workers.model import Range

TAIL = 64 << 10  # bytes asked for at a time to finish a range's last line, or to read a header
ROWS = 10_000  # rows of CSV or Parquet held at a time
KINDS = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".txt": "text",
    ".csv": "csv",
    ".parquet": "parquet",
}


class Format(msgspec.Struct, frozen=True):
    """How a block is written."""

    # Of text each line is an item by itself: the first column of it.
    kind: Literal["json", "text", "csv", "parquet"] = "json"
    compression: str = ""
    delimiter: str = ","
    # Whether a quoted cell of CSV may hold a newline. Without any, plain CSV is cut like lines.
    multiline: bool = True

    @property
    def is_splittable(self) -> bool:
        """Whether ranges of a block can be read by themselves, wherever it is cut."""
        if self.kind == "parquet":
            return True
        return not self.compression and not (self.kind == "csv" and self.multiline)


def format_of(key: str, declared: str = "") -> Format:
    """Return the format of a block: as declared, or by the suffixes of its key; JSON lines else.

    A declaration is the kind and what differs, as in `csv delimiter=; multiline=no` or
    `json compression=gzip`; what it leaves out the key's suffixes say.
    """
    stem, compression = key, ""
    for suffix, name in SUFFIXES.items():
        if key.endswith(suffix):
            stem, compression = key.removesuffix(suffix), name
    kind = next((kind for suffix, kind in KINDS.items() if stem.endswith(suffix)), "json")
    found: dict[str, Any] = {"kind": kind, "compression": compression}
    for word in declared.split():
        name, _, value = word.partition("=")
        if not value:
            found["kind"] = name
        elif name == "multiline":
            found[name] = value == "yes"
        else:
            found[name] = {"tab": "\t", "none": ""}.get(value, value)
    try:
        return msgspec.convert(found, Format)
    except msgspec.ValidationError as error:
        raise Refused(f"{declared!r} is no format: {error}") from error


def read(
    store: BlockStore, cut: Range, form: Format, columns: Sequence[str]
) -> Iterator[Lines | Rows]:
    """Yield the lines or rows that start in a range; `columns` are the ones worth reading.

    Malformed where the block breaks off, after all that was good.
    """
    if form.kind == "parquet":
        return parquet.read(store, cut, columns)
    if cut.piece:
        body = pieces(store.open_whole(cut.piece))
        lines = split_lines(body, 0, None)
        return _rows(lines, form, cut) if form.kind == "csv" else _plain(lines, form, cut, columns)
    if not form.is_splittable:
        body = pieces(store.open(cut.key, cut.etag, 0, cut.size), form.compression)
        lines = split_lines(body, 0, None)
        return _rows(lines, form, cut) if form.kind == "csv" else _plain(lines, form, cut, columns)
    # One byte earlier shows whether the first line starts right here or before.
    start = max(cut.start - 1, 0)
    body = chain(pieces(store.open(cut.key, cut.etag, start, cut.end)), _tail(store, cut))
    lines = split_lines(body, cut.start, cut.end)
    if form.kind != "csv":
        return _plain(lines, form, cut, columns)
    return _rows(lines, form, cut, _header(store, cut, form) if cut.start else None)


def _tail(store: BlockStore, cut: Range) -> Iterator[bytes]:
    """Yield the bytes behind a range, for as long as somebody asks."""
    for at in range(cut.end, cut.size, TAIL):
        yield from pieces(store.open(cut.key, cut.etag, at, min(at + TAIL, cut.size)))


def _plain(
    lines: Iterator[Lines], form: Format, cut: Range, columns: Sequence[str]
) -> Iterator[Lines | Rows]:
    """Yield lines of JSON or text with their places in the block, where a piece was cut from it."""
    for run in lines:
        moved = msgspec.structs.replace(run, start=run.start + cut.offset) if cut.piece else run
        yield _texts(moved, columns[0]) if form.kind == "text" else moved


def _texts(run: Lines, column: str) -> Rows:
    """Return lines as rows of one column, blank ones left out."""
    rows: list[dict[str, Any] | str] = []
    places = []
    for number, line in enumerate(run.lines):
        try:
            text = line.removeprefix(BOM if run.start + number == 0 else b"").decode().strip()
        except UnicodeDecodeError as error:
            rows.append(f"invalid UTF-8: {error.reason}")
        else:
            if not text:
                continue
            rows.append("the line is too long for an item" if run.is_cut else {column: text})
        places.append(run.place(number))
    return Rows(rows, places, is_text=True)


# CSV


class Record(msgspec.Struct, frozen=True):
    """One record of CSV: where it starts, its cells (or why there are none), its lines."""

    at: int
    cells: list[str] | str
    raw: bytes
    # A line of it was too long to be kept.
    is_cut: bool


class _Feed:
    """Hands the lines of a CSV to its parser, and remembers those of the current record."""

    def __init__(self, lines: Iterator[Lines]) -> None:
        self._runs = lines
        self.begin()

    def begin(self) -> None:
        """Forget the last record; the next line starts one."""
        self.at, self.raw, self.bad, self.is_cut = -1, list[bytes](), "", False

    def __iter__(self) -> Iterator[str]:
        for run in self._runs:
            at = run.start
            for line in run.lines:
                self.at = at if self.at < 0 else self.at
                self.raw.append(line)
                yield self._text(line if at else line.removeprefix(BOM), run.is_cut)
                at += len(line) + 1

    def _text(self, line: bytes, is_cut: bool) -> str:
        if is_cut:
            self.bad, self.is_cut = "the line is too long for an item", True
            return "\n"
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError as error:
            self.bad = f"invalid UTF-8: {error.reason}"
            # Its quotes still count, or the lines behind it would join this record.
            return line.decode(errors="replace") + "\n"


def records(lines: Iterator[Lines], form: Format) -> Iterator[Record]:
    """Yield the records of a CSV, blank lines left out; the first may be the header."""
    csv.field_size_limit(LONGEST)
    feed = _Feed(lines)
    text = iter(feed)
    reader = csv.reader(text, delimiter=form.delimiter, strict=True)
    while True:
        feed.begin()
        if not form.multiline:  # a stray quote spoils its own line, and not those behind it
            reader = csv.reader(islice(text, 1), delimiter=form.delimiter, strict=True)
        cells: list[str] | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = f"CSV is malformed: {error}"
        if feed.bad or cells:
            yield Record(feed.at, feed.bad or cells, b"\n".join(feed.raw) + b"\n", feed.is_cut)


def _header(store: BlockStore, cut: Range, form: Format) -> Record | None:
    """Return a block's first record."""
    whole = msgspec.structs.replace(cut, start=0, end=1)
    body = chain(pieces(store.open(cut.key, cut.etag, 0, 1)), _tail(store, whole))
    return next(records(split_lines(body, 0, None), form), None)


def _rows(
    lines: Iterator[Lines], form: Format, cut: Range, header: Record | None = None
) -> Iterator[Rows]:
    """Yield rows by column. The first record is the header where none is given.

    A header that cannot be read is a dead letter, and so is every row behind it; a piece repeats
    the header, and does not count it.
    """
    rows: list[dict[str, Any] | str] = []
    places: list[str] = []
    size = 0
    try:
        for record in records(lines, form):
            if header is None or record.at <= header.at:
                header = record
                if cut.piece or isinstance(record.cells, list):
                    continue
            rows.append(_named(header, record))
            places.append(f"byte {record.at + cut.offset}")
            size += len(record.raw)
            if len(rows) >= ROWS or size >= PIECE:
                yield Rows(rows, places, is_text=True)
                rows, places, size = [], [], 0
    except Malformed:
        if rows:
            yield Rows(rows, places, is_text=True)
        raise
    if rows:
        yield Rows(rows, places, is_text=True)


def _named(header: Record, record: Record) -> dict[str, Any] | str:
    """Return cells by column; a reason stays one, and a row of another length becomes one."""
    names, cells = header.cells, record.cells
    if isinstance(cells, str):
        return cells
    if isinstance(names, str):
        return f"the header cannot be read: {names}"
    if len(cells) != len(names):
        return f"the row has {len(cells)} cells and the header {len(names)}"
    return dict(zip(names, cells, strict=True))


class Unit(msgspec.Struct, frozen=True):
    """Bytes that belong together: whole lines of JSON, or one record of CSV."""

    start: int
    body: bytes
    items: int
    # Why its one item cannot be used, where it cannot be kept: too long, or the header.
    broken: str = ""


def units(lines: Iterator[Lines], form: Format, most: int) -> Iterator[Unit]:
    """Yield what belongs together, of at most so many items; the header of CSV comes first."""
    if form.kind == "csv":
        for number, record in enumerate(records(lines, form)):
            is_broken = isinstance(record.cells, str) and (record.is_cut or number == 0)
            yield Unit(record.at, record.raw, 1, str(record.cells) if is_broken else "")
        return
    for run in lines:
        if run.is_cut:
            yield Unit(run.start, b"", 1, "the line is too long for an item")
            continue
        at = run.start
        for first in range(0, len(run.lines), most):
            part = run.lines[first : first + most]
            body = b"\n".join(part) + b"\n"
            yield Unit(at, body, sum(1 for line in part if line and not line.isspace()))
            at += len(body)
