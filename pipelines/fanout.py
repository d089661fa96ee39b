"""The fan-out graph: an asset's declaration in, a graph-backed asset out.

The ops are shared by all assets and listed in data order. Each fetches what Dagster knows, calls
its step (workers/steps.py) and hands on references; an op that is retried or run again finds what
it did in the ledger and goes on from there.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg

from pipelines.checks.evaluation import evaluate, judged, logged
from pipelines.doors import Mongo, Store, after_a_crash, four
from pipelines.errors import explained, failure
from pipelines.launchers.attempt import attempt_rest, attempt_share
from pipelines.launchers.choice import with_few_workers
from pipelines.pages.catalogue import blocks_key, catalogue_metadata, description
from pipelines.pages.failed_batches import show_failed
from pipelines.pages.materialisation import pages
from pipelines.pages.tables import losses, shard_metadata, share_metadata
from pipelines.partial import failure_of, materialised
from pipelines.processes import executor_name
from pipelines.purposes import ALL_STEPS, PROGRESS_TAGS, purpose_of
from pipelines.summaries import adoption_text
from resources.io_manager import summary_key
from workers import steps
from workers.dealt import Share
from workers.declare.asset import Asset, Partitions
from workers.errors import Refused
from workers.folding.fold import FoldedShard, Shard
from workers.folding.reconcile import Reconciled
from workers.ledger.ledger import Ledger
from workers.planning.listing import Group
from workers.planning.slots import Slots, decide_slots, slots_of_servers
from workers.sources.slicing import Sliced
from workers.store import BlockStore


def fanout_asset(asset: Asset) -> dg.AssetsDefinition:
    """Return the graph-backed asset that a declaration stands for."""
    own = partial(own_op, asset)

    def fan_out(**upstream: Any) -> Any:
        groups, listed = own(list_blocks)(**upstream)
        shares, plans = own(queue_batches)(listed, groups.map(own(slice_blocks)).collect())
        shards, reconciled = own(reconcile)(plans, shares.map(own(run_batch)).collect())
        return own(publish)(reconciled, shards.map(own(fold_shard)).collect())

    graph_asset = dg.graph_asset(
        name=asset.name,
        description=description(asset),
        group_name="profiles",
        kinds={"mongodb"},
        owners=list(asset.owners),
        metadata=catalogue_metadata(asset),
        partitions_def=partitions_definition(asset.partitions),
        backfill_policy=dg.BackfillPolicy.multi_run(asset.sizes.partitions_per_run),
        ins={"upstream": upstream(asset)},
    )
    return graph_asset(lambda upstream: fan_out(upstream=upstream))


def own_op(asset: Asset, op: dg.OpDefinition) -> Any:
    """Return an op as the graph of an asset calls it: with its tags, and tried again."""
    tags = pod_tags(asset.name, op.name) if executor_name() == "k8s" else {}
    if op is fold_shard:
        # The folds of one asset share a pool, or runs side by side would contend for its profiles.
        tags["dagster/concurrency_key"] = f"fold_{asset.name}"

    policy = after_a_crash()
    return op.tag(tags).with_retry_policy(policy) if policy else op.tag(tags)


def pod_tags(asset: str, op: str) -> dict[str, Any]:
    """Return the tags by which an op of an asset has its own kind of pod."""
    from pipelines import k8s  # noqa: PLC0415  its packages are an extra

    return k8s.pod_tags(asset, op)


def upstream(asset: Asset) -> dg.AssetIn:
    """Return how the asset hangs on its blocks, or on the one whose profiles are its items.

    On all of these as one.
    """
    if not asset.source:
        return dg.AssetIn(blocks_key(asset), dagster_type=dg.Nothing)
    mapping = dg.AllPartitionMapping()
    return dg.AssetIn(asset.source, dagster_type=dg.Nothing, partition_mapping=mapping)


def partitions_definition(partitions: Partitions) -> dg.TimeWindowPartitionsDefinition:
    """Return Dagster's form of the partitions; the one that time is in now is among them."""
    is_daily = partitions.every == "day"
    kind = dg.DailyPartitionsDefinition if is_daily else dg.HourlyPartitionsDefinition
    return kind(start_date=partitions.start, end_offset=1)


