"""What a run is for, as its tags say it, whoever started it; and how far it is."""

from collections.abc import Mapping

from workers import steps

REDRIVE_TAG = "fanfold/redrive"  # of a run that runs dead letters again
GENERATION_TAG = "fanfold/generation"  # of a run that makes profiles anew: planning/rebuild.py
# Of a run in which partitions may lose blocks that their profiles were made of.
DROP_REMOVED_TAG = "fanfold/drop_removed"
# How far a run is: pipelines/pages/counters.py.
ITEMS_TAG, BATCHES_TAG = "fanfold/items", "fanfold/batches"
DEAD_LETTERS_TAG, END_TAG = "fanfold/dead_letters", "fanfold/end"
PROGRESS_TAGS = {ITEMS_TAG, BATCHES_TAG, DEAD_LETTERS_TAG, END_TAG}
# A run that Dagster retries by itself, since its process died, runs every step again: from the
# failure on it would drop mapped steps that never started (dagster issues 19490 and 30077).
ALL_STEPS = {"dagster/retry_strategy": "ALL_STEPS"}


def purpose_of(tags: Mapping[str, str]) -> steps.Purpose:
    """Return what a run with these tags is for."""
    return steps.Purpose(
        generation=int(tags[GENERATION_TAG]) if GENERATION_TAG in tags else None,
        is_redrive=REDRIVE_TAG in tags,
        drop_removed=DROP_REMOVED_TAG in tags,
    )
