"""CSV: dialects, headers, columns that are declared, values that are missing, and reasons."""

import csv
import io
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.declare import Number
from workers.errors import Malformed, Refused
from workers.sources.formats import csv as csv_format
from workers.sources.formats import csv_records, reader
from workers.sources.formats.csv_records import check_dialect
from workers.sources.formats.format import format_of
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import BOM, MAX_LINE_BYTES, Lines, split_lines
from workers.sources.formats.plain import compression
from workers.sources.formats.reader import read_range
from workers.sources.items import ItemReader
from workers.values import ByteRange, Place, SegmentRange

TWICE = "a quote in a cell is written twice"
ESCAPE = "where \\ escapes quotes, declare escape=\\"
NEWLINES = "where cells have newlines, declare multiline=yes"
ABC = Columns(names=("a", "b", "c"))
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"\\,;\t|'), max_size=6)
ODD = st.text(st.sampled_from("ab ,;\t|\"\\'é\0"), max_size=6)
CELL = PLAIN | ODD


class Shelf:
    """A store of one block."""

    def __init__(self, body):
        self.body = body

    def open(self, key, etag, start, end):
        return io.BytesIO(self.body[start:end])

    def open_whole(self, key):
        return io.BytesIO(self.body)


def runs(body, declared="csv", columns=ABC, key="a.csv", offset=0):
    lines = split_lines(iter([body]), 0, None)
    return csv_format.rows_of(lines, format_of(key, declared), columns, offset)


def rows(body, declared="csv", columns=ABC, key="a.csv"):
    """Return the rows of a block, those that cannot be read as their reasons."""
    return [row for run in runs(body, declared, columns, key) for row in run.rows]


def cells(body, declared="csv", key="a.csv"):
    return [list(row.values()) for row in rows(body, declared, key=key)]


def broken(body, declared="csv", columns=ABC):
    """Return the rows before a block is given up, why that is, and from where on."""
    read = []
    with pytest.raises(Malformed) as raised:
        for run in runs(body, declared, columns):
            read += run.rows
    return read, raised.value.reason, raised.value.place


# Dialects


@given(
    table=st.lists(st.lists(CELL, min_size=3, max_size=3)),
    delimiter=st.sampled_from([",", ";", "tab", "|"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    has_escape=st.booleans(),
    has_mark=st.booleans(),
)
def test_rows_that_python_writes_in_any_dialect_come_back(
    table, delimiter, newline, quoting, has_escape, has_mark
):
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter="\t" if delimiter == "tab" else delimiter,
        lineterminator=newline,
        quoting=quoting,
        doublequote=not has_escape,
        escapechar="\\" if has_escape else None,
    )
    writer.writerows([["a", "b", "c"], *table])
    body = (BOM if has_mark else b"") + text.getvalue().encode()
    declared = f"csv delimiter={delimiter}" + (" escape=\\" if has_escape else "")
    assert cells(body, declared) == table


@given(
    table=st.lists(
        st.lists(st.sampled_from(["x", "x\ny", "\n", 'a "b"\nc']), min_size=3, max_size=3)
    )
)
def test_cells_of_several_lines_come_back(table):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["a", "b", "c"], *table])
    assert cells(text.getvalue().encode()) == table


@given(
    table=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1),
    cuts=st.lists(st.integers(0, 300)),
    chunk_bytes=st.integers(1, 9),
    has_header=st.booleans(),
)
def test_rows_without_newlines_are_read_once_wherever_a_block_is_cut(
    table, cuts, chunk_bytes, has_header
):
    text = io.StringIO()
    header = [["a", "b", "c"]] if has_header else []
    csv.writer(text, lineterminator="\n").writerows([*header, *table])
    body = text.getvalue().encode()
    form = format_of("a.csv", "csv multiline=no" + ("" if has_header else " columns=a,b,c"))

    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    read = []
    positions = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(reader, "TAIL_BYTES", 3)
        for start, end in pairwise(edges):
            range_ = ByteRange(key="a", etag="e", size=len(body), start=start, end=end, items=1)
            for run in read_range(Shelf(body), range_, form, ABC):
                read += [list(row.values()) for row in run.rows]
                positions += run.positions
    assert read == table
    assert positions == sorted(set(positions))


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b'6" nails,"a""b",', ['6" nails', 'a"b', ""]),
        (b'"The \\"A\\" Team",C:\\new,x\\\\y', ['The "A" Team', "C:\\new", "x\\y"]),
        (b'a\\,b,"c\\"","\\\\"', ["a,b", 'c"', "\\"]),
        (b"a\\\nb,c,d", ["a\nb", "c", "d"]),
    ],
    ids=["quotes", "escaped quotes", "escaped delimiter", "escaped newline"],
)
def test_an_escape_stands_for_itself_unless_it_escapes_something(line, row):
    assert cells(b"a,b,c\n" + line + b"\n", "csv escape=\\") == [row]


