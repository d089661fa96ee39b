"""Hold the profiles in MongoDB against what they have to say, recomputed in one process."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from workers.contributions.accumulators import Accumulator, merge_accumulators, to_reader
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import StoredProfile, each_profile, profiles_by_id
from workers.ledger.records import Plan
from workers.recompute import Recomputed, recompute, recompute_plan
from workers.store import BlockStore
from workers.values import Value

SPOT_PROFILES = 100  # profiles that a spot check compares
MAX_DIFFERING = 20  # ids that a verdict names
MAX_UNREAD = 5  # blocks that it names


class Verdict(Value, frozen=True, kw_only=True):
    """What `verify` found."""

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

    For all partitions, whole documents are compared as readers see them; for some, what the
    profiles hold of these partitions. Refused where those have merged with others for good.
    """
    if asset.source:
        partitions = None
    recomputed = recompute(asset, task, ledger, store, partitions)
    expected = _texts(recomputed)

    actual: dict[str, str] = {}
    profiles = ledger.profiles(asset.name)
    for profile in each_profile(profiles, with_bookkeeping=partitions is not None):
        if text := _text_of(asset, task, profile, partitions):
            actual[profile.id] = text

    profile_ids = sorted(expected.keys() | actual.keys())
    differing = [i for i in profile_ids if expected.get(i) != actual.get(i)]

    given_up = ledger.dead_letters.blocks_given_up(asset.name) if recomputed.unread else set()
    unread = [part for part in recomputed.unread if (part.key, part.etag) not in given_up]
    return Verdict(
        match=not differing,
        profiles=len(actual),
        expected_profiles=len(expected),
        items=recomputed.items,
        digest=_digest(actual),
        expected_digest=_digest(expected),
        differing=differing[:MAX_DIFFERING],
        against=recomputed.against,
        unread_blocks=len(unread),
        unread=[str(part) for part in unread[:MAX_UNREAD]],
    )


def spot_check(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, plan: Plan
) -> SpotCheck:
    """Recompute what a plan was folded from; compare up to SPOT_PROFILES of its profiles.

    Refused where a block was replaced or removed since.
    """
    partitions = None if asset.source else [plan.partition]
    recomputed = recompute_plan(asset, task, ledger, store, plan)
    expected = _texts(recomputed)

    count = min(SPOT_PROFILES, len(expected))
    chosen = random.Random(plan.id).sample(sorted(expected), count)  # noqa: S311
    profiles = profiles_by_id(ledger.profiles(asset.name), chosen)

    differing = []
    for profile_id in chosen:
        profile = profiles.get(profile_id)
        text = _text_of(asset, task, profile, partitions) if profile else None
        if text != expected[profile_id]:
            differing.append(profile_id)
    return SpotCheck(compared=count, differing=sorted(differing), against=recomputed.against)


def _texts(recomputed: Recomputed) -> dict[str, str]:
    return {profile_id: _canonical(fields) for profile_id, fields in recomputed.profiles.items()}


def _text_of(
    asset: Asset, task: Task, profile: StoredProfile, partitions: Sequence[str] | None
) -> str | None:
    """Return the canonical text of a profile, or None where it says nothing (of these)."""
    fields = profile.fields
    if partitions is not None:
        total = _part_of(asset, task, profile, partitions)
        fields = to_reader(task.fields, task.derive, total) if total else {}
    return _canonical(fields) if fields else None


def _part_of(
    asset: Asset, task: Task, profile: StoredProfile, partitions: Sequence[str]
) -> Accumulator:
    """Return what a profile holds of some partitions."""
    total = _base(asset, profile, partitions)
    wanted = set(partitions)
    for part in profile.bookkeeping.open.values():
        if part.partition in wanted:
            total = merge_accumulators(task.fields, total, part.fields)
    return total


def _base(asset: Asset, profile: StoredProfile, partitions: Sequence[str]) -> Accumulator:
    """Return the merged base where it lies within the partitions, nothing where it lies outside."""
    if not profile.bookkeeping.merged:
        return {}

    first, last = profile.bookkeeping.merged
    if last < partitions[0] or first > partitions[-1]:
        return {}
    if first < partitions[0] or last > partitions[-1]:
        raise Refused(
            f"{asset.name}: partitions {first} to {last} of profile {profile.id!r} have merged for "
            "good; verify a range that holds them all, or everything"
        )
    return profile.bookkeeping.base


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
