"""Two processes at once, on the same partitions and on different ones."""

import pytest

from tests.proofs.side_by_side import play


@pytest.mark.parametrize(("rounds", "is_plain"), [(50, True), (4, False)], ids=["plain", "dagster"])
def test_after_each_round_the_profiles_match_the_raw_blocks(pipeline, rounds, is_plain):
    seen = play(pipeline, rounds, seed=2, is_plain=is_plain)
    assert seen["matches"] == rounds, seen
    assert seen["matches at the end"] == 1, seen
    assert seen["folded"] + seen["overtaken"] == 2 * rounds, seen
    if is_plain:
        assert min(seen["overtaken"], seen["rounds over different days"]) > 0, seen
