"""A worker that has only what the base of the distribution needs runs batches of every asset.

Here packages are hidden; `make worker-env` builds a real environment without them.
"""

import sys
from pathlib import Path

import pytest

from tests.proofs.worker_env import ORDER, VISITS, open_world, run_by, run_every_asset, run_here
from tests.support.base_environment import hide_all_but_base
from tests.support.web import serving


@pytest.fixture(scope="module")
def outcomes(servers, tmp_path_factory):
    """What comes of a partition of each asset: where this process runs it, and such a worker."""
    variables = hide_all_but_base(tmp_path_factory.mktemp("hidden"))

    def run_alone(world, batch_ids):
        run_by(Path(sys.executable), variables, world, batch_ids)

    with pytest.MonkeyPatch.context() as patch, serving() as web:
        for name, value in VISITS.items():
            patch.setenv(name, value)
        with open_world() as one, open_world() as other:
            yield run_every_asset(one, web, run_here), run_every_asset(other, web, run_alone)


@pytest.mark.parametrize("name", ORDER)
def test_its_outcomes_are_those_of_this_process(outcomes, name):
    here, alone = outcomes
    assert alone[name]["batches"]
    assert alone[name] == here[name]
    assert alone[name]["match"]
