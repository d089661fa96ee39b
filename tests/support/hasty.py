"""The command `fanfold`, whose runs look often for what came of the steps that are elsewhere.

Dagster looks each second whether steps ended, and every 20 s whether they are alive.
"""

import sys
from functools import partialmethod

from dagster._core.executor.step_delegating import StepDelegatingExecutor

from pipelines.cli.main import main

StepDelegatingExecutor.__init__ = partialmethod(
    StepDelegatingExecutor.__init__, sleep_seconds=0.1, check_step_health_interval_seconds=1
)

if __name__ == "__main__":
    sys.exit(main())
