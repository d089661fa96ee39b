"""Odd and damaged blocks by the thousand: every item is accounted for.

Ten thousand are one command away: `python -m tests.proofs.fuzz --blocks 10000`.
"""

from concurrent.futures import ThreadPoolExecutor

from tests.proofs.fuzz import fuzz
from tests.proofs.fuzz_processes import PIPELINES
from workers.settings import read_settings

BLOCKS = 2_000


def test_of_two_thousand_odd_and_damaged_blocks_none_raises_and_every_item_is_accounted_for(
    pipeline, monkeypatch
):
    monkeypatch.setitem(PIPELINES, pipeline.store.bucket, pipeline)
    with ThreadPoolExecutor(1) as pool:  # processes of a pool would import all of it once more
        summary, tracebacks = fuzz(read_settings(), BLOCKS, seed=1, pool=pool)

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
