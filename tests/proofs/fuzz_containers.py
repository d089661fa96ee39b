"""Damaged containers by the thousand, through their readers alone.

    python -m tests.proofs.fuzz_containers [--files 10000] [--seed 1]

Nothing but Malformed may come out of a reader, the process has to live, and where a reader does
not say that an unknown number is lost, each item is a row or a reason. What is read by columns says
what each row says. It prints the counts by kind of container.
"""

import argparse
import json
import sys
from collections import Counter
from itertools import pairwise
from random import Random

import msgspec
import pyarrow as pa

from tests.support.both_ways import Reader
from tests.support.containers import runs_of
from tests.support.damaged_containers import KINDS, NAMES, Written, damaged
from workers.declare import Time
from workers.errors import Malformed
from workers.sources.formats.header import Columns
from workers.values import PlaceKind

Counts = dict[str, Counter[str]]


def fuzz_containers(files: int, seed: int) -> Counts:
    """Return what became of damaged files, by their kind."""
    counts: Counts = {kind: Counter() for kind in KINDS}
    for number in range(files):
        kind = KINDS[number % len(KINDS)]
        counts[kind].update(outcome(damaged(kind, Random(f"{seed}/{number}"))))
    return counts


class Item(msgspec.Struct):
    """The columns of the files that can be read as columns of items."""

    user: str
    ts: Time
    n: int | None = None
    day: Time | None = None
    topics: list[str] | None = None
    good: bool | None = None


READER = Reader(Item)


def outcome(file: Written) -> Counter[str]:
    """Return the counts of one file, read in two ranges."""
    counts: Counter[str] = Counter(files=1, items=file.items)
    columns = Columns(tuple(NAMES))
    rows = 0

    for start, end in pairwise([0, len(file.body) // 2, len(file.body)]):
        try:
            for run in runs_of(file.kind, file.body, columns, start, end):
                if isinstance(run.content, pa.RecordBatch):
                    by_columns, differing = READER.read_rows(run.content)
                    counts.update(by_columns=by_columns, differing=len(differing))
                rows += len(run.rows)
                counts["reasons"] += sum(isinstance(row, str) for row in run.rows)
        except Malformed as error:
            counts["unknown"] += error.place is not None and error.place.kind is PlaceKind.REST

    counts["rows"] = rows
    counts["unaccounted"] = 0 if counts["unknown"] else abs(rows - file.items)
    return counts


def main() -> None:
    """Read damaged files; fail where an item is unaccounted for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    counts = fuzz_containers(options.files, options.seed)
    for kind, of_kind in counts.items():
        sys.stdout.write(f"{kind:10} {json.dumps(of_kind)}\n")
    sys.exit(any(of_kind["unaccounted"] or of_kind["differing"] for of_kind in counts.values()))


if __name__ == "__main__":
    main()
