"""A declaration of a format, checked before any block is read."""

from workers.errors import Refused
from workers.sources.formats.csv_records import check_dialect
from workers.sources.formats.format import format_of
from workers.sources.formats.patterns import line_pattern
from workers.sources.formats.plain.compression import COMPRESSIONS
from workers.sources.formats.plain.encoding import checked_encoding


def check_declared(declared: str) -> None:
    """Refuse a declaration by which no block could be read."""
    form = format_of("", declared)
    if form.kind == "csv":
        check_dialect(form)
    if form.pattern:
        line_pattern(form)
    if form.encoding:
        checked_encoding(form.encoding)
    if form.compression and form.compression not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise Refused(f"compression={form.compression} is none that can be read: {known}")
