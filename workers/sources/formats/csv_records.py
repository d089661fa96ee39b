"""The records of a CSV, each with its lines and their places; dialects, and quotes not closed."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from workers.errors import Malformed, Refused
from workers.sources.formats.format import Format
from workers.sources.formats.lines import BOM, MAX_LINE_BYTES, TOO_LONG, Lines
from workers.sources.formats.quotes import trouble_of
from workers.values import Place


class RecordLine(NamedTuple):
    """A line of a record."""

    start: int
    raw: bytes
    # It was too long to be kept.
    is_cut: bool = False


class Record(msgspec.Struct, frozen=True):
    """One record of CSV: where it starts, its cells (or why there are none), its lines."""

    start: int
    cells: list[str] | str
    lines: list[RecordLine]
    # How many cells it has, even where they cannot be used; 0 where that is not known.
    width: int

    @property
    def raw(self) -> bytes:
        """The record as it stands."""
        return b"\n".join(line.raw for line in self.lines) + b"\n"

    @property
    def is_cut(self) -> bool:
        """Whether a line of it was too long to be kept."""
        return any(line.is_cut for line in self.lines)


class _Feed:
    """Hands the lines of a CSV to its parser, and remembers those of the current record."""

    def __init__(
        self, lines: Iterator[Lines], form: Format, takes: Callable[[Lines], bool]
    ) -> None:
        self._runs = lines
        self._takes = takes
        self._unescape = _unescaping(form)
        # There are no lines any more.
        self.is_done = False
        self.begin()

    def begin(self) -> None:
        """Forget the last record; the next line starts a new one."""
        self.lines: list[RecordLine] = []
        self._bytes = 0
        # Why the record cannot be used, where a line of it is bad.
        self.reason = ""

    @property
    def start(self) -> int:
        """Where the current record starts."""
        return self.lines[0].start

    def __iter__(self) -> Iterator[str]:
        for run in self._runs:
            if not self.lines and self._takes(run):
                return
            offset = run.start
            for line in run.lines:
                self.lines.append(RecordLine(offset, line, run.is_cut))
                self._bytes += len(line)
                if self._bytes > MAX_LINE_BYTES and len(self.lines) > 1:
                    raise self.unclosed()
                yield self._text(line if offset else line.removeprefix(BOM), run.is_cut)
                offset += len(line) + 1
        self.is_done = True

    def _text(self, line: bytes, is_cut: bool) -> str:
        if is_cut:
            self.reason = TOO_LONG
            return "\n"

        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            self.reason = f"invalid UTF-8: {error.reason}"
            # Its quotes still count, or the lines behind it would join this record.
            text = line.decode(errors="replace")
        return self._unescape(text + "\n")

    def unclosed(self) -> Malformed:
        """Return the error of a quote that takes in all that follows."""
        return Malformed(
            f"a quote opens here that is not closed, {len(self.lines):,} lines on: it is a stray "
            "one, or the block breaks off; where no cell has a newline, declare multiline=no",
            Place.rest(self.start),
        )


def _unescaping(form: Format) -> Callable[[str], str]:
    r"""Return what prepares text for a parser that drops every escape.

    Ours stand for themselves, unless what follows is a quote, a delimiter or an escape: MySQL's
    \N and a path of Windows stay as they are.
    """
    if not form.escape:
        return str

    newline = r"\n" if form.multiline else ""
    special = f'["{re.escape(form.delimiter)}{re.escape(form.escape)}{newline}]'
    pattern = re.compile(f"{re.escape(form.escape)}({special})?")
    return partial(pattern.sub, lambda match: match[0] if match[1] else match[0] * 2)


def check_dialect(form: Format) -> None:
    """Raise Refused where the options of a CSV contradict each other."""
    for name, value in (("delimiter", form.delimiter), ("escape", form.escape)):
        if len(value) > 1 or value in ('"', "\n", "\r") or (name == "delimiter" and not value):
            raise Refused(
                f"{name}={value} is none of CSV: it is one character, and neither a quote nor a "
                'newline (a tab is written as "tab")'
            )
    if form.delimiter == form.escape:
        raise Refused(f"escape={form.escape} is the delimiter of the CSV too: name another")
    if form.multiline and not form.quote:
        raise Refused("quote=none leaves nothing that could hold a newline: drop multiline=yes")


def records(
    lines: Iterator[Lines], form: Format, takes: Callable[[Lines], bool] = lambda _run: False
) -> Iterator[Record]:
    """Yield the records of a CSV, blank lines left out; the first may be the header.

    They end in front of a run of lines that `takes` takes. It is asked where a record could begin.
    Malformed, from the record on, where a quote is not closed: how many records it took in, nobody
    knows.
    """
    csv.field_size_limit(2 * MAX_LINE_BYTES)
    feed = _Feed(lines, form, takes)
    text = iter(feed)
    reader = _parser(text, form)

    while True:
        feed.begin()
        if not form.multiline:  # a stray quote spoils its own line, and not those behind it
            reader = _parser(islice(text, 1), form)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            if feed.is_done:
                raise feed.unclosed() from None
            cells = []
            feed.reason = feed.reason or trouble_of(text_of(feed.lines), form)
        except Malformed as error:
            if not feed.lines:
                raise
            raise Malformed(error.reason, Place.rest(feed.start)) from error

        if feed.reason or cells:
            width = 0 if feed.reason == TOO_LONG else len(cells)
            yield Record(feed.start, feed.reason or cells, feed.lines, width)


def _parser(text: Iterator[str], form: Format) -> Iterator[list[str]]:
    return csv.reader(
        text,
        delimiter=form.delimiter,
        escapechar=form.escape or None,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
        strict=True,
    )


def text_of(lines: Sequence[RecordLine]) -> str:
    """Return the text of lines, whatever bytes they have."""
    return "\n".join(line.raw.decode(errors="replace") for line in lines)


def record_of(line: RecordLine, form: Format) -> Record:
    """Return the record that a line, which is not blank, is by itself."""
    lone = msgspec.structs.replace(form, multiline=False)
    run = Lines(line.start, [line.raw], is_cut=line.is_cut)
    return next(records(iter([run]), lone))
