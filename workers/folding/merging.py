"""Merge what is new of partitions into profiles, in the place of what is taken back."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

from workers.contributions.accumulators import Accumulator, merge_accumulators
from workers.contributions.exchange import Unknowable, exchanged
from workers.folding.holdings import Change, Part, without
from workers.folding.said import Mentions, ResultGone, Said
from workers.folding.writing import MAX_TRIES, NewTotal, Outdated, ProfileWriter
from workers.ledger.profiles import ABSENT, StoredProfile
from workers.store import BlockStore


class Difference(NamedTuple):
    """What a profile lacks of what claims say, and what it holds that they do not say any more."""

    lacking: frozenset[Part]
    retired: frozenset[Part]


class News:
    """What the claims of a shard change of its profiles."""

    def __init__(
        self, writer: ProfileWriter, store: BlockStore, buckets: range, mentions: Mentions
    ) -> None:
        self.writer, self.mentions = writer, mentions
        # Of profiles that hold what most hold.
        self.usual = self._difference(writer.changes, {})
        self.said, self.can_exchange = self._read(store, buckets)
        self.shown_anew = self._shown_anew()
        self.new = self.said.merged(self.usual.lacking)
        self.old = self.said.merged(self.usual.retired if self.can_exchange else ())

    def _read(self, store: BlockStore, buckets: range) -> tuple[Said, bool]:
        """Read what profiles lack, and what is taken back of them, where that can be exchanged."""
        lacking = {part for change in self.writer.changes for part in _lacking(change)}
        read = partial(Said, store, self.writer.task.fields, buckets)
        if not self.writer.may_race:
            try:
                return read(sorted(lacking | self.usual.retired)), True
            except ResultGone:  # one of those that are taken back, or it is missed again
                pass
        return read(sorted(lacking)), False

    @property
    def ids(self) -> list[str]:
        """The profiles that are to be written, in order."""
        return sorted(self.shown_anew.union(self.said.ids))

    def _shown_anew(self) -> frozenset[str]:
        """Return the profiles that are to show what they hold by other code than before."""
        parts = [
            part for change in self.writer.changes if change.is_shown_anew for part in change.parts
        ]
        self.mentions.read(parts)
        return frozenset(self.mentions.of(parts).to_pylist())

    def merge(self, profile_ids: Sequence[str]) -> set[str]:
        """Merge what is new into profiles; return those that have to be computed anew."""
        may_exist = self.writer.may_exist
        for _ in range(MAX_TRIES):
            stored = self.writer.read(profile_ids) if may_exist else {}
            live = self.writer.live()
            if any(whole != change.before_epoch for change, whole in live.items()):
                raise Outdated
            if not live:
                return set()

            unknown = self._unlike_most(profile_ids, stored)
            others = [profile_id for profile_id in profile_ids if profile_id not in unknown]
            totals = []
            for difference, ids in self._by_difference(others, stored, list(live)).items():
                totals += self._new_totals(difference, ids, stored, list(live), unknown)
            if self.writer.write(totals):
                return unknown
            may_exist = True

        raise self.writer.contended()

    def _unlike_most(
        self, profile_ids: Sequence[str], stored: Mapping[str, StoredProfile]
    ) -> set[str]:
        """Return the profiles of which it is not known what they hold."""
        unlike = {
            profile_id
            for profile_id, profile in stored.items()
            if profile.is_ours
            and not (profile.is_intact and profile.bookkeeping.generation == self.writer.generation)
        }
        ours = {profile_id for profile_id, profile in stored.items() if profile.is_ours}
        absent = [profile_id for profile_id in profile_ids if profile_id not in ours]
        if absent:
            # Who should hold something and is not there: a person may have deleted it.
            unlike |= self._keepers.intersection(absent)
        return unlike

    @cached_property
    def _keepers(self) -> frozenset[str]:
        """The profiles that should hold already what the claims say."""
        kept = [part for change in self.writer.changes for part in change.kept]
        self.mentions.read(kept)
        return frozenset(self.mentions.of(kept).to_pylist())

    def _by_difference(
        self,
        profile_ids: Sequence[str],
        stored: Mapping[str, StoredProfile],
        live: Sequence[Change],
    ) -> dict[Difference, list[str]]:
        """Group profiles by what they lack and hold too much of live claims."""
        by_difference: dict[Difference, list[str]] = defaultdict(list)
        is_all = len(live) == len(self.writer.changes)
        usual = self.usual if is_all else self._difference(live, {})
        live_keys = {change.fold_key for change in live}
        for profile_id in profile_ids:
            open_ = stored[profile_id].bookkeeping.open if profile_id in stored else {}
            is_usual = live_keys.isdisjoint(open_)
            by_difference[usual if is_usual else self._difference(live, open_)].append(profile_id)
        return by_difference

    def _difference(self, changes: Sequence[Change], open_: Mapping[str, int]) -> Difference:
        """Return the difference of a profile with these epochs to what claims say."""
        held = [(change, change.held(open_.get(change.fold_key))) for change in changes]
        return Difference(
            frozenset(part for change, parts in held for part in without(change.parts, parts)),
            frozenset(part for change, parts in held for part in without(parts, change.parts)),
        )

    def _new_totals(
        self,
        difference: Difference,
        profile_ids: Sequence[str],
        stored: Mapping[str, StoredProfile],
        live: Sequence[Change],
        unknown: set[str],
    ) -> list[NewTotal]:
        """Return the totals of profiles that differ alike; `unknown` gets those that stay so."""
        is_usual = difference == self.usual
        lacking, retired = difference
        new = self.new.of(profile_ids) if is_usual else self.said.of(lacking, profile_ids)
        old: Mapping[str, Accumulator] = {}
        if self.can_exchange and retired:
            old = self.old.of(profile_ids) if is_usual else self.said.of(retired, profile_ids)

        live_epochs = {change.fold_key: change.claim.epoch for change in live}
        totals = []
        for profile_id in profile_ids:
            profile = stored.get(profile_id, ABSENT)
            keys = self.said.keys.get(profile_id, ())
            epochs = {key: live_epochs[key] for key in keys if key in live_epochs}
            more, less = new.get(profile_id, {}), old.get(profile_id, {})
            is_shown_anew = profile.is_ours and profile_id in self.shown_anew
            if more or less or is_shown_anew or self._is_fence(profile, epochs):
                try:
                    total = self._merged(profile, more, less)
                except Unknowable:
                    unknown.add(profile_id)
                    continue
                totals.append(NewTotal(profile_id, profile, total, epochs))
        return totals

    def _is_fence(self, profile: StoredProfile, epochs: Mapping[str, int]) -> bool:
        """Tell whether a write keeps others, who read the profile before, from writing it."""
        return self.writer.may_race and not epochs.items() <= profile.bookkeeping.open.items()

    def _merged(self, profile: StoredProfile, more: Accumulator, less: Accumulator) -> Accumulator:
        """Return a profile's total with what is new, and without what is taken back."""
        if not profile.is_ours:
            return self.writer.with_begun(profile, more)
        total = self.writer.readers.states(profile.fields) | profile.bookkeeping.state
        if less:
            return exchanged(self.writer.task.fields, total, less, more)
        return merge_accumulators(self.writer.task.fields, total, more)


def _lacking(change: Change) -> Iterable[Part]:
    """Return what some profile may lack of a partition."""
    return change.parts if change.unfinished else change.added