def test_an_escape_at_the_end_of_a_line_stands_for_itself_where_cells_have_no_newlines():
    body = b"a,b,c\n1,2,C:\\\n3,4,5\n"
    assert cells(body, "csv escape=\\ multiline=no") == [["1", "2", "C:\\"], ["3", "4", "5"]]


def test_a_tsv_is_parted_by_tabs_in_any_case_of_its_suffix():
    assert cells(b"a\tb\tc\n1,2\t3\t\n", "", key="X.TSV") == [["1,2", "3", ""]]


@pytest.mark.parametrize(
    "declared",
    [
        *("csv delimiter=;;", 'csv escape="', "csv delimiter=none", "csv delimiter=| escape=|"),
        *("csv quote='", "csv quote=none multiline=yes"),
    ],
)
def test_options_that_contradict_csv_are_refused(declared):
    with pytest.raises(Refused):
        check_dialect(format_of("a.csv", declared))
    check_dialect(format_of("a.csv", "csv delimiter=tab escape=\\"))
    check_dialect(format_of("a.csv", "csv delimiter=tab quote=none"))


@given(
    table=st.lists(
        st.lists(
            st.text(st.sampled_from(["a", '"', "é", "\\", ",", "\0", " "]), max_size=6),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
    ),
    size=st.integers(1, 40),
)
def test_cells_between_tabs_come_back_as_they_stand_where_quotes_are_plain_text(table, size):
    body = "".join("\t".join(cells) + "\n" for cells in table).encode()
    form = format_of("a", "csv delimiter=tab quote=none columns=a,b,c")
    assert form.is_splittable

    read = []
    for start in range(0, len(body), size):
        end = min(start + size, len(body))
        range_ = ByteRange(key="a", etag="e", size=len(body), start=start, end=end, items=1)
        for run in read_range(Shelf(body), range_, form, ABC):
            read += [list(row.values()) for row in run.rows]
    assert read == table


@pytest.mark.parametrize("cell", ['"Best" shoes', '"open', '"a \\"b\\""'])
def test_a_stray_quote_between_tabs_says_how_quotes_are_plain_text(cell):
    (reason,) = rows(f"a\tb\tc\n1\t{cell}\t3\n".encode(), "csv delimiter=tab multiline=no")
    assert reason.endswith("; where quotes are plain text, declare quote=none")


def test_a_carriage_return_is_the_reason_where_quotes_are_plain_text():
    body = b'a\tb\tc\n1\t"x\r\t3\n'
    (reason,) = rows(body, "csv delimiter=tab quote=none")
    assert reason == "a carriage return stands in a cell without quotes"


# Headers and columns


def test_a_block_whose_header_does_not_fit_is_not_read_at_all():
    read, reason, place = broken(b"a,a,b\n1,2,3\n")
    assert (read, place) == ([], Place.rest(0))
    assert "`a` is there 2 times" in reason


def test_a_header_that_cannot_be_read_is_the_whole_block_wherever_it_is_cut():
    body = b"a,\xffb,c\n" + b"1,2,3\n" * 20
    form = format_of("a.csv", "csv multiline=no")
    for start, end in pairwise(range(0, len(body) + 1, 43)):
        range_ = ByteRange(key="a", etag="e", size=len(body), start=start, end=end, items=1)
        with pytest.raises(Malformed, match="the header cannot be read") as raised:
            list(read_range(Shelf(body), range_, form, ABC))
        assert raised.value.place == Place.rest(0)


def test_an_absent_optional_column_is_said_once_a_block():
    body = b"a,b\n" + b"1,2\n" * 30
    form = format_of("a.csv", "csv multiline=no")
    warnings = []
    for start, end in pairwise(range(0, len(body) + 1, 31)):
        range_ = ByteRange(key="a", etag="e", size=len(body), start=start, end=end, items=1)
        for run in read_range(Shelf(body), range_, form, ABC):
            warnings += run.warnings
    assert warnings == ["no column `c`: each item has the default there"]


def test_a_segment_repeats_the_header_and_says_nothing_again():
    range_ = SegmentRange(
        key="a.csv.gz", etag="e", size=9, start=4, end=9, items=1, segment="s", offset=50
    )
    body = b"a,b\n1,2\n"
    (run,) = read_range(Shelf(body), range_, format_of("a.csv.gz"), ABC)
    assert (run.rows, run.positions, run.warnings) == ([{"a": "1", "b": "2"}], [54], ())


def test_a_block_of_nothing_has_no_rows():
    assert rows(b"") == rows(b"\n\n") == rows(b"a,b,c\n") == []


def test_columns_that_are_declared_need_no_header():
    assert rows(b"1,2,3\n4,5\n", "csv columns=a,b,c") == [
        {"a": "1", "b": "2", "c": "3"},
        "the row has 2 cells and `columns=` 3",
    ]


@pytest.mark.parametrize("declared", ["csv", "csv columns=a,b,c"])
def test_a_header_that_comes_again_is_no_item(declared):
    body = (b"" if "columns" in declared else b"a,b,c\n") + b"1,2,3\na,b,c\n4,5,6\n"
    assert rows(body, declared)[1] == "the row holds the names of the columns"
    assert len(rows(body, declared)) == 3


# Values that are missing


class Reading(msgspec.Struct):
    sensor: str
    value: Number
    unit: str | None = None


def test_null_markers_are_missing_where_they_are_declared():
    item_reader = ItemReader(Reading)
    body = b"sensor,value,unit\ns1,NULL,\\N\ns2,NA,N\nNULL,1,x\n"
    declared = r"csv nulls=\N,NULL escape=\ "
    (run,) = runs(body, declared, item_reader.columns)
    reasons = []
    _, items, _ = item_reader.items(run, lambda place, item, reason: reasons.append((item, reason)))
    assert [(item.sensor, str(item.value), item.unit) for item in items] == [
        ("s1", "nan", None),
        ("s2", "nan", "N"),
    ]
    assert reasons == [(b"NULL,1,x", "Object missing required field `sensor`")]


def test_a_null_marker_is_a_text_where_it_is_not_declared():
    assert cells(b"a,b,c\nNULL,\\N,NA\n") == [["NULL", "\\N", "NA"]]


# Reasons


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3,4", "the row has 4 cells and the header 3"),
        (
            b'1,"a"b,3',
            "cell 2 goes on behind its closing quote; a quote in a cell is written twice",
        ),
        (
            b'1,"a \\"b\\"",3',
            "cell 2 goes on behind its quote; where \\ escapes quotes, declare escape=\\",
        ),
        (b"1,\xff,3", "invalid UTF-8: invalid start byte"),
        (b"1,2\r,3", "a carriage return stands in a cell without quotes"),
    ],
)
def test_a_row_that_cannot_be_read_is_shown_with_the_reason(line, reason):
    (run,) = runs(b"a,b,c\n" + line + b"\r\n4,5,6\n")
    assert run.rows[0] == reason
    assert run.raw(0) == line
    assert run.place(0) == Place.byte(6)
    assert run.raw(1) == b"4,5,6"
    (picked,) = run.pick({Place.byte(6)})
    assert picked.raw(0) == line


