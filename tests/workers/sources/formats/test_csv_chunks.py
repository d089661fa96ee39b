"""Chunks of CSV become columns of text where the rows are those that records would give."""

import csv
import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.both_ways import Reader, placed_rows
from workers.declare import Number, Text, Time
from workers.sources.formats import csv as rows_of_csv
from workers.sources.formats import csv_chunks
from workers.sources.formats.csv import rows_of
from workers.sources.formats.format import format_of
from workers.sources.formats.lines import split_lines
from workers.sources.items import columns_of


class Order(msgspec.Struct):
    """A field of each kind that CSV can have."""

    name: Text
    price: Number
    at: Time
    count: int | None = None
    share: float | None = None
    is_new: bool | None = None
    seen: Time(unit="ms") | None = None  # type: ignore[valid-type]
    tags: list[Text] | None = None
    note: str | None = None


ORDERS = Reader(Order)
COLUMNS = columns_of(Order)
FIELDS = Order.__struct_fields__
GOOD = b"ann,1.5,891388800,1,0.5,true,891388800000,a|b,n"


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(csv_chunks, "MIN_BYTES", 1)


CSV = format_of("a.csv")


def read(body, form=CSV, is_by_chunks=True, chunk_bytes=1 << 20):
    """Return the runs of rows of a CSV."""
    chunks = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    with pytest.MonkeyPatch.context() as patch:
        if not is_by_chunks:
            patch.setattr(rows_of_csv, "clean_rows", lambda *_: None)
        return list(rows_of(split_lines(iter(chunks), 0, None), form, COLUMNS, 7))


def are_chunks(runs):
    return [not isinstance(run.content, list) for run in runs]


def body_of(*lines, end=b"\n"):
    return end.join([",".join(FIELDS).encode(), *lines]) + end


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_rows_without_quotes_are_a_chunk_with_the_places_and_lines_of_records(end):
    body = body_of(GOOD, GOOD.replace(b"ann", "bö".encode()), b",,,,,,,,", end=end)
    runs = read(body)
    assert are_chunks(runs) == [True]
    assert placed_rows(read(body)) == placed_rows(read(body, is_by_chunks=False))
    assert runs[0].raw(0) == GOOD
    assert str(runs[0].place(1)) == f"byte {7 + len(body_of(GOOD, end=end))}"


@pytest.mark.parametrize(
    "line",
    [
        GOOD.replace(b"ann", b'"ann"'),
        GOOD.replace(b"ann", b"a\rb"),
        GOOD.replace(b"ann", b"a\0b"),
        GOOD.replace(b"ann", b"\xff"),
        GOOD + b",more",
        b"",
        b"ann",
        ",".join(FIELDS).encode(),
    ],
)
def test_a_line_that_may_be_no_row_leaves_its_chunk_to_records(line):
    body = body_of(GOOD, line, GOOD)
    assert True not in are_chunks(read(body))


def test_a_chunk_behind_an_open_quote_is_left_to_records():
    body = body_of(GOOD.replace(b"n", b'"n', 1), *[GOOD] * 9)
    chunked = [row for run in msgspec_runs(body) for row in run]
    assert chunked == [row for run in msgspec_runs(body, is_by_chunks=False) for row in run]


def msgspec_runs(body, **how):
    """Return placed rows by run, or the error that they end in."""
    try:
        return [placed_rows([run]) for run in read(body, chunk_bytes=100, **how)]
    except Exception as error:  # noqa: BLE001
        return [[str(error)]]


def test_declared_columns_nulls_and_plain_quotes_give_what_records_give():
    form = format_of("a.csv", "csv columns=name,price,at nulls=NA,- quote=none delimiter=;")
    body = b'a";NA;891388800\n-;1;"\n' * 3
    runs = read(body, form)
    assert True in are_chunks(runs)
    assert placed_rows(runs) == placed_rows(read(body, form, is_by_chunks=False))
    assert runs[-1].rows[-1] == {"name": "", "price": "1", "at": '"'}


ODD = """
a ü null NA nan inf -0 -0.0 0 007 1 1.0 1e3 0.02e310 true TRUE a|b | ["a"] - 1_0 891388800 20260131
2026013112 891388800000 1998-04-01T00:00:00Z 1998-04-01
"""
cells = st.sampled_from(["", " 1", "9" * 20, "x" * 1_025, *ODD.split()])
any_cells = cells | st.text("ab1-.,|;\"'\r\0\t", max_size=3) | st.floats().map(str)
any_cells |= st.integers().map(str) | st.datetimes().map(str)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.lists(any_cells, min_size=9, max_size=9), min_size=1, max_size=4),
    end=st.sampled_from(["\n", "\r\n"]),
    is_written_rightly=st.booleans(),
    chunk_bytes=st.sampled_from([30, 100, 1 << 20]),
)
def test_any_csv_gives_the_same_rows_by_chunks(rows, end, is_written_rightly, chunk_bytes):
    written = io.StringIO()
    if is_written_rightly:
        csv.writer(written, lineterminator=end).writerows([FIELDS, *rows])
    else:
        written.write(end.join(",".join(row) for row in [FIELDS, *rows]))
    body = written.getvalue().encode()

    def outcome(is_by_chunks):
        try:
            return placed_rows(read(body, is_by_chunks=is_by_chunks, chunk_bytes=chunk_bytes))
        except Exception as error:  # noqa: BLE001
            return str(error)

    assert outcome(True) == outcome(False)


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_cells_of_a_column_say_the_same_by_columns(name, data):
    good = dict(zip(FIELDS, GOOD.decode().split(","), strict=True))
    drawn = data.draw(st.lists(cells | st.floats().map(str) | st.datetimes().map(str), min_size=1))
    lines = [",".join((good | {name: cell}).values()).encode() for cell in drawn]
    for run in read(body_of(*lines)):
        if not isinstance(run.content, list):
            assert not ORDERS.read_rows(run.content, is_text=True).differing


def test_good_rows_are_read_by_columns():
    run = read(body_of(GOOD, GOOD.replace(b"1.5", b"NA"), b"a,,1998-04-01,,,,,,"))[0]
    assert ORDERS.read_rows(run.content, is_text=True).by_columns
