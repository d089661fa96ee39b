"""Where `fanfold` begins: commands that start runs have the fork server import beside them."""

import gc
import sys
from collections.abc import Sequence
from contextlib import suppress

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

    gc.disable()  # what is imported stays, and looking for garbage in it is a quarter of the time
    from pipelines.cli.main import main  # noqa: PLC0415  imports Dagster, for a second or two

    gc.freeze()
    gc.enable()
    main()


def starts_runs(arguments: Sequence[str]) -> bool:
    """Tell whether a command line starts runs."""
    return bool(RUNNING_COMMANDS.intersection(arguments[:1])) and HELP.isdisjoint(arguments)


if __name__ == "__main__":
    main()
