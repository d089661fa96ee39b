"""The `fanfold` command. Results go to stdout, everything else to stderr.

Exit codes: 0 done, 1 the run failed or the profiles do not match, 2 the command cannot be done.
"""

import os
import sys

import click

from pipelines.cli.commands import (
    batches_command,
    dead_letters_command,
    explain_command,
    plan_command,
    rebuild_command,
    redrive_command,
    run_command,
    show_command,
    verify_command,
)
from pipelines.cli.console import err, examples
from pipelines.cli.machine import (
    clean_command,
    completion_command,
    demo_command,
    down_command,
    env_command,
    sample_group,
    status_command,
    up_command,
    worker_command,
)
from pipelines.variables import unknown_variables
from workers import __version__
from workers.errors import FanfoldError

NAME = "fanfold"
# As help shows them: in the order in which a person needs them.
SECTIONS: dict[str, list[click.Command]] = {
    "Blocks to profiles": [plan_command, run_command, batches_command, verify_command],
    "A profile": [show_command, explain_command],
    "What could not be used": [dead_letters_command, redrive_command, rebuild_command],
    "This machine": [
        status_command,
        up_command,
        down_command,
        env_command,
        sample_group,
        demo_command,
        clean_command,
        worker_command,
        completion_command,
    ],
}


class Sections(click.Group):
    """A group whose help shows commands by section."""

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  click hands it over
        formatter: click.HelpFormatter,
    ) -> None:
        """Write each section under its title, all as wide."""
        width = max(len(name) for name in self.commands)
        limit = formatter.width - 6 - width
        for title, commands in SECTIONS.items():
            rows = [(f"{each.name:<{width}}", each.get_short_help_str(limit)) for each in commands]
            with formatter.section(title):
                formatter.write_dl(rows)


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        sys.exit(cli(standalone_mode=False, prog_name=NAME))
    except click.ClickException as error:
        error.show()
    except (FanfoldError, click.Abort) as error:
        text = f"{NAME}: {str(error) or 'aborted'}"
        err.print(text, style="red", markup=False, soft_wrap=not err.is_terminal)
    sys.exit(2)


@click.group(
    cls=Sections,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "fanfold demo                                    # real data to profiles",
        "fanfold run user_profiles --partition 1998-04-01",
        "fanfold run --help                              # each has examples",
    ),
)
@click.version_option(__version__, message=f"{NAME} %(version)s")
def cli() -> None:
    """Keep profiles in MongoDB current from blocks of data in S3."""
    for sentence in unknown_variables(os.environ):
        err.print(sentence, style="yellow", markup=False)


for commands in SECTIONS.values():
    for command in commands:
        cli.add_command(command)


if __name__ == "__main__":
    main()
