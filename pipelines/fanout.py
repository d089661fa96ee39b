"""The fan-out graph: an asset's declaration in, a graph-backed asset out.

The ops are shared by all assets and listed in data order. Only references cross between them;
an op that is retried or run again finds what it did in the ledger and goes on from there.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import dagster as dg
from pymongo.database import Database

from resources.io_manager import summary_key
from workers.assets import assets
from workers.batch import attempt_batch
from workers.declare.asset import Asset, Partitions
from workers.declare.task import load_task
from workers.errors import FanfoldError, Refused, Unavailable
from workers.folding.fold import Folded, Shard, fold_profiles
from workers.folding.publish import record_folded
from workers.folding.reconcile import Reconciled, reconcile_plans
from workers.ledger.counts import run_exceeds_tolerance
from workers.ledger.ledger import Ledger
from workers.ledger.manifest import write_manifests
from workers.ledger.mongo import mongodb_errors
from workers.planning.listing import Listing, groups_of, list_partition
from workers.planning.packing import share
from workers.planning.plans import describe_work, expected_batch_items, make_plans
from workers.planning.rebuild import finish_swap, keeps_what_was_seen, list_seen
from workers.planning.redrive import list_redrive
from workers.retry import pause
from workers.sources.slicing import Gap, Sliced
from workers.sources.source import source_of
from workers.store import BlockStore
from workers.values import Document

Mongo = dg.ResourceParam[Database[Document]]
Blocks = dg.ResourceParam[BlockStore]
REDRIVE_TAG = "fanfold/redrive"  # tag of a run that runs dead letters again
GENERATION_TAG = (
    "fanfold/generation"  # tag of a run that makes profiles anew: see workers/rebuild.py
)
LOOK_SECONDS = 5.0  # how often a worker with many batches asks whether the run is lost anyway
RETRIES = 3  # times an op tries again while a server is unavailable: for about a minute
# A run that Dagster retries by itself, since its process died, runs every step again: from the
# failure on it would drop mapped steps that never started (dagster issues 19490 and 30077).
ALL_STEPS = {"dagster/retry_strategy": "ALL_STEPS"}
SLOTS = os.cpu_count() or 1  # ops that run at once under the local executor


def fanout_asset(asset: Asset) -> dg.AssetsDefinition:
    """Return the graph-backed asset that a declaration stands for."""
    # The folds of one asset share a pool, or runs side by side would contend for its profiles.
    fold_one = fold_shard.tag({"dagster/concurrency_key": f"fold_{asset.name}"})

    def fan_out(**upstream: Any) -> Any:
        groups, listings = list_blocks(**upstream)
        batches, plans = queue_batches(listings, groups.map(slice_blocks).collect())
        shards, reconciled = reconcile_batches(plans, batches.map(run_batch).collect())
        return publish(reconciled, shards.map(fold_one).collect())

    made = dg.graph_asset(
        name=asset.name,
        description=asset.description,
        group_name="profiles",
        kinds={"mongodb"} if asset.source else {"s3", "mongodb"},
        partitions_def=partitions_definition(asset.partitions),
        backfill_policy=dg.BackfillPolicy.multi_run(asset.sizes.partitions_per_run),
        ins={"upstream": upstream(asset)} if asset.source else {},
    )
    if asset.source:
        return made(lambda upstream: fan_out(upstream=upstream))
    return made(lambda: fan_out())  # noqa: PLW0108  Dagster looks at the arguments it takes


def upstream(asset: Asset) -> dg.AssetIn:
    """Return how the asset hangs on the one whose profiles are its items: on all of them as one."""
    mapping = dg.AllPartitionMapping()
    return dg.AssetIn(asset.source, dagster_type=dg.Nothing, partition_mapping=mapping)


def partitions_definition(partitions: Partitions) -> dg.TimeWindowPartitionsDefinition:
    """Return Dagster's form of the partitions; the one that time is in now is among them."""
    daily = partitions.every == "day"
    kind = dg.DailyPartitionsDefinition if daily else dg.HourlyPartitionsDefinition
    return kind(start_date=partitions.start, end_offset=1)


def declared(context: dg.OpExecutionContext) -> Asset:
    """Return the declaration of the asset that the op works for."""
    return assets()[context.assets_def.key.path[-1]]


