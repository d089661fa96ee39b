"""Where `fanfold` begins: commands that start runs have the fork server import beside them."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from pipelines.cli.completion import COMPLETION
from pipelines.processes import enter_home, start_fork_server
from workers.errors import Refused

RUNNING_COMMANDS = {"run", "redrive", "rebuild", "demo"}
HELP = {"-h", "--help"}


def main() -> None:
    """Run the command line."""
    if starts_runs(sys.argv[1:]):
        with suppress(Refused):  # the command says so itself
            enter_home()
            start_fork_server()

    from pipelines.cli.main import main  # noqa: PLC0415  the fork server imports meanwhile

    try:
        main()
    finally:
        if (
            COMPLETION in os.environ
        ):  # the shell waits, and pymongo's threads end within half a second
            sys.stdout.flush()
            os._exit(0)


def starts_runs(arguments: Sequence[str]) -> bool:
    """Tell whether a command line starts runs."""
    return bool(RUNNING_COMMANDS.intersection(arguments[:1])) and HELP.isdisjoint(arguments)


if __name__ == "__main__":
    main()
