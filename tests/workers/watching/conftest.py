"""A scanner of the pipeline's asset."""

import pytest

from tests.support.watching import Scanner


@pytest.fixture
def scanner(pipeline):
    return Scanner(pipeline)