@contextmanager
def explained(context: dg.OpExecutionContext) -> Iterator[None]:
    """Try again later where a server is unavailable; fail in one sentence where it is refused."""
    try:
        with mongodb_errors():
            yield
    except Unavailable as error:
        context.log.warning(str(error))
        if context.retry_number >= RETRIES:
            raise dg.Failure(str(error), allow_retries=False) from error
        raise again(context) from error
    except Refused as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def again(context: dg.OpExecutionContext) -> dg.RetryRequested:
    """Return what to raise for another attempt at an op, after a pause."""
    return dg.RetryRequested(RETRIES, seconds_to_wait=pause(context.retry_number, first=2))


@dg.op(
    ins={"upstream": dg.In(dg.Nothing)},
    out={"groups": dg.DynamicOut(), "listings": dg.Out()},
)
def list_blocks(context: dg.OpExecutionContext, blocks: Blocks, mongo: Mongo) -> Iterator[Any]:
    """List the partitions' blocks and hand what is not planned yet to masters, in groups."""
    asset, ledger = declared(context), Ledger(mongo)
    if not ALL_STEPS.items() <= context.run.tags.items():  # it has no job of ours, that carries it
        context.instance.add_run_tags(context.run_id, ALL_STEPS)
    with explained(context):
        ledger.ensure_indexes()
        finish_swap(mongo, ledger, asset)
        of_asset = load_task(asset.task)
        tags = context.run.tags
        if REDRIVE_TAG in tags:
            listed = partial(list_redrive, ledger, asset, of_asset.version)
        elif GENERATION_TAG in tags and keeps_what_was_seen(asset, of_asset):
            listed = partial(list_seen, ledger, asset, of_asset.version)
        else:
            listed = partial(list_partition, blocks, ledger, asset, of_asset)
        generation = int(tags.get(GENERATION_TAG) or ledger.claims.generation(asset.name))
        listings = [listed(partition, generation) for partition in context.partition_keys]
        full, groups = expected_batch_items(ledger, asset, SLOTS), groups_of(asset, listings)
    context.log.info(f"{sum(one.blocks for one in listings)} blocks, {len(groups)} masters")
    told = [one.to_json() | {"gaps": []} for one in listings]
    yield dg.Output({"masters": len(groups), "listings": told}, "listings")
    for number, group in enumerate(groups):
        value = {"gaps": [gap.to_json() for gap in group], "batch_items": full}
        yield dg.DynamicOutput(value, str(number), "groups")


@dg.op
def slice_blocks(
    context: dg.OpExecutionContext, group: dict[str, Any], blocks: Blocks, mongo: Mongo
) -> dict[str, Any]:
    """Cut a group's blocks into ranges, from samples of them: a master."""
    asset, gaps = declared(context), [Gap.of(gap) for gap in group["gaps"]]
    with explained(context):
        source = source_of(asset, blocks, Ledger(mongo))
        sliced = source.cut(gaps, asset.sizes, group["batch_items"])
    return sliced.to_json()


@dg.op(out={"batches": dg.DynamicOut(), "plans": dg.Out()})
def queue_batches(
    context: dg.OpExecutionContext,
    listings: dict[str, Any],
    groups: list[dict[str, Any]],
    blocks: Blocks,
    mongo: Mongo,
) -> Iterator[Any]:
    """Pack ranges into batches, write the plans, and queue the batches that have no result."""
    asset, ledger = declared(context), Ledger(mongo)
    found = [Listing.of(listing) for listing in listings["listings"]]
    with explained(context):
        if len(groups) < listings["masters"]:
            raise Refused(
                f"only {len(groups)} of {listings['masters']} masters have sliced their blocks, as "
                "happens when a run is executed again from its failure; start a new run instead"
            )
        sliced = [Sliced.of(group) for group in groups]
        work = make_plans(blocks, ledger, asset, context.run_id, found, sliced, SLOTS)
        ledger.save(work.plans, work.new, work.again)
        write_manifests(blocks, ledger, [made.id for made in work.plans])
    of_batch = {one: made.partition for made in work.plans for one in made.batches}
    shares = share(work.to_run, SLOTS, asset.sizes)
    context.log.info(
        f"{len(of_batch)} batches, {len(work.to_run)} of them to run, by {len(shares)} workers"
    )
    told = describe_work(work, asset, len(groups), SLOTS)
    yield dg.Output([made.id for made in work.plans], "plans", metadata=told)
    for ids in shares:
        # The first batch's partition in front lets a person find a worker in the UI.
        readable = re.sub(r"\W", "_", of_batch[ids[0]])
        yield dg.DynamicOutput(ids, f"{readable}_{ids[0]}", "batches")


