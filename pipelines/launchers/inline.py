"""A worker in the op's own process."""

from pipelines.launchers.launch import Launch
from workers import steps
from workers.launched import ALL_ANSWERED, SOME_OPEN


def launch_inline(launch: Launch) -> int:
    """Run a share here; an error that another attempt may mend is raised."""
    asset, task, ledger, store, reference, batches, log = launch
    answers = steps.run_batch(asset, task, ledger, store, reference, batches, log)
    return ALL_ANSWERED if len(answers) == len(batches) else SOME_OPEN
