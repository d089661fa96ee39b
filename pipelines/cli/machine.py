"""The commands for this machine, as they are declared; other pages do the work."""

from typing import Any

import click

from pipelines.cli.console import examples, json_option
from pipelines.cli.later import do

SHELLS = ("bash", "zsh", "fish")
LEFTOVER_DAYS = 35  # days that leftovers are kept


@click.command(
    "status",
    short_help="Show servers, partitions, what runs, what is next.",
    epilog=examples("fanfold status", "fanfold status --json"),
)
@json_option
def status_command(**given: Any) -> None:
    """Show the servers in use, each asset's last partitions, what runs, and what to type next."""
    do("status", "show_status", given)


@click.command("up", epilog=examples("fanfold up"))
@json_option
def up_command(**given: Any) -> None:
    """Start the embedded servers that are needed."""
    do("local", "start", given)


@click.command("down", epilog=examples("fanfold down"))
@json_option
def down_command(**given: Any) -> None:
    """Stop the embedded servers; their data stays."""
    do("local", "stop", given)


@click.command(
    "env",
    short_help="Print shell exports for the servers in use.",
    epilog=examples('eval "$(fanfold env)"'),
)
@json_option
def env_command(**given: Any) -> None:
    """Print shell exports for the servers in use: eval "$(fanfold env)". Holds secrets."""
    do("local", "print_exports", given)


@click.group(
    "sample",
    short_help="Real data to try Fanfold with.",
    epilog=examples("fanfold sample load movielens"),
)
def sample_group() -> None:
    """Real data to try Fanfold with."""


@sample_group.command(
    "load",
    short_help="Fetch a sample and put it into S3.",
    epilog=examples("fanfold sample load movielens", "fanfold sample load weather --json"),
)
@click.argument("name")
@json_option
def sample_load_command(**given: Any) -> None:
    """Fetch the sample NAME (movielens, weather) and put it into S3; what is there stays."""
    do("local", "load_sample", given)


@click.command(
    "clean",
    short_help="Delete what runs left in S3 and can be made again.",
    epilog=examples("fanfold clean", "fanfold clean --older-than 7"),
)
@click.option(
    "--older-than", "days", type=int, default=LEFTOVER_DAYS, show_default=True, help="Days."
)
@json_option
def clean_command(**given: Any) -> None:
    """Delete what runs left in S3 and can be made again: segments of blocks, references of ops.

    Results stay: they are what finished batches are reused from.
    """
    do("local", "clean", given)


@click.command(
    "demo", short_help="Show the whole pattern on real data.", epilog=examples("fanfold demo")
)
def demo_command() -> None:
    """Show the whole pattern on real data, from blocks to profiles; `make demo` calls this."""
    do("local", "demo", {})


@click.command(
    "worker",
    short_help="Take steps of runs: FANFOLD_EXECUTOR=celery.",
    epilog=examples("FANFOLD_EXECUTOR=celery fanfold worker --slots 4"),
)
@click.option("--slots", type=click.IntRange(min=1), help="Steps at once; FANFOLD_SLOTS, or cores.")
def worker_command(**given: Any) -> int:
    """Take steps of runs from the broker and execute them: FANFOLD_EXECUTOR=celery.

    SIGTERM or Ctrl-C lets it finish what it has begun; the second one ends it at once, and its
    steps are tried elsewhere.
    """
    return do("worker", "take_steps", given)


@click.command(
    "completion",
    short_help="Print what makes a shell complete what you type.",
    epilog=examples(
        'eval "$(fanfold completion bash)"     # in ~/.bashrc',
        'eval "$(fanfold completion zsh)"      # in ~/.zshrc',
        "fanfold completion fish | source      # in ~/.config/fish/config.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(**given: Any) -> None:
    """Print what makes SHELL complete commands, options, assets and partitions."""
    do("completion", "print_script", given)