def test_a_quote_that_is_not_closed_spoils_its_line_where_cells_have_no_newlines():
    body = b'a,b,c\n1,"2,3\n4,5,6\n'
    assert rows(body, "csv multiline=no") == [
        f"the quote that opens cell 2 is not closed; {NEWLINES}",
        {"a": "4", "b": "5", "c": "6"},
    ]


def test_a_file_of_carriage_returns_alone_is_not_taken_for_a_header():
    _, reason, place = broken(b"a,b,c\r1,2,3\r4,5,6\r")
    assert "carriage returns alone" in reason
    assert place == Place.rest(0)


def test_rows_between_carriage_returns_are_not_one_row_that_cannot_be_read():
    read, reason, place = broken(b"a,b,c\n0,0,0\n1,2,3\r4,5,6\r7,8,9\n")
    assert "carriage returns alone" in reason
    assert (len(read), place) == (1, Place.rest(12))


def test_a_quote_that_is_never_closed_is_all_of_the_rest():
    body = b'a,b,c\n1,2,3\n4,"5,6\n' + b"7,8,9\n" * 500
    read, reason, place = broken(body)
    assert (len(read), place) == (1, Place.rest(12))
    assert "a quote opens here that is not closed" in reason
    assert "multiline=no" in reason


def test_a_block_that_breaks_off_in_an_open_quote_ends_where_its_record_starts():
    def source():
        yield b'a,b,c\n1,2,3\n4,"5\n6\n7'
        raise Malformed("the gzip stream breaks off", Place.rest(0))

    read = []
    with pytest.raises(Malformed) as raised:
        for run in csv_format.rows_of(
            split_lines(source(), 0, None), format_of("a.csv"), ABC, offset=100
        ):
            read += run.rows
    assert len(read) == 1
    assert (raised.value.reason, raised.value.place) == (
        "the gzip stream breaks off",
        Place.rest(112),
    )


def test_an_open_quote_takes_in_no_more_than_a_line_may_have(monkeypatch):
    monkeypatch.setattr(csv_records, "MAX_LINE_BYTES", 1000)
    asked = 0

    def lines():
        nonlocal asked
        yield Lines(0, [b"a,b,c", b'1,"2,3'])
        for number in range(1_000_000):
            asked += 1
            yield Lines(14 + number * 101, [b"x" * 100])

    with pytest.raises(Malformed) as raised:
        list(csv_format.rows_of(lines(), format_of("a.csv"), ABC, 0))
    assert raised.value.place == Place.rest(6)
    assert asked < 20


def test_a_line_that_is_too_long_is_one_row():
    long = b"x" * (MAX_LINE_BYTES + 5)
    lines = split_lines(iter([b"a,b,c\n" + long, b"\n1,2,3\n"]), 0, None)
    (run,) = csv_format.rows_of(lines, format_of("a.csv"), ABC, 0)
    assert run.rows == ["the line is too long for an item", {"a": "1", "b": "2", "c": "3"}]
    assert len(run.raw(0)) < 10_000
