"""The footer of a Parquet file: which rows it has and where, read without Arrow.

Arrow's Python API ends the whole process where a damaged footer contradicts itself (the
constructors behind `metadata.row_group` throw through code that does not expect it), so nothing
of the footer is asked of it before the footer has passed here.
"""

from typing import Any

from workers.errors import Malformed
from workers.sources.formats.containers.groups import MAX_GROUP_ROWS, Group, placed

MAGIC = b"PAR1"
REPEATED = 2  # what a schema calls a field that may occur many times


def read_footer(tail: bytes, size: int) -> list[Group]:
    """Return the row groups of a file whose last bytes, with all its footer, are given.

    Malformed where the footer cannot be read, or contradicts itself.
    """
    try:
        footer = _Compact(tail[: -len(MAGIC) - 4]).struct()
        leaves = _leaves(footer[2])
        counts = [_rows(group, leaves) for group in footer[4]]
        if sum(counts) != footer[3]:
            raise Malformed(f"its row groups have {sum(counts)} rows, and the file {footer[3]}")

        starts = [_start(group) for group in footer[4]]
        return placed(counts, starts, size)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"its footer cannot be read ({type(error).__name__})") from error


def footer_bytes(ending: bytes, size: int) -> int:
    """Return how many bytes at the end of a file are its footer, from the last eight."""
    if size < 12 or ending[4:] != MAGIC:
        raise Malformed("it does not end as Parquet does")

    length = int.from_bytes(ending[:4], "little") + 8
    if length + len(MAGIC) > size:
        raise Malformed("its footer is longer than the block")
    return length


def _leaves(schema: list[dict[int, Any]]) -> list[bool]:
    """Return, for each column, whether each row has one value of it."""
    leaves: list[bool] = []

    def walk(number: int, is_single: bool) -> int:
        element = schema[number]
        is_single = is_single and element.get(3) != REPEATED
        children = element.get(5) or 0
        number += 1
        if not children:
            leaves.append(is_single)
        for _ in range(children):
            number = walk(number, is_single)
        return number

    number = 1
    for _ in range(schema[0].get(5) or 0):
        number = walk(number, is_single=True)
    if number != len(schema):
        raise Malformed("its schema contradicts itself")
    return leaves


def _rows(group: dict[int, Any], leaves: list[bool]) -> int:
    """Return the rows of a group; its columns must agree with the schema and with each other."""
    columns = group[1]
    rows = group[3]
    if len(columns) != len(leaves):
        raise Malformed("a row group has other columns than the schema")
    if not 0 <= rows < MAX_GROUP_ROWS:
        raise Malformed(f"a row group has {rows} rows")

    for column, is_single in zip(columns, leaves, strict=True):
        values = column[3][5]
        if values != rows if is_single else values < rows:
            raise Malformed(f"a column has {values} values for {rows} rows")
    return int(rows)


def _start(group: dict[int, Any]) -> int:
    return min((column[3].get(11) or column[3][9] for column in group[1]), default=0)


class _Compact:
    """Reads Thrift's compact protocol: structs as dicts by the ids of their fields."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            kind = head & 15
            step = head >> 4
            number = number + step if step else self._integer()
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 8:
            return self._bytes(self._varint())

        if kind == 12:
            return self.struct()
        if kind in (9, 10):
            return self._list()

        if kind in (1, 2, 3):
            return self._byte()
        if kind == 7:
            return self._bytes(8)
        raise Malformed(f"its footer has a field of kind {kind}")

    def _list(self) -> list[Any]:
        head = self._byte()
        kind = head & 15
        count = head >> 4
        count = self._varint() if count == 15 else count
        return [self._value(kind) for _ in range(count)]

    def _byte(self) -> int:
        self._offset += 1
        return self._data[self._offset - 1]

    def _bytes(self, count: int) -> bytes:
        self._offset += count
        if self._offset > len(self._data):
            raise Malformed("its footer breaks off")
        return self._data[self._offset - count : self._offset]

    def _varint(self) -> int:
        value = 0
        shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise Malformed("its footer has a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
