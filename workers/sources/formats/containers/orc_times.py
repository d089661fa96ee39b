"""The times of a stripe of ORC, read without Arrow, which has the years 1677 to 2262 alone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa

from workers.errors import Malformed
from workers.sources.formats.containers.orc_footer import Ending, Stripe
from workers.sources.formats.containers.orc_integers import bits, integers
from workers.sources.formats.containers.orc_messages import UNREAD, decompressed, fields_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRESENT, DATA, SECONDARY = 0, 1, 5  # what streams are called
VERSIONS = {0: 1, 2: 2}  # of the integers of a column, by the encoding of the column
UTC_NAMES = ("", "UTC", "GMT", "Etc/UTC", "Etc/GMT")
Between = Callable[[int, int], bytes]


class StripeTimes(NamedTuple):
    """What a stripe's own footer says of its times."""

    # Where each stream starts and ends, by its column and by what it is called.
    streams: dict[tuple[int, int], tuple[int, int]]
    # The version of the integers of each column.
    versions: list[int]
    zone: str


def read_times(
    between: Between, stripe: Stripe, ending: Ending, column: int, is_moment: bool, rows: int
) -> pa.Array:
    """Return the times of a column of a stripe, at microseconds.

    OSError where its bytes are damaged. `between` returns bytes of the file.
    """
    try:
        footer = _footer(between, stripe, ending)
        version = footer.versions[column]

        def stream(kind: int) -> bytes:
            data = between(*footer.streams[column, kind])
            return decompressed(data, ending.compression, ending.chunk_bytes)

        is_present = [True] * rows
        if (column, PRESENT) in footer.streams:
            is_present = bits(stream(PRESENT), rows)
        count = sum(is_present)
        seconds = integers(stream(DATA), count, is_signed=True, version=version)
        nanos = integers(stream(SECONDARY), count, is_signed=False, version=version)

        zone = "" if is_moment else footer.zone
        moments = iter(map(_clock(zone), seconds, nanos))
        values = [next(moments) if present else None for present in is_present]
        return pa.array(values, pa.timestamp("us", "UTC" if is_moment else None))
    except (Malformed, ArithmeticError, StopIteration, *UNREAD) as error:
        raise OSError(f"its times cannot be read: {error}") from error


def _footer(between: Between, stripe: Stripe, ending: Ending) -> StripeTimes:
    data = between(stripe.footer_start, stripe.end)
    streams = {}
    versions = []
    zone = ""
    offset = stripe.start

    for number, value in fields_of(decompressed(data, ending.compression, ending.chunk_bytes)):
        if number == 1:
            stream = dict(fields_of(value))
            end = offset + stream.get(3, 0)
            streams[stream.get(2, 0), stream.get(1, 0)] = (offset, end)
            offset = end
        elif number == 2:
            versions.append(VERSIONS.get(dict(fields_of(value)).get(1, 0), 0))
        elif number == 3:
            zone = value.decode()

    if offset > stripe.footer_start:
        raise Malformed("its streams are longer than the stripe")
    return StripeTimes(streams, versions, zone)


def _clock(zone: str) -> Callable[[int, int], int]:
    """Return what makes microseconds since 1970, on the writer's clock, of two stored numbers."""
    writer_zone = UTC if zone in UTC_NAMES else ZoneInfo(zone)
    base = datetime(2015, 1, 1, tzinfo=writer_zone)
    base_seconds = round((base - EPOCH).total_seconds())

    def read(stored_seconds: int, stored_nanos: int) -> int:
        seconds = base_seconds + stored_seconds
        # Trailing zeros are left out, and counted in the last three bits. Before 1970 some writers
        # have nanoseconds below zero, in 64 bits.
        zeros = stored_nanos & 7
        nanos = stored_nanos - (stored_nanos >> 63 << 64) >> 3
        nanos *= 10 ** (zeros + 1) if zeros else 1
        if seconds < 0 and nanos > 999_999:
            seconds -= 1
        if writer_zone is not UTC:
            moment = (EPOCH + timedelta(seconds=seconds)).astimezone(writer_zone)
            seconds += round((moment.utcoffset() or timedelta()).total_seconds())
        return seconds * 1_000_000 + nanos // 1_000

    return read