def slots() -> Slots:
    """Return how many ops run at once on this machine; Refused where nobody can tell."""
    return decide_slots()


def slots_of_run(ledger: Ledger) -> Slots:
    """Return how many ops of a run can run at once: on this machine, or wherever workers are."""
    if executor_name() == "celery" and (elsewhere := slots_of_servers(ledger)):
        return elsewhere
    return slots()


@dg.op(
    ins={"upstream": dg.In(dg.Nothing)},
    out={"groups": dg.DynamicOut(), "listed": dg.Out()},
)
def list_blocks(context: dg.OpExecutionContext, mongo: Mongo, store: Store) -> Iterator[Any]:
    """List the partitions' blocks and hand what is not planned yet to slicers, in groups."""
    tags = context.run.tags
    if not ALL_STEPS.items() <= tags.items():  # it has no job of ours, that carries it
        context.instance.add_run_tags(context.run_id, ALL_STEPS)
    if copied := PROGRESS_TAGS & tags.keys():  # of the run that this one executes again
        context.instance.add_run_tags(context.run_id, dict.fromkeys(copied, "not yet known"))

    with explained(context):
        listed = steps.list_blocks(
            *four(context, mongo, store),
            context.partition_keys,
            slots_of_run(Ledger(mongo)).number,
            purpose_of(tags),
        )

    blocks = sum(listing.blocks for listing in listed.listings)
    context.log.info(f"{blocks} blocks, {len(listed.groups)} slicers")
    for remark in listed.remarks:
        context.log.log(logging.INFO if blocks else logging.WARNING, remark)

    yield dg.Output(listed.reference.to_json(), "listed")
    for number, group in enumerate(listed.groups):
        yield dg.DynamicOutput(group.to_json(), str(number), "groups")


@dg.op
def slice_blocks(
    context: dg.OpExecutionContext, group: dict[str, Any], mongo: Mongo, store: Store
) -> dict[str, Any]:
    """Cut a group's blocks into ranges, from samples of them: a slicer."""
    with explained(context):
        sliced = steps.slice_blocks(*four(context, mongo, store), Group.of(group))
    return sliced.to_json()


@dg.op(
    out={"shares": dg.DynamicOut(), "plans": dg.Out()},
)
def queue_batches(
    context: dg.OpExecutionContext,
    listed: dict[str, Any],
    groups: list[dict[str, Any]],
    mongo: Mongo,
    store: Store,
) -> Iterator[Any]:
    """Pack ranges into batches, write the plans, and queue the batches that have no result."""
    with explained(context):
        asset, *others = four(context, mongo, store)
        number = slots_of_run(Ledger(mongo)).number
        queued = steps.queue_batches(
            with_few_workers(asset, number),
            *others,
            context.run_id,
            steps.Listed.of(listed),
            [Sliced.of(group) for group in groups],
            number,
        )

    plans = queued.work.plans
    partition_of = {batch_id: plan.partition for plan in plans for batch_id in plan.batches}
    context.log.info(
        f"{len(partition_of)} batches, {len(queued.work.to_run)} of them to run, "
        f"by {len(queued.shares)} workers"
    )

    yield dg.Output([plan.id for plan in plans], "plans", metadata=queued.summary)
    for number, batch_ids in enumerate(queued.shares):
        share = Share(number=number, batches=batch_ids)
        # A person finds a worker in the UI by its first partition and its number, which is also
        # what `python -m workers --share` takes.
        readable = re.sub(r"\W", "_", partition_of[batch_ids[0]])
        yield dg.DynamicOutput(share.to_json(), f"{readable}__{number}", "shares")


@dg.op
def run_batch(
    context: dg.OpExecutionContext, share: dict[str, Any], mongo: Mongo, store: Store
) -> list[dict[str, Any]]:
    """Have a worker run its share of batches; what fails for good is for reconcile."""
    own_share = Share.of(share)
    with explained(context):
        asset, _, ledger, _ = first = four(context, mongo, store)
        answers = attempt_share(context, first, own_share)
        batches = list(ledger.batches_by_id(own_share.batches).values())
        context.add_output_metadata(share_metadata(ledger, asset, batches))
    return [answer.to_json() for answer in answers]


