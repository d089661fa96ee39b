"""The `fanfold` command. Results go to stdout, everything else to stderr.

Exit codes: 0 done, 1 the run failed or the profiles do not match, 2 the command cannot be done.
"""

import sys

import click

from pipelines.cli.console import err
from pipelines.cli.dead_letters import dead_letters_command, redrive_command
from pipelines.cli.local import (
    clean_command,
    demo_command,
    down_command,
    env_command,
    sample_group,
    status_command,
    up_command,
)
from pipelines.cli.rebuild import rebuild_command
from pipelines.cli.run import batches_command, plan_command, run_command, verify_command
from pipelines.cli.show import explain_command, show_command
from pipelines.cli.worker import worker_command
from workers.errors import FanfoldError

COMMANDS = [
    up_command,
    down_command,
    status_command,
    env_command,
    sample_group,
    demo_command,
    clean_command,
    plan_command,
    run_command,
    batches_command,
    verify_command,
    *(show_command, explain_command),
    dead_letters_command,
    redrive_command,
    rebuild_command,
    worker_command,
]


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
    except (FanfoldError, click.Abort) as error:
        err.print(f"fanfold: {str(error) or 'aborted'}", style="red", markup=False)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Keep profiles in MongoDB current from blocks of data in S3."""


for command in COMMANDS:
    cli.add_command(command)


if __name__ == "__main__":
    main()