@dg.op
def run_batch(
    context: dg.OpExecutionContext, batch_ids: list[str], blocks: Blocks, mongo: Mongo
) -> list[dict[str, Any]]:
    """Run a worker's batches. The last failure of a batch is an answer, so that reconcile decides.

    Once the run has more bad items than tolerated, what is left is not started.
    """
    asset, ledger, answers = declared(context), Ledger(mongo), list[dict[str, Any]]()
    is_last = context.retry_number >= RETRIES
    asked = -LOOK_SECONDS
    for batch_id in batch_ids:
        try:
            with mongodb_errors():
                if time.monotonic() - asked > LOOK_SECONDS:
                    asked = time.monotonic()
                    if run_exceeds_tolerance(ledger, asset, context.run_id):
                        context.log.warning("more bad items than tolerated: the rest is not run")
                        break
                outcome = attempt_batch(batch_id, ledger, blocks, is_last)
        except Exception as error:
            is_known = isinstance(error, FanfoldError)
            context.log.warning(f"batch {batch_id}: {error}", exc_info=not is_known)
            if not isinstance(error, Refused) and not is_last:
                raise again(context) from error
            answers.append({"batch": batch_id, "error": f"{type(error).__name__}: {error}"})
            if isinstance(error, Unavailable):
                break  # the others would each wait as long for the same server
        else:
            answers.append({"batch": batch_id, "items": outcome.items, "dead": outcome.dead})
    return answers


@dg.op(name="reconcile", out={"shards": dg.DynamicOut(), "reconciled": dg.Out()})
def reconcile_batches(
    context: dg.OpExecutionContext,
    plans: list[str],
    answers: list[list[dict[str, Any]]],
    blocks: Blocks,
    mongo: Mongo,
) -> Iterator[Any]:
    """Hold the plans against the ledger's outcomes, then hand out shards of profiles to fold."""
    ledger = Ledger(mongo)
    with explained(context):
        try:
            answer = reconcile_plans(ledger, declared(context), plans)
        except Refused:
            write_manifests(blocks, ledger, plans)
            raise
    context.log.info(f"{len(answers)} workers answered, {len(answer.shards)} shards to fold")
    yield dg.Output(answer.to_json() | {"shards": []}, "reconciled")
    for number, shard in enumerate(answer.shards):
        yield dg.DynamicOutput(shard.to_json(), str(number), "shards")


@dg.op
def fold_shard(
    context: dg.OpExecutionContext, shard: dict[str, Any], blocks: Blocks, mongo: Mongo
) -> dict[str, Any]:
    """Merge a shard's contributions into its profiles."""
    asset = declared(context)
    with explained(context):
        folded = fold_profiles(
            Shard.of(shard),
            asset,
            load_task(asset.task),
            Ledger(mongo),
            blocks,
        )
    return folded.to_json()


@dg.op
def publish(
    context: dg.AssetExecutionContext,
    reconciled: dict[str, Any],
    folded: list[dict[str, Any]],
    blocks: Blocks,
    mongo: Mongo,
) -> None:
    """Record that the partitions are folded and say what came of them."""
    op, run_id = context.op_execution_context, context.run.run_id
    asset = declared(op)
    answer = Reconciled.of(reconciled)
    shards = [Folded.of(one) for one in folded]
    with explained(op):
        published = record_folded(Ledger(mongo), asset, answer, shards)
        write_manifests(blocks, Ledger(mongo), [one.plan for one in answer.counts])
        blocks.put_json(summary_key(run_id, asset.name), {"run_id": run_id, **published})
    for one in answer.counts:
        context.add_asset_metadata(
            {
                "items": one.items,
                "items_used": one.used,
                "items_skipped": one.skipped,
                "dead_letters": one.dead,
                "items_redriven": one.redriven,
                "items_failed": one.failed,
                "batches_failed": one.batches_failed,
                "profiles": sum(shard.profiles.get(one.partition, 0) for shard in shards),
                "blocks": one.blocks,
                "bytes": one.bytes,
                "batches": one.batches,
                "batches_reused": one.reused,
                "work_seconds": one.work_seconds,
                "closed_unchanged": bool(one.unchanged_since),
            },
            partition_key=one.partition,
        )
    context.log.info(
        f"{published['items_used']} items of {published['items']} used, "
        f"{published['dead_letters']} dead letters, {published['profiles']} profiles"
    )
