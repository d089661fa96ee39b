"""The integers of ORC's streams, of both of its run-length encodings, and its bits.

https://orc.apache.org/specification/ORCv1/ (Run Length Encoding).
"""

from collections.abc import Iterator
from itertools import islice

from workers.sources.formats.containers.orc_messages import varint_at

MASK = (1 << 64) - 1
# Bits of a number, by the five bits that say so.
WIDTHS = (*range(1, 25), 26, 28, 30, 32, 40, 48, 56, 64)


def bits(data: bytes, count: int) -> list[bool]:
    """Return the first bits of a stream; IndexError where there are fewer."""
    values: list[bool] = []
    stream = _bytes(data)
    while len(values) < count:
        byte = next(stream, None)
        if byte is None:
            raise IndexError("the stream of bits ends early")
        values += [bool(byte >> shift & 1) for shift in range(7, -1, -1)]
    return values[:count]


def integers(data: bytes, count: int, is_signed: bool, version: int) -> list[int]:
    """Return the first integers of a stream; IndexError where there are fewer."""
    runs = _first_version(data, is_signed) if version == 1 else _second_version(data, is_signed)
    values = list(islice(runs, count))
    if len(values) < count:
        raise IndexError("the stream of integers ends early")

    # Writers count in 64 bits, and let sums run over.
    least = -(1 << 63) if is_signed else 0
    return [(value - least & MASK) + least for value in values]


def _bytes(data: bytes) -> Iterator[int]:
    offset = 0
    while offset < len(data):
        control = data[offset]
        if control < 128:
            yield from [data[offset + 1]] * (control + 3)
            offset += 2
        else:
            yield from data[offset + 1 : offset + 257 - control]
            offset += 257 - control


def _first_version(data: bytes, is_signed: bool) -> Iterator[int]:
    offset = 0
    while offset < len(data):
        control = data[offset]
        offset += 1
        if control < 128:
            step = data[offset] - (data[offset] >> 7 << 8)
            value, offset = _number(data, offset + 1, is_signed)
            yield from (value + step * number for number in range(control + 3))
            continue

        for _ in range(256 - control):
            value, offset = _number(data, offset, is_signed)
            yield value


def _second_version(data: bytes, is_signed: bool) -> Iterator[int]:
    offset = 0
    while offset < len(data):
        kind = data[offset] >> 6
        if kind == 0:
            size = (data[offset] >> 3 & 7) + 1
            value = int.from_bytes(data[offset + 1 : offset + 1 + size])
            yield from [_signed(value) if is_signed else value] * ((data[offset] & 7) + 3)
            offset += 1 + size
            continue

        code = data[offset] >> 1 & 31
        count = ((data[offset] & 1) << 8 | data[offset + 1]) + 1
        offset += 2
        if kind == 1:
            values, offset = _packed(data, offset, WIDTHS[code], count)
            yield from map(_signed, values) if is_signed else values
        elif kind == 2:
            values, offset = _patched(data, offset, WIDTHS[code], count)
            yield from values
        else:
            values, offset = _deltas(data, offset, WIDTHS[code] if code else 0, count, is_signed)
            yield from values


def _patched(data: bytes, offset: int, width: int, count: int) -> tuple[list[int], int]:
    """Return numbers that are a base and a little more, but for some that are a lot more."""
    base_size = (data[offset] >> 5) + 1
    patch_width = WIDTHS[data[offset] & 31]
    gap_width = (data[offset + 1] >> 5) + 1
    patch_count = data[offset + 1] & 31
    offset += 2

    base = int.from_bytes(data[offset : offset + base_size])
    sign = 1 << base_size * 8 - 1
    base = -(base - sign) if base & sign else base
    values, offset = _packed(data, offset + base_size, width, count)

    entry_width = next(bits_ for bits_ in WIDTHS if bits_ >= gap_width + patch_width)
    patches, offset = _packed(data, offset, entry_width, patch_count)
    number = 0
    for patch in patches:
        number += patch >> patch_width
        values[number] |= (patch & (1 << patch_width) - 1) << width
    return [base + value for value in values], offset


def _deltas(
    data: bytes, offset: int, width: int, count: int, is_signed: bool
) -> tuple[list[int], int]:
    """Return numbers of which each says how far it is from the one before."""
    value, offset = _number(data, offset, is_signed)
    step, offset = _number(data, offset, is_signed=True)
    if not width:
        return [value + step * number for number in range(count)], offset

    values = [value, value + step]
    steps, offset = _packed(data, offset, width, count - 2)
    for more in steps:
        values.append(values[-1] + (more if step >= 0 else -more))
    return values, offset


def _packed(data: bytes, offset: int, width: int, count: int) -> tuple[list[int], int]:
    """Return numbers of so many bits each, and where the bytes of the last one end."""
    size = (width * count + 7) // 8
    if offset + size > len(data):
        raise IndexError("a run breaks off")

    number = int.from_bytes(data[offset : offset + size])
    mask = (1 << width) - 1
    first_shift = size * 8 - width
    values = [number >> first_shift - width * index & mask for index in range(count)]
    return values, offset + size


def _number(data: bytes, offset: int, is_signed: bool) -> tuple[int, int]:
    value, offset = varint_at(data, offset)
    return (_signed(value) if is_signed else value), offset


def _signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)
