"""The `fanfold` command. Results go to stdout, everything else to stderr.

Exit codes: 0 done, 1 the run failed or the profiles do not match, 2 the command cannot be done.
"""

import sys

import click

from pipelines import cli_letters, cli_local, cli_units
from pipelines.console import err
from workers.errors import FanfoldError

COMMANDS = [
    cli_local.up,
    cli_local.down,
    cli_local.status,
    cli_local.env,
    cli_local.sample,
    cli_local.demo,
    cli_local.clean,
    cli_units.plan_,
    cli_units.run,
    cli_units.batches_,
    cli_units.verify_,
    cli_letters.dead_letters,
    cli_letters.redrive_,
    cli_letters.rebuild_,
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
