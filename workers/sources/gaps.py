"""Gaps: bytes of a block that no batch covers yet, and even cuts of them."""

from collections.abc import Iterable
from itertools import pairwise

from workers.values import Block, ByteRange, Range, Value


class Gap(Value, frozen=True, kw_only=True):
    """Bytes of a block that no batch of an earlier plan covers."""

    partition: str
    key: str
    etag: str
    size: int
    start: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.start

    @property
    def block(self) -> Block:
        """The block that the gap is part of."""
        return Block(key=self.key, etag=self.etag, size=self.size)


def gaps_of(partition: str, block: Block, covered: Iterable[Range]) -> list[Gap]:
    """Return the bytes of a block that lie beside the ranges already planned for it."""
    gaps = []
    covered_to = 0
    spans = sorted((range_.start, range_.end) for range_ in covered)

    for start, end in [*spans, (block.size, block.size)]:
        if start > covered_to:
            gaps.append(
                Gap(
                    partition=partition,
                    key=block.key,
                    etag=block.etag,
                    size=block.size,
                    start=covered_to,
                    end=start,
                )
            )
        covered_to = max(covered_to, end)
    return gaps


def cut_evenly(gap: Gap, parts: int, items: float) -> list[ByteRange]:
    """Cut a gap into ranges of equal bytes that together cover it exactly."""
    ranges = []
    range_items = max(1, round(items / parts))

    for start, end in even_spans(gap, parts):
        ranges.append(
            ByteRange(
                key=gap.key,
                etag=gap.etag,
                size=gap.size,
                start=start,
                end=end,
                items=range_items,
            )
        )
    return ranges


def even_spans(gap: Gap, parts: int) -> list[tuple[int, int]]:
    """Return where equal parts of a gap start and end."""
    edges = [gap.start + gap.bytes * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))
