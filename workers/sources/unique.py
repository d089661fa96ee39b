"""The items that count, of those that were read, where an asset says what identifies one."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.declare.times import Time
from workers.errors import Refused
from workers.ledger.copies import ID_BYTES, CopiesRead, Counting
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch
from workers.sources.taken import Origin, Part, Taken
from workers.values import Range

ID_TYPE = np.dtype(f"V{ID_BYTES}")
TELLING = (msgspec.inspect.StrType, msgspec.inspect.IntType)  # values that identify, beside Time


class Identity:
    """The fields of a type of items that identify one."""

    def __init__(self, item: type[msgspec.Struct], fields: Sequence[str]) -> None:
        """Refused where the type has no such field, or one whose values cannot identify."""
        types = {field.name: field.type for field in msgspec.structs.fields(item)}
        for field in fields:
            if field not in types:
                raise Refused(
                    f"unique={field!r}: {item.__name__} has no such field; it has "
                    f"{', '.join(types)}"
                )
            if not _can_identify(types[field]):
                raise Refused(
                    f"unique={field!r}: text, whole numbers and times identify items, and the "
                    f"field {field} of {item.__name__} holds others"
                )
        self.fields = tuple(fields)
        self._digest = hashlib.blake2b("\0".join(fields).encode(), digest_size=ID_BYTES)

    def ids(self, taken: Taken) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of those items that have all values, and the indices of these items."""
        if isinstance(taken.items, pa.RecordBatch):
            columns = [taken.items.column(field).cast(pa.string()) for field in self.fields]
        else:
            columns = [
                pa.array([_text(getattr(item, field)) for item in taken.items], pa.string())
                for field in self.fields
            ]

        are_whole = np.ones(len(taken.items), bool)
        for column in columns:
            are_whole &= pc.fill_null(pc.not_equal(column, ""), False).to_numpy(
                zero_copy_only=False
            )
        indices = np.flatnonzero(are_whole)
        whole = [column.filter(pa.array(are_whole)) for column in columns]
        content = b"".join(map(self._id, _joined(whole)))
        return np.frombuffer(content, ID_TYPE), indices

    def _id(self, text: bytes) -> bytes:
        digest = self._digest.copy()
        digest.update(text)
        return digest.digest()


def _joined(columns: Sequence[pa.Array]) -> list[bytes]:
    """Return the texts of items' values as one each, so that no two items share one by chance."""
    if len(columns) > 1:
        parts = []
        for column in columns:
            parts += [pc.binary_length(column).cast(pa.string()), pa.scalar(":"), column]
        columns = [pc.binary_join_element_wise(*parts, "")]
    texts: list[bytes] = columns[0].cast(pa.binary()).to_pylist()
    return texts


def _text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return str(int(value))


def _can_identify(kind: Any) -> bool:
    info: Any = msgspec.inspect.type_info(kind)
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else [info]
    values = [each for each in kinds if not isinstance(each, msgspec.inspect.NoneType)]
    return all(isinstance(each, TELLING) or _is_time(each) for each in values)


def _is_time(kind: Any) -> bool:
    return isinstance(kind, msgspec.inspect.CustomType) and issubclass(kind.cls, Time)


# Tells of each copy that was read whether it counts.
ThoseThatCount = Callable[[CopiesRead], np.ndarray]
# By key and ETag of a block: the stay in whose name copies in it are held.
StayIds = Mapping[tuple[str, str], int]


class UniqueItems:
    """Leaves of what was read the items that count, where copies of an item count once."""

    def __init__(
        self,
        identity: Identity,
        stays: StayIds,
        those_that_count: ThoseThatCount,
        on_missing: Callable[[Origin], None],
        on_duplicates: Callable[[Part], None],
    ) -> None:
        self._identity, self._stays = identity, stays
        self._those_that_count = those_that_count
        # What hears of an item that nothing identifies, and of copies that do not count.
        self._on_missing, self._on_duplicates = on_missing, on_duplicates

    def keep(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Yield what counts of the items of runs; the others are told of first."""
        read = [self._read(*part) for part in parts]
        columns = zip(*(copies for copies, _ in read), strict=True)
        counts = self._those_that_count(CopiesRead(*map(np.concatenate, columns)))

        first = 0
        for (range_, taken), (copies, indices) in zip(parts, read, strict=True):
            mine = counts[first : first + len(copies.ids)]
            first += len(copies.ids)
            if not mine.all():
                self._on_duplicates((range_, taken.only(indices[~mine].tolist())))
            yield range_, taken.only(indices[mine].tolist())

    def _read(self, range_: Range, taken: Taken) -> tuple[CopiesRead, np.ndarray]:
        """Return the copies of a run, and the indices of their items in it."""
        ids, indices = self._identity.ids(taken)
        if len(ids) < len(taken.items):
            for index in np.setdiff1d(np.arange(len(taken.items)), indices).tolist():
                self._on_missing(Origin(range_, taken.run, taken.numbers[index]))

        stays = np.full(len(ids), self._stays[range_.key, range_.etag], np.int64)
        numbers = np.asarray(taken.numbers, np.int64)[indices]
        return CopiesRead(ids, stays, taken.run.every_position()[numbers]), indices


def unique_items(
    batch: Batch,
    item: type[msgspec.Struct],
    ledger: Ledger,
    on_missing: Callable[[Origin], None],
    on_duplicates: Callable[[Part], None],
) -> UniqueItems | None:
    """Return what leaves out copies of a batch's items; None where each item counts."""
    if not batch.unique:
        return None

    stays = ledger.stays.by_id(batch.stays).values()
    counting = Counting(ledger.copies(batch.asset), ledger.stays, batch)
    return UniqueItems(
        Identity(item, batch.unique),
        {(stay.key, stay.etag): stay.id for stay in stays},
        counting.those_that_count,
        on_missing,
        on_duplicates,
    )
