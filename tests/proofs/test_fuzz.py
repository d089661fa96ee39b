from tests.proofs.fuzz import fuzz
from workers.settings import read_settings

BLOCKS = 10_000


def test_of_ten_thousand_odd_and_damaged_blocks_none_raises_and_every_item_is_accounted_for(
    pipeline,
):
    summary, raised = fuzz(read_settings(), BLOCKS, seed=1)
    assert not raised, raised[0]
    off = {kind: one for kind, one in summary["kinds"].items() if one["unaccounted"]}
    assert off == {}
    assert summary["inputs"] >= BLOCKS
    assert summary["letters"] == summary["dead"] == summary["items"] - summary["used"]
    assert summary["used"] > BLOCKS
    assert summary["matches"]
