"""What the first bytes of blocks show: how they are written, and how much is in a byte of them."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from workers.errors import Malformed
from workers.sources.formats.containers.avro import avro_density
from workers.sources.formats.format import CONTAINERS, Format
from workers.sources.formats.header import Columns
from workers.sources.formats.reader import plain_bytes
from workers.sources.formats.values import split_values
from workers.sources.heads import Head

TYPICAL_ITEM_BYTES = 200  # of items about which nothing is known


class Density(msgspec.Struct, frozen=True):
    """What a byte of blocks of one kind holds, on average."""

    items: float
    plain_bytes: float


class Sample(NamedTuple):
    """What the first bytes of a block show."""

    # None where the block cannot be read, for this reason.
    form: Format | None
    reason: str = ""
    read_bytes: int = 0
    items: float = 0
    plain_bytes: int = 0
    # The first of them that are plain; none of containers.
    text: bytes = b""


def take_sample(head: Head, declared: str, columns: Columns) -> Sample:
    """Return what the head of a block shows."""
    try:
        form = head.look(declared, columns)
    except Malformed as error:
        size = head.block.size
        return Sample(None, error.reason, size, size / TYPICAL_ITEM_BYTES, size)

    read_bytes = len(head.bytes)
    if form.kind in CONTAINERS:
        # The others say how many rows they have.
        items, plain = avro_density(head.bytes) if form.kind == "avro" else (0.0, 1.0)
        return Sample(form, "", read_bytes, items * read_bytes, round(plain * read_bytes))

    text = b""
    try:
        for chunk in plain_bytes(io.BytesIO(head.bytes), form):
            text += chunk
    except Malformed:
        pass  # a sample breaks off by nature; a block that does is for the worker to say
    items = _count_items(text, form, head.is_whole)
    return Sample(form, read_bytes=read_bytes, items=items, plain_bytes=len(text), text=text)


def density_of(samples: Iterable[Sample]) -> Density:
    """Return the density of the blocks that samples were taken of, together."""
    items = 0.0
    read_bytes = 0
    plain_bytes = 0
    for sample in samples:
        items += sample.items
        read_bytes += sample.read_bytes
        plain_bytes += sample.plain_bytes
    return Density(max(items, 1) / max(read_bytes, 1), max(plain_bytes, 1) / max(read_bytes, 1))


def _count_items(plain: bytes, form: Format, is_whole: bool) -> int:
    if not form.is_in_values:
        *lines, last = plain.split(b"\n")
        items = sum(1 for line in lines if line and not line.isspace())
        return items + (is_whole and bool(last.strip()))

    items = 0
    try:
        for run in split_values(iter([plain]), form):
            items += len(run.lines)
    except Malformed:
        pass  # the last value of a sample is cut
    return items
