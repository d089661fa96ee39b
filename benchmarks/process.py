"""One measurement in a process of its own: what it answers, its CPU seconds, its peak memory.

    python -m benchmarks.process MODULE:FUNCTION ARGUMENTS ANSWER

The function takes keywords that are JSON and returns a dict that is JSON.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

SAMPLE_SECONDS = 0.2  # between two looks at the memory of a measurement's processes
LARGEST_PROCESSES = 5  # of a measurement, that are kept with their peak memory

Answer = dict[str, Any]


class Measured(NamedTuple):
    """What a function in a process of its own answered, and what the process took.

    cpu_seconds: of the process and of those it started and waited for; servers are not among them.
    peak_mb: the most memory (resident) that one of its processes held.
    largest: the processes that held most: what they ran, and their peak in MB.
    """

    answer: Answer
    cpu_seconds: float
    peak_mb: float
    largest: list[tuple[str, float]]

    def to_json(self) -> Answer:
        """Return all of it as one dict."""
        costs = {"cpu_seconds": round(self.cpu_seconds, 2), "peak_mb": round(self.peak_mb)}
        largest = [[name, round(peak)] for name, peak in self.largest]
        return self.answer | costs | {"largest_processes": largest}


def measure(name: str, **arguments: Any) -> Measured:
    """Call a function, named like `module:function`, in a new process; SystemExit if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.process"]
        command += [name, json.dumps(arguments), str(answer)]
        process = subprocess.Popen(command, stdout=sys.stderr)

        peaks: dict[tuple[int, str], float] = {}
        try:
            usage = _wait(process, peaks)
        finally:
            if process.returncode is None:
                _kill_tree(process)
        if process.returncode:
            raise SystemExit(f"{name} failed with {process.returncode}")

        largest = sorted(((role, mb) for (_, role), mb in peaks.items()), key=lambda row: -row[1])
        return Measured(
            answer=json.loads(answer.read_text()),
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_mb=max(largest[0][1] if largest else 0, usage.ru_maxrss / 1024),
            largest=largest[:LARGEST_PROCESSES],
        )


def _wait(process: subprocess.Popen[bytes], peaks: dict[tuple[int, str], float]) -> Any:
    """Wait for a process, watching its memory; return the resources that it used."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        _sample(process.pid, peaks)
        time.sleep(SAMPLE_SECONDS)


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a measurement that is given up, with all that it started."""
    root = psutil.Process(process.pid)
    processes = [root, *root.children(recursive=True)]
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _sample(pid: int, peaks: dict[tuple[int, str], float]) -> None:
    """Note the peak memory so far of a process and of all that it started, in MB."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return

    for process in processes:
        try:
            role = _role(process.cmdline())
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile
        for line in lines:
            if line.startswith("VmHWM:"):
                peaks[process.pid, role] = int(line.split()[1]) / 1024


def _role(command: list[str]) -> str:
    """Return what a process runs, in a few words."""
    line = " ".join(command)
    if forked := re.search(r"multiprocessing\.\w+", line):
        return forked.group()
    words = [Path(word).name for word in command if not word.startswith("-")]
    return " ".join(words[:3])


def main() -> None:
    """Call the function that the command line names, and write its answer."""
    name, arguments, answer = sys.argv[1:]
    module, _, function = name.partition(":")
    value = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    Path(answer).write_text(json.dumps(value))


if __name__ == "__main__":
    main()
