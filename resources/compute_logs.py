"""What ops print, kept in files for the UI and shown on the console once an op is over.

Dagster's manager starts four processes for each op, two of them Pythons, that show what is printed
while it is printed.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClassData


class FileComputeLogManager(LocalComputeLogManager):
    """Keeps what each op prints, without a process beside it."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "FileComputeLogManager":
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        def path(extension: str) -> Path:
            return Path(self.get_captured_local_path(log_key, extension))

        out = path(IO_TYPE_EXTENSION[ComputeIOType.STDOUT])
        err = path(IO_TYPE_EXTENSION[ComputeIOType.STDERR])
        with _kept(sys.stdout, out), _kept(sys.stderr, err):
            yield CapturedLogContext(log_key)
        path("complete").touch()


@contextmanager
def _kept(stream: TextIO, path: Path) -> Iterator[None]:
    """Let a file take what goes to a stream, and give it to the stream at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    before = path.stat().st_size  # of an attempt before this one
    try:
        with redirect_to_file(stream, path):
            yield
    finally:
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(before)
            shutil.copyfileobj(file, stream)
        stream.flush()
