"""What crosses between ops: ids, ranges and counts, as JSON under `_fanfold/runs/` in S3."""

from typing import Any

import dagster as dg

from workers.blocks import OWN, BlockStore

RUNS = f"{OWN}runs/"


def run_folder(run_id: str) -> str:
    """Return the prefix under which a run leaves its references and its summary."""
    return f"{RUNS}{run_id}/"


class References(dg.ConfigurableIOManager):
    """Writes each op's output as one JSON object; refuses what JSON cannot say."""

    blocks: dg.ResourceDependency[BlockStore]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if obj is not None:  # publish hands on nothing
            self.blocks.put_json(_key(context), obj)

    def load_input(self, context: dg.InputContext) -> Any:
        if context.upstream_output is None:
            raise TypeError(f"input {context.name} comes from no op")
        return self.blocks.get_json(_key(context.upstream_output))


def _key(output: dg.OutputContext) -> str:
    # A dynamic output has its mapping key as the last part.
    run_id, *rest = output.get_identifier()
    return run_folder(run_id) + "/".join(rest) + ".json"