@dg.op(
    out={"shards": dg.DynamicOut(), "reconciled": dg.Out()},
)
def reconcile(
    context: dg.OpExecutionContext,
    plans: list[str],
    answers: list[list[dict[str, Any]]],
    mongo: Mongo,
    store: Store,
) -> Iterator[Any]:
    """Hold the plans against the ledger's outcomes, then hand out shards of profiles to fold."""
    with explained(context):
        first = four(context, mongo, store)
        asset, _, ledger, _ = first
        attempt_rest(context, first, plans, len(answers))
        show_failed(context, asset, ledger)
        try:
            with judged(context, asset, ledger):
                reconciled = steps.reconcile(*first, plans)
        except Refused as error:
            tables = losses(asset, ledger, ledger.plans_by_id(plans))
            raise failure(context.log, str(error), tables) from error
    context.log.info(f"{len(answers)} workers answered, {len(reconciled.shards)} shards to fold")

    yield dg.Output(reconciled.to_json() | {"shards": []}, "reconciled")
    for number, shard in enumerate(reconciled.shards):
        yield dg.DynamicOutput(shard.to_json(), str(number), "shards")


@dg.op
def fold_shard(
    context: dg.OpExecutionContext, shard: dict[str, Any], mongo: Mongo, store: Store
) -> dict[str, Any]:
    """Merge a shard's contributions into its profiles."""
    began = time.monotonic()
    with explained(context):
        folded = steps.fold_shard(*four(context, mongo, store), Shard.of(shard))
    context.add_output_metadata(shard_metadata(folded, time.monotonic() - began))
    return folded.to_json()


@dg.op(out=dg.Out(dg.Nothing))
def publish(
    context: dg.AssetExecutionContext,
    reconciled: dict[str, Any],
    folded: list[dict[str, Any]],
    mongo: Mongo,
    store: Store,
) -> Iterator[Any]:
    """Record that the partitions are folded and say what came of them.

    Where some are not, the others are materialised and checked all the same, and the run fails.
    """
    op, run_id = context.op_execution_context, context.run.run_id
    answer = Reconciled.of(reconciled)
    shards = [FoldedShard.of(shard) for shard in folded]

    with explained(op):
        asset, _, ledger, _ = first = four(op, mongo, store)
        published = steps.publish(*first, answer, shards)
        summary = {"run_id": run_id, **published.to_json()}
        store.put_json(summary_key(run_id, asset.name), summary)
        results = evaluate(asset, ledger, store, run_id) if published.refused else []

        metadata = _shown(asset, ledger, store, answer, shards, published.partitions_folded)
        if adopted := adoption_text(summary):
            for shown in metadata.values():
                shown["adopted"] = adopted

    context.log.info(
        f"{published.items_used} items of {published.items} used, "
        f"{published.dead_letters} dead letters, {published.duplicates} duplicates, "
        f"{published.profiles} profiles"
    )
    if published.refused:
        yield from materialised(context, asset, metadata)
        yield from logged(op, asset, results)
        plan_ids = [plan_id for refusal in published.refused for plan_id in refusal.plans]
        with explained(op):
            tables = losses(asset, ledger, ledger.plans_by_id(plan_ids))
        raise failure_of(context.log, asset, published, tables)

    for partition, shown in metadata.items():
        context.add_asset_metadata(shown, partition_key=partition)
    yield dg.Output(None)


def _shown(
    asset: Asset,
    ledger: Ledger,
    store: BlockStore,
    reconciled: Reconciled,
    shards: Sequence[FoldedShard],
    folded: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Return what the UI shows of each folded partition."""
    are_folded = set(folded)
    counts = [each for each in reconciled.counts if each.partition in are_folded]
    profiles = Counter[str]()
    for shard in shards:
        profiles.update(shard.profiles)

    metadata = pages(asset, ledger, counts, profiles)
    for each in counts:
        if not each.blocks and not asset.source:
            prefix = asset.prefixes(each.partition)[0]
            metadata[each.partition]["no_block_under"] = f"s3://{store.bucket}/{prefix}"
    return metadata


OPS = (list_blocks, slice_blocks, queue_batches, run_batch, reconcile, fold_shard, publish)
