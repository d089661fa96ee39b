"""Hold the profiles in MongoDB against what they have to say, recomputed in one process."""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from workers.contributions.accumulators import Accumulator, merge_accumulators
from workers.contributions.readers import Readers
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.folding.holdings import Part, parts_of
from workers.folding.said import Mentions
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import OwnFields, StoredProfile, each_profile, read_profiles
from workers.ledger.records import Plan
from workers.recompute import (
    parts_of_others,
    profiles_of,
    recompute,
    recompute_plan,
    said_by,
    with_others,
)
from workers.store import BlockStore
from workers.values import BUCKETS, Value

SPOT_PROFILES = 100  # profiles that a spot check compares
SPOT_RESULTS = 20  # results of other partitions that it reads at most
MAX_DIFFERING = 20  # ids that a verdict names
MAX_UNREAD = 5  # blocks that it names


class Verdict(Value, frozen=True, kw_only=True):
    """What `verify` found."""

    # Whether profiles hold what all blocks say: nothing differs, and no partition was not run.
    match: bool
    profiles: int
    expected_profiles: int
    items: int
    digest: str
    expected_digest: str
    # The first ids whose profile differs, is missing or should not be there.
    differing: list[str]
    # What the profiles were held against.
    against: str
    # Blocks that cannot be read whole, and whose rest nobody has given up; the first of them, with
    # the place and the reason. What they hold beyond is in no profile, and compared with none.
    unread_blocks: int = 0
    unread: list[str] = msgspec.field(default_factory=list)
    # Partitions that have blocks and were never run, of which nothing is compared.
    not_run: list[str] = msgspec.field(default_factory=list)


class SpotCheck(Value, frozen=True, kw_only=True):
    """What a spot check of some profiles found."""

    compared: int
    # Those that say something else of the partition.
    differing: list[str]
    against: str


def verify_profiles(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str] | None = None,
) -> Verdict:
    """Compare the profiles with the blocks: of all partitions in S3, or of those given.

    For some, the profiles that these mention are compared, and what other partitions say of them is
    taken from their results.
    """
    if asset.source:
        partitions = None
    recomputed = recompute(asset, task, ledger, store, partitions)
    profiles = ledger.profiles(asset.name)
    own = ledger.own_fields(asset.name, Readers(task.fields, task.derive).names)
    if partitions is None:
        totals = dict(recomputed.totals)
        stored: Iterable[StoredProfile] = each_profile(profiles)
    else:
        mentioned = _mentioned(asset, task, ledger, store, partitions) | recomputed.totals.keys()
        parts = parts_of_others(asset, task, ledger, partitions)
        others = said_by(asset, task, store, parts, mentioned)
        totals = with_others(task, recomputed, others, mentioned)
        stored = read_profiles(profiles, mentioned, own).values()

    actual = _actual(task, own, stored, totals)
    expected = _texts(task, totals)

    profile_ids = sorted(expected.keys() | actual.keys())
    differing = [i for i in profile_ids if expected.get(i) != actual.get(i)]

    given_up = ledger.dead_letters.blocks_given_up(asset.name) if recomputed.unread else set()
    unread = [part for part in recomputed.unread if (part.key, part.etag) not in given_up]
    return Verdict(
        match=not differing and not recomputed.not_run,
        profiles=len(actual),
        expected_profiles=len(expected),
        items=recomputed.items,
        digest=_digest(actual),
        expected_digest=_digest(expected),
        differing=differing[:MAX_DIFFERING],
        against=recomputed.against,
        unread_blocks=len(unread),
        unread=[str(part) for part in unread[:MAX_UNREAD]],
        not_run=list(recomputed.not_run),
    )


def spot_check(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, plan: Plan
) -> SpotCheck:
    """Recompute what a plan was folded from; compare up to SPOT_PROFILES of its profiles.

    Whole profiles, as readers see them; where they may consist of more than SPOT_RESULTS other
    results, the plan's results, and whether the profiles are as they were written. Those that hold
    what another run has not folded whole yet are left out. Refused where a block was replaced or
    removed since.
    """
    recomputed = recompute_plan(asset, task, ledger, store, plan)
    count = min(SPOT_PROFILES, len(recomputed.totals))
    drawn = random.Random(plan.id).sample(sorted(recomputed.totals), count)  # noqa: S311
    own = ledger.own_fields(asset.name, Readers(task.fields, task.derive).names)

    # In this order: what is folded whole in between is left out as well.
    whole = ledger.folded.whole_epochs(asset.name, plan.key.generation)
    parts = [] if asset.source else parts_of_others(asset, task, ledger, {plan.partition})
    profiles = read_profiles(ledger.profiles(asset.name), drawn, own)
    unfinished = {
        i for i, profile in profiles.items() if profile.bookkeeping.holds_more_than(whole)
    }
    chosen = [profile_id for profile_id in drawn if profile_id not in unfinished]

    if len(parts) <= SPOT_RESULTS:
        others = said_by(asset, task, store, parts, chosen)
        totals = with_others(task, recomputed, others, chosen)
        actual = _actual(task, own, profiles.values(), totals)
        expected = _texts(task, totals)
        differing = [i for i in chosen if expected.get(i) != actual.get(i)]
    else:
        of_plan = _parts_of_partitions(asset, task, ledger, [plan.partition])
        said = said_by(asset, task, store, of_plan, chosen)
        intact = {profile_id for profile_id, each in profiles.items() if each.is_intact}
        differing = [i for i in chosen if i not in intact or said.get(i) != recomputed.totals[i]]
    against = recomputed.against
    return SpotCheck(compared=len(chosen), differing=sorted(differing), against=against)


def _actual(
    task: Task,
    own: OwnFields,
    stored: Iterable[StoredProfile],
    totals: dict[str, Accumulator],
) -> dict[str, str]:
    """Return what profiles say, by id; `totals` get what they began with."""
    actual = {}
    for profile in stored:
        begun = profile.bookkeeping.begun
        if begun:
            total = totals.get(profile.id, {})
            totals[profile.id] = merge_accumulators(task.fields, begun, total)
        if profile.is_ours and (fields := own.of(profile.fields)):
            actual[profile.id] = _canonical(fields)
    return actual


def _mentioned(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, partitions: Sequence[str]
) -> set[str]:
    """Return the profiles that the results of partitions mention."""
    mentions = Mentions(store, range(BUCKETS), tuple)
    parts = _parts_of_partitions(asset, task, ledger, partitions)
    mentions.read(parts)
    return set(mentions.of(parts).to_pylist())


def _parts_of_partitions(
    asset: Asset, task: Task, ledger: Ledger, partitions: Sequence[str]
) -> list[Part]:
    """Return the results that partitions are folded from."""
    generation = ledger.claims.generation(asset.name)
    plans = ledger.folded.folded_plans(asset.name, generation, *partitions)
    return sorted(part for plan in plans for part in parts_of(plan, task))


def _texts(task: Task, totals: Mapping[str, Accumulator]) -> dict[str, str]:
    return {
        profile_id: _canonical(shown) for profile_id, shown in profiles_of(task, totals).items()
    }


def _canonical(value: Mapping[str, Any]) -> str:
    """Return a text that two equal values share, whatever the order of their maps."""
    return json.dumps(value, sort_keys=True, default=_date)


def _date(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    raise TypeError(f"{type(value).__name__} in a profile")


def _digest(texts: dict[str, str]) -> str:
    hashed = hashlib.sha256()
    for profile_id in sorted(texts):
        hashed.update(f"{json.dumps(profile_id)}:{texts[profile_id]}\n".encode())
    return hashed.hexdigest()
