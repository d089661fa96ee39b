"""The commands for what people schedule, as they are declared; other pages do the work."""

from typing import Any

import click

from pipelines.cli.console import (
    asset_argument,
    examples,
    json_option,
    partition_option,
    partitions_option,
)
from pipelines.cli.later import do

DAY = "--partition 1998-04-01"
DAYS = "--partitions 1998-04-01...1998-04-30"
STATES = ("open", "redriven", "discarded", "superseded")  # of dead letters


@click.command(
    "plan",
    short_help="Show what a run would do; nothing is run or written.",
    epilog=examples(
        f"fanfold plan user_profiles {DAY}",
        f"fanfold plan user_profiles {DAYS} --json",
    ),
)
@asset_argument
@partition_option
@partitions_option
@json_option
def plan_command(**given: Any) -> None:
    """Show what a run of ASSET would do; nothing is run or written."""
    do("plan", "show_plan", given)


@click.command(
    "run",
    short_help="Materialise partitions in a Dagster run.",
    epilog=examples(
        f"fanfold run user_profiles {DAY}",
        f"fanfold run user_profiles {DAYS}",
        "fanfold run user_profiles --failed",
    ),
)
@asset_argument
@partition_option
@partitions_option
@click.option("--failed", "is_failed", is_flag=True, help="What its newest run did not fold.")
@click.option("--drop-removed", is_flag=True, help="Let what is gone take profiles along.")
@json_option
def run_command(**given: Any) -> int:
    """Materialise partitions of ASSET in a Dagster run, which the UI shows too.

    Partitions with more bad items than are tolerated, or without a whole result, are named; the
    others are folded all the same, and the exit code is 1. --failed runs those that their newest
    run did not fold, and no other run is at.

    A range that is too large for one becomes several runs, the oldest partitions first. Where one
    fails, the later ones are run all the same, and the exit code is 1. So it is where a check that
    is no warning does not pass. A run is refused where more than half of the blocks that profiles
    were made of are gone; see --drop-removed.
    """
    return do("run", "run_partitions", given)


@click.command(
    "batches",
    short_help="List the batches that the ledger knows.",
    epilog=examples(f"fanfold batches user_profiles {DAY}", "fanfold batches user_profiles --json"),
)
@asset_argument
@partition_option
@json_option
def batches_command(**given: Any) -> None:
    """List the batches of ASSET that the ledger knows."""
    do("run", "list_batches", given)


@click.command(
    "verify",
    short_help="Recompute profiles from the blocks, and compare.",
    epilog=examples("fanfold verify user_profiles", f"fanfold verify user_profiles {DAYS}"),
)
@asset_argument
@partition_option
@partitions_option
@json_option
def verify_command(**given: Any) -> int:
    """Recompute the profiles of ASSET from what they were made of, and compare with MongoDB.

    From the raw blocks; what workers saw of the world, from their results; scores, from profiles.
    The exit code is 1 where they differ, and where a block cannot be read whole and nobody has
    discarded its rest.
    """
    return do("run", "verify", given)


@click.command(
    "show",
    short_help="Print a profile, and what it is made of.",
    epilog=examples("fanfold show user_profiles 405", "fanfold show influence_scores 405 --json"),
)
@asset_argument
@click.argument("profile_id", metavar="ID")
@json_option
def show_command(**given: Any) -> None:
    """Print the profile ID of ASSET as readers see it, with the partitions that it is made of."""
    do("show", "show_profile", given)


@click.command(
    "explain",
    short_help="Say which items make a profile, or a number of it.",
    epilog=examples(
        "fanfold explain user_profiles 405 events",
        "fanfold explain user_profiles 405 topics.Drama --limit 5",
        "fanfold explain user_profiles 405 events --json",
    ),
)
@asset_argument
@click.argument("profile_id", metavar="ID")
@click.argument("field", metavar="[FIELD]", default="")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Items to list: 20.")
@json_option
def explain_command(**given: Any) -> None:
    """Say which partitions, batches, blocks and items make a profile ID of ASSET, or its FIELD.

    FIELD may name one key of a map, as in topics.Drama. Results in S3 tell which batches; of these
    alone the blocks are read, until --limit items are found. With --json all items are.
    """
    do("show", "explain", given)


@click.command(
    "dead-letters",
    short_help="List the items that could not be used, and why.",
    epilog=examples(
        "fanfold dead-letters user_profiles",
        "fanfold dead-letters user_profiles --id 3f1c2a90",
        'fanfold dead-letters user_profiles --reason "`ts`" --all',
        "fanfold dead-letters user_profiles --id 3f1c2a90 --discard 'a test'",
    ),
)
@asset_argument
@partition_option
@click.option("--id", "letter_id", metavar="ID", help="One letter, shown whole.")
@click.option("--reason", metavar="TEXT", help="Letters whose reason holds this text.")
@click.option("--state", type=click.Choice(STATES), help="Else those that count now: open.")
@click.option("--unread", "is_unread", is_flag=True, help="Parts of blocks that were not read.")
@click.option("--all", "is_all", is_flag=True, help="All rows, not the first twenty.")
@click.option("--discard", "why", metavar="WHY", help="Discard the open ones of these, saying why.")
@json_option
def dead_letters_command(**given: Any) -> None:
    """List the items of ASSET that could not be used: by reason, each, and its failed batches.

    Only letters that count now, unless --state says otherwise; --json has them all. ID is the
    beginning of an id, as far as it tells one letter from all others.

    A discarded letter stays on record, and no longer counts against the tolerance. To discard the
    letter of a part that was not read is to give up an unknown number of items.
    """
    do("dead_letters", "list_dead_letters", given)


@click.command(
    "redrive",
    short_help="Run dead letters and failed batches again.",
    epilog=examples("fanfold redrive user_profiles", f"fanfold redrive user_profiles {DAY}"),
)
@asset_argument
@partition_option
@json_option
def redrive_command(**given: Any) -> int:
    """Run the open dead letters and the failed batches of ASSET again, and fold what works now.

    Without --partition, of every partition that has any. Blocks that landed since are left to
    `fanfold run`.
    """
    return do("redrive", "redrive", given)


@click.command(
    "rebuild",
    short_help="Make all profiles anew, then swap them in.",
    epilog=examples(
        "fanfold rebuild user_profiles", "fanfold rebuild user_profiles --drop-removed"
    ),
)
@asset_argument
@click.option("--drop-removed", is_flag=True, help="Leave out blocks that are gone.")
@json_option
def rebuild_command(**given: Any) -> int:
    """Make all profiles of ASSET anew beside the old ones, and put them in their place at the end.

    From the results of finished batches, and from the raw blocks where blocks or code changed.
    Until then readers see the old profiles. Fields of others in the documents stay.
    """
    return do("rebuild", "rebuild", given)
