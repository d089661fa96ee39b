"""Jobs whose ops say that they began and wait for a word, for tests of who executes them."""

import os
import signal
import sys
import time
from pathlib import Path

import dagster as dg

from pipelines.celery.executor import celery

IN_FOLDER = {"folder": str}
ONCE_MORE = dg.RetryPolicy(max_retries=1)


@dg.op(config_schema=IN_FOLDER, retry_policy=ONCE_MORE)
def wait(context: dg.OpExecutionContext) -> int:
    """Say that an attempt began, and wait until somebody says to go on."""
    folder = Path(context.op_config["folder"])
    say(folder, f"begun-{context.retry_number}", str(os.getpid()))
    try:
        while not (folder / "go").exists():
            time.sleep(0.02)
    except BaseException as error:
        say(folder, "interrupted", type(error).__name__)
        raise
    return 1


@dg.op(config_schema=IN_FOLDER, out=dg.DynamicOut())
def three(context: dg.OpExecutionContext):
    for number in range(3):
        yield dg.DynamicOutput(number, str(number))


@dg.op(config_schema=IN_FOLDER, retry_policy=ONCE_MORE)
def after(context: dg.OpExecutionContext, number: int) -> int:
    """Say that it was executed, once more each time."""
    folder = Path(context.op_config["folder"])
    say(folder, f"after-{number}-{time.monotonic_ns()}", "")
    return number


@dg.op(config_schema=IN_FOLDER, retry_policy=ONCE_MORE)
def die(context: dg.OpExecutionContext) -> None:
    """Kill its own process, each time."""
    folder = Path(context.op_config["folder"])
    say(folder, f"begun-{context.retry_number}", str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


def say(folder: Path, name: str, text: str) -> None:
    """Write a file that is whole once it is there."""
    (folder / f".{name}").write_text(text)
    (folder / f".{name}").rename(folder / name)


@dg.job(executor_def=celery)
def waiting() -> None:
    """One op that waits."""
    wait()


@dg.job(executor_def=celery)
def mapped() -> None:
    """Three steps side by side."""
    three().map(after)


@dg.job(executor_def=celery)
def deadly() -> None:
    """One op that ends its process."""
    die()


JOBS = {"waiting": (waiting, ["wait"]), "mapped": (mapped, ["three", "after"])}
JOBS |= {"deadly": (deadly, ["die"])}


def job_named(name: str) -> dg.JobDefinition:
    """Return a job, as other processes ask for it."""
    return JOBS[name][0]


def execute(name: str, folder: Path, run_id: str) -> dg.JobExecutionResult:
    """Execute a job to its end."""
    ops = JOBS[name][1]
    config = {"ops": {op: {"config": {"folder": str(folder)}} for op in ops}}
    config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
    with dg.DagsterInstance.get() as instance:
        return dg.execute_job(
            dg.build_reconstructable_job(
                "tests.support.waiting", "job_named", reconstructable_kwargs={"name": name}
            ),
            instance=instance,
            run_config=config,
            tags={"test": run_id},
        )


if __name__ == "__main__":
    execute(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
