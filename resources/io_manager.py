"""What crosses between ops: ids, ranges and counts, as JSON under `_fanfold/runs/` in S3."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import dagster as dg

from workers.errors import FanfoldError
from workers.retry import retry
from workers.store import OWN_PREFIX, BlockStore

T = TypeVar("T")
RUNS_PREFIX = f"{OWN_PREFIX}runs/"
# Seconds without S3 that an op's inputs and outputs survive, as the op itself does.
OUTAGE_SECONDS = 90


def summary_key(run_id: str, asset: str) -> str:
    """Return the key under which a run leaves what came of an asset."""
    return f"{RUNS_PREFIX}{run_id}/{asset}/summary.json"


class JsonIOManager(dg.ConfigurableIOManager):
    """Writes each op's output as one JSON object; refuses what JSON cannot say."""

    store: dg.ResourceDependency[BlockStore]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if obj is not None:  # publish hands on nothing
            _ask(partial(self.store.put_json, _key(context), obj))

    def load_input(self, context: dg.InputContext) -> Any:
        if context.upstream_output is None:
            raise TypeError(f"input {context.name} comes from no op")
        return _ask(partial(self.store.get_json, _key(context.upstream_output)))


def _key(output: dg.OutputContext) -> str:
    # A dynamic output has its mapping key as the last part.
    run_id, *parts = output.get_identifier()
    return f"{RUNS_PREFIX}{run_id}/{'/'.join(parts)}.json"


def _ask(call: Callable[[], T]) -> T:
    """Repeat a call while S3 is unavailable, and fail in one sentence.

    Dagster would honour a RetryRequested here, but runs the op's body again with it.
    """
    try:
        return retry(call, OUTAGE_SECONDS)
    except FanfoldError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
