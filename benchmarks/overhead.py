"""Part `overhead`: what a mapped step of no work costs, by Dagster's default executor and by ours.

It counts from the end of the step that deals them out to the start of the one that gathers them.
"""

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.idle.plain import COUNT_TAG
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say, take_turns
from benchmarks.surroundings import dagster_home, forget

# The module of each job, and what its `job` takes.
JOBS: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("benchmarks.idle.plain", {}),
    "fanfold": ("benchmarks.idle.ours", {"executor_name": "local"}),
    "in_process": ("benchmarks.idle.ours", {"executor_name": "in_process"}),
}
# All that a plain project would not have in it: that nothing is sent or printed meanwhile.
PLAIN_CONFIG = "telemetry:\n  enabled: false\npython_logs:\n  python_log_level: INFO\n"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def measure_part(scale: Scale) -> Answer:
    """Run graphs of more and more steps by each executor."""
    runs: dict[str, Any] = {name: {} for name in JOBS}
    for steps in scale.steps:
        say(f"overhead: {steps} steps of no work")
        names = [name for name in JOBS if name != "default" or steps <= scale.max_default_steps]
        turns = {name: partial(_turn, executor=name, steps=steps) for name in names}
        for name, answers in take_turns(turns, scale).items():
            runs[name][str(steps)] = answers
    forget()
    return {"runs": runs}


def _turn(executor: str, steps: int) -> Answer:
    return measure("benchmarks.overhead:run", executor=executor, steps=steps).to_json()


def run(executor: str, steps: int) -> Answer:
    """Run the graph once; return the seconds of a step, and of the whole run."""
    with tempfile.TemporaryDirectory() as folder:
        if executor == "default":
            os.environ["DAGSTER_HOME"] = str(dagster_home(Path(folder) / "plain", PLAIN_CONFIG))
        return _run(*JOBS[executor], steps)


def _run(module: str, arguments: dict[str, str], steps: int) -> Answer:
    job = dg.build_reconstructable_job(module, "job", reconstructable_kwargs=arguments)
    with dg.DagsterInstance.get() as instance:
        started = time.monotonic()
        tags = {COUNT_TAG: str(steps)}
        with dg.execute_job(job, instance, run_config=QUIET, tags=tags) as result:
            seconds = time.monotonic() - started
            if result.output_for_node("gather") != steps:
                raise SystemExit(f"{module}: not all {steps} steps ran")
            times = {stats.step_key: stats for stats in instance.get_run_step_stats(result.run_id)}

    first, last = times["deal"].end_time, times["gather"].start_time
    assert first
    assert last
    return {"seconds": seconds, "step_seconds": (last - first) / steps}
