"""Damaged containers: every item is accounted for.

Ten thousand are one command away: `python -m tests.proofs.fuzz_containers --files 10000`.
"""

from random import Random

import pytest

from tests.proofs.fuzz_containers import fuzz_containers, outcome
from tests.support.damaged_containers import KINDS, written

FILES = 400


def test_of_four_hundred_damaged_containers_none_raises_and_every_item_is_accounted_for():
    counts = fuzz_containers(FILES, seed=1)
    assert {kind: of_kind["unaccounted"] for kind, of_kind in counts.items()} == dict.fromkeys(
        KINDS, 0
    )
    for kind, of_kind in counts.items():
        assert not of_kind["differing"]
        assert of_kind["by_columns"] or kind == "avro"
        assert of_kind["unknown"]
        # Of a damaged block of Avro's records nobody knows the number.
        assert of_kind["reasons"] or kind == "avro"
        assert of_kind["rows"] - of_kind["reasons"] > 500


@pytest.mark.parametrize("kind", KINDS)
def test_of_whole_containers_every_item_is_read(kind):
    for seed in range(20):
        file = written(kind, Random(seed))
        counts = outcome(file)
        assert counts["rows"] == file.items
        assert not counts["reasons"] + counts["unknown"]
