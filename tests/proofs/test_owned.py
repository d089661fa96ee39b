"""Documents of others, while their application writes them.

All kinds, of a thousand documents, are one command away: `python -m tests.proofs.owned`.
"""

import pytest

from tests.proofs.owned import KINDS, play


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]], ids=lambda kind: kind.name)
def test_no_write_of_an_application_is_lost_whatever_happens_to_profiles(pipeline, kind):
    seen = play(pipeline, kind, profiles=60, seed=1)
    assert [each.step for each in seen if not each.is_clean] == [], seen
    assert seen[-1].writes > 0
