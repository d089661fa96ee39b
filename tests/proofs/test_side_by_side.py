"""Two processes at once, on the same partitions and on different ones.

More rounds are one command away: `python -m tests.proofs.side_by_side --rounds 50`.
"""

import pytest

from tests.proofs.side_by_side import play


@pytest.mark.parametrize(("rounds", "is_plain"), [(20, True), (4, False)], ids=["plain", "dagster"])
def test_after_each_round_the_profiles_match_the_raw_blocks(pipeline, rounds, is_plain):
    counts = play(pipeline, rounds, seed=2, is_plain=is_plain, pause=0.01)

    assert counts["matches"] == rounds, counts
    assert counts["matches at the end"] == 1, counts
    assert counts["foreign writes"] > 0, counts
    assert counts["foreign writes lost"] == 0, counts
    assert counts["folded"] + counts["overtaken"] == 2 * rounds, counts
    if is_plain:
        assert min(counts["overtaken"], counts["rounds over different days"]) > 0, counts
