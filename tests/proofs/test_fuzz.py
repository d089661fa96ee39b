"""Odd and damaged blocks by the thousand: every item is accounted for.

Ten thousand are one command away: `python -m tests.proofs.fuzz --blocks 10000`.
"""

from tests.proofs.fuzz import fuzz
from workers.settings import read_settings

BLOCKS = 2_000


def test_of_two_thousand_odd_and_damaged_blocks_none_raises_and_every_item_is_accounted_for(
    pipeline,
):
    summary, tracebacks = fuzz(read_settings(), BLOCKS, seed=1)

    assert not tracebacks, tracebacks[0]
    off = {kind: counts for kind, counts in summary["kinds"].items() if counts["unaccounted"]}
    assert off == {}
    assert summary["inputs"] >= BLOCKS
    # A record of CSV that hides rows is taken apart into more items than are counted here.
    assert summary["letters"] == summary["dead"] >= summary["items"] - summary["used"]
    assert summary["used"] > BLOCKS
    assert summary["matches"]
    assert not summary["green_losses"]
    assert not summary["differing"]
    assert summary["by_columns"] > BLOCKS
