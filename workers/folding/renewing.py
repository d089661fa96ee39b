"""Compute profiles anew from the results of all that they hold."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from workers.errors import Refused
from workers.folding.holdings import Change, Holdings, Part
from workers.folding.said import ResultGone, Said
from workers.folding.writing import MAX_TRIES, NewTotal, Outdated, ProfileWriter, each_chunk
from workers.ledger.profiles import ABSENT, StoredProfile, read_epochs
from workers.store import BlockStore

RENEWED_AT_ONCE = 20_000  # profiles that are computed anew from one reading of the results
NAMED = 3  # partitions that an error names


def renew(
    writer: ProfileWriter, store: BlockStore, buckets: range, profile_ids: Sequence[str]
) -> None:
    """Compute profiles anew, with what live claims say; Refused where a result is gone."""
    for start in range(0, len(profile_ids), RENEWED_AT_ONCE):
        _renew(writer, store, buckets, profile_ids[start : start + RENEWED_AT_ONCE])


def _renew(
    writer: ProfileWriter, store: BlockStore, buckets: range, profile_ids: Sequence[str]
) -> None:
    for _ in range(MAX_TRIES):
        holdings = Holdings(writer.ledger, writer.task, writer.asset.name, writer.generation)
        try:
            parts = _parts(writer, holdings, profile_ids)
            said = Said(store, writer.task.fields, buckets, parts, profile_ids)
            for _ in each_chunk(profile_ids, partial(_renew_chunk, writer, holdings, said)):
                pass
        except Outdated:
            continue
        except ResultGone as error:
            raise _missing(writer, error) from error
        return
    raise writer.contended()


def _parts(writer: ProfileWriter, holdings: Holdings, profile_ids: Sequence[str]) -> list[Part]:
    """Return all that profiles hold, or are to hold of live claims."""
    live = writer.live()
    changed = {change.fold_key for change in live}
    parts = set[Part]().union(*(change.parts for change in live))
    for open_ in [{}, *read_epochs(writer.profiles, profile_ids, writer.generation)]:
        held = holdings.of(open_)
        parts.update(*(held[fold_key] for fold_key in held.keys() - changed))
    return sorted(parts)


def _missing(writer: ProfileWriter, error: ResultGone) -> Refused:
    named = ", ".join(change.claim.partition for change in writer.changes[:NAMED])
    name = writer.asset.name
    return Refused(
        f"{name}: what profiles hold beside {named} has to be read again, and a result of it is "
        f"no longer in S3 ({error}); `fanfold rebuild {name}` makes all profiles anew from the "
        "blocks"
    )


def _renew_chunk(
    writer: ProfileWriter, holdings: Holdings, said: Said, profile_ids: Sequence[str]
) -> None:
    for _ in range(MAX_TRIES):
        stored = writer.read(profile_ids)
        live = list(writer.live())
        if not holdings.are_up_to_date:
            raise Outdated
        if not live:
            return
        totals = _new_totals(writer, holdings, said, live, profile_ids, stored)
        if writer.write(totals):
            return
    raise writer.contended()


def _new_totals(
    writer: ProfileWriter,
    holdings: Holdings,
    said: Said,
    live: Sequence[Change],
    profile_ids: Sequence[str],
    stored: Mapping[str, StoredProfile],
) -> list[NewTotal]:
    # None stands for profiles that are not there: one that held something would be. A claim that is
    # not folded whole yet may have emptied it, and deleted it with its epoch.
    by_epochs: dict[tuple[tuple[str, int], ...] | None, list[str]] = defaultdict(list)
    for profile_id in profile_ids:
        profile = stored.get(profile_id, ABSENT)
        is_there = profile.is_ours and profile.bookkeeping.generation == writer.generation
        open_ = holdings.unfinished(writer.epochs_of(profile))
        by_epochs[tuple(sorted(open_.items())) if is_there else None].append(profile_id)

    of_claims = {change.fold_key: change.parts for change in live}
    epochs = {change.fold_key: change.claim.epoch for change in live}
    new_totals = []
    for own_epochs, ids in by_epochs.items():
        held = of_claims if own_epochs is None else holdings.of(dict(own_epochs)) | of_claims
        parts = set[Part]().union(*held.values())
        if not said.knows(parts):
            raise Outdated
        totals = said.of(parts, ids)
        for profile_id in ids:
            profile = stored.get(profile_id, ABSENT)
            total = writer.with_begun(profile, totals.get(profile_id, {}))
            new_totals.append(NewTotal(profile_id, profile, total, epochs))
    return new_totals
