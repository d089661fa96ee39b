"""Large blocks that cannot be cut (gzip and the like) are streamed once into pieces in S3.

Pieces lie under `_fanfold/pieces/`, by the block's key and ETag, with a manifest written last;
later runs find them there. Memory is bounded by the size of one piece.
"""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from workers.errors import Malformed
from workers.sources.formats.compression import decompress
from workers.sources.formats.csv import records
from workers.sources.formats.format import Format
from workers.sources.formats.lines import Lines, split_lines
from workers.store import OWN_PREFIX, BlockStore, Body
from workers.values import Range, digest

SEGMENTS_PREFIX = f"{OWN_PREFIX}pieces/"
BAD_HEADER = b"\xff\n"  # what pieces repeat of a header that cannot be read: no text either


def segments_key(key: str, etag: str, form: Format) -> str:
    """Return where the list of a block's pieces lies."""
    identity = [key, etag, form.kind, form.delimiter, form.multiline]
    return f"{SEGMENTS_PREFIX}{digest(identity)[:20]}/manifest.json"


def cut_segments(
    store: BlockStore, key: str, etag: str, size: int, form: Format, items: int, plain_bytes: int
) -> list[Range]:
    """Return the ranges of a block, cut into pieces of so many items and bytes at most.

    The ranges cover the block's compressed bytes, if only roughly by where its items lie.
    """
    manifest = segments_key(key, etag, form)
    if not store.exists(manifest):
        cutter = _Cutter(store, manifest.rpartition("/")[0])
        cutter.cut(store.open(key, etag, 0, size), size, form, items, plain_bytes)
        store.put_json(manifest, cutter.made)
    made = store.get_json(manifest)
    ranges, start = [], 0
    for number, piece in enumerate(made):
        what = {name: value for name, value in piece.items() if name != "read"}
        left = len(made) - number - 1  # each needs a byte of its own
        end = min(max(piece["read"], start + 1), size - left) if left else size
        ranges.append(Range(key=key, etag=etag, size=size, start=start, end=end, **what))
        start = end
    return ranges


class _Cutter:
    """Writes pieces, and keeps what the manifest will say of them."""

    def __init__(self, store: BlockStore, folder: str) -> None:
        self.store, self.folder = store, folder
        self.made: list[dict[str, Any]] = []
        self.header = b""
        self._parts: list[bytes] = []
        self._start = self._items = self._bytes = 0

    def cut(self, body: Body, size: int, form: Format, items: int, plain_bytes: int) -> None:
        lines = split_lines(decompress(body, form.compression), 0, None)
        try:
            for unit in units(lines, form, min(items, 500)):
                is_header = form.kind == "csv" and not self.header
                if is_header:
                    self.header = BAD_HEADER if unit.broken else unit.body
                if unit.broken:
                    self._put(body)
                    self._note(body, items=1, offset=unit.start, broken=unit.broken)
                if is_header or unit.broken:
                    continue
                if not self._parts:
                    self._start = unit.start
                self._parts.append(unit.body)
                self._items += unit.items
                self._bytes += len(unit.body)
                scale = self._scale(size)
                if self._items >= items * scale or self._bytes >= plain_bytes * scale:
                    self._put(body)
        except Malformed as error:
            self._put(body)
            place, _, why = str(error).partition(": ")
            offset = int(place.split()[1])
            self._note(body, items=1, offset=offset, broken=why)
        self._put(body)
        if not self.made:
            self._note(body, items=0, offset=0, piece=self._write(b""))

    def _scale(self, size: int) -> float:
        """Return how much larger pieces have to be, for each to have a byte of the block.

        A block may hold far more pieces than bytes: a million equal lines are a few bytes of zstd.
        """
        spare = size - len(self.made) - 2  # for what is left, and for where it breaks off
        return size / spare if spare > 0 else math.inf

    def _put(self, body: Body) -> None:
        if self._parts:
            piece = self._write(self.header + b"".join(self._parts))
            offset = self._start - len(self.header)
            self._note(body, items=self._items, offset=offset, piece=piece)
        self._parts, self._items, self._bytes = [], 0, 0

    def _write(self, content: bytes) -> str:
        key = f"{self.folder}/{len(self.made):05}"
        self.store.put(key, content)
        return key

    def _note(self, body: Body, **what: Any) -> None:
        self.made.append({**what, "read": body.bytes_read})


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
