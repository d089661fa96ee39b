"""Damaged JSON of every shape by the thousand, through the readers alone.

    python -m tests.proofs.fuzz_values [--blocks 10000] [--seed 1]

Nothing but Malformed may come out of a reader; however a block is cut, it gives the same values;
and each byte of it is in a value, between values (blanks, commas, brackets of a list), or behind
the place from which a number of values that nobody knows is said to be lost.
"""

import argparse
import io
import json
import sys
from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

from tests.support.damaged_blocks import DAMAGE
from workers.errors import Malformed
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns
from workers.sources.formats.look import look
from workers.sources.formats.reader import read_range
from workers.values import ByteRange

COLUMNS = Columns(("user", "action", "ts", "item", "topics"), frozenset(("user", "action", "ts")))
# What may stand between values, by the shape of a block.
BETWEEN = {"lines": b" \t\r\n,\f\v", "values": b" \t\r\n,\f\v", "array": b" \t\r\n,\f\v[]"}
LAYOUTS = ("lines", "values", "parted", "indented", "array", "indented array", "several a line")


class Shelf:
    """A store of one block."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def open(self, _key: str, _etag: str, start: int, end: int) -> io.BytesIO:
        return io.BytesIO(self.body[start:end])

    def open_whole(self, key: str) -> io.BytesIO:
        raise NotImplementedError(key)


def written(random: Random) -> bytes:
    """Return some events in one of the layouts."""
    events = [_event(random) for _ in range(random.choice([1, 2, 5, 40]))]
    layout = random.choice(LAYOUTS)
    indent = 1 if "indented" in layout else None
    texts = [json.dumps(event, indent=indent, ensure_ascii=False) for event in events]

    if "array" in layout:
        return f"[{','.join(texts)}]".encode()
    if layout == "several a line":
        return "".join(text + random.choice(["", "\n"]) for text in texts).encode()
    return {"values": "", "parted": " ,\n"}.get(layout, "\n").join(texts).encode()


def _event(random: Random) -> dict[str, Any]:
    return {
        "user": f"user{random.randrange(40)}",
        "action": random.choice(["view", 'a "quoted" one', "}{", "[", "\\"]),
        "ts": 891388800 + random.randrange(86_400),
        "topics": random.choice([[], ["a", "b"], None, [{"deep": [1]}]]),
    }


def outcome(number: int, seed: int) -> Counter[str]:
    """Return the counts of one damaged block."""
    random = Random(f"{seed}/{number}")
    body = written(random)
    if number % 8:
        body = DAMAGE[random.choice(list(DAMAGE))](body, random)

    counts: Counter[str] = Counter(blocks=1)
    try:
        form = look(body, True, "a", "", COLUMNS)
    except Malformed:
        return counts + Counter(refused=1)
    assert form

    spans, rest = _read(body, form, [0, len(body)])
    counts["values"] = len(spans)
    counts["broken"] = rest < len(body)
    counts["unaccounted"] = _unaccounted(body, form, spans, rest)

    cuts = {0, len(body)}
    if form.is_splittable:
        cuts |= {random.randrange(len(body) + 1) for _ in range(3)}
    elif spans and not form.compression and not form.encoding:
        cuts |= {random.choice(spans)[0] for _ in range(3)}
    counts["differing"] = _read(body, form, sorted(cuts)) != (spans, rest)
    return counts


def _read(body: bytes, form: Format, edges: list[int]) -> tuple[list[tuple[int, int]], int]:
    """Return where values start and end, and from where on nobody knows of any."""
    spans: list[tuple[int, int]] = []
    rest = len(body)
    for start, end in pairwise(edges):
        range_ = ByteRange(key="a", etag="e", size=len(body), start=start, end=end, items=1)
        try:
            for run in read_range(Shelf(body), range_, form, COLUMNS):
                for index, line in enumerate(run.lines):
                    offset = run.offset(index)
                    spans.append((offset, offset + len(line)))
        except Malformed as error:
            rest = min(rest, int(error.place.position))
            break  # a person has to act, whatever the ranges behind give
    return spans, rest


def _unaccounted(body: bytes, form: Format, spans: list[tuple[int, int]], rest: int) -> int:
    """Return how many bytes are neither in a value nor between values as they may be."""
    outside = b""
    end = 0
    for start, stop in [*spans, (rest, rest)]:
        outside += body[end:start]
        end = max(end, stop)
    if form.compression or form.encoding:
        return 0  # places are those of the plain bytes
    outside = outside.removeprefix(b"\xef\xbb\xbf")
    return len(outside.strip(BETWEEN[form.shape]).translate(None, BETWEEN[form.shape]))


def fuzz_values(blocks: int, seed: int) -> Counter[str]:
    """Return what became of damaged blocks."""
    counts: Counter[str] = Counter()
    for number in range(blocks):
        counts += outcome(number, seed)
    return counts


def main() -> None:
    """Read damaged blocks; fail where a byte is unaccounted for, or a cut makes a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    counts = fuzz_values(options.blocks, options.seed)
    sys.stdout.write(json.dumps(counts | Counter(unaccounted=0, differing=0)) + "\n")
    sys.exit(bool(counts["unaccounted"] or counts["differing"]))


if __name__ == "__main__":
    main()
