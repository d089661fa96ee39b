"""Stray quotes: no row goes in silence, and a cell of several lines stays one."""

import csv
import gzip
import io
import random

import pytest

from tests.support.pipeline import DAY
from tests.workers.sources.formats.test_csv import broken, runs
from workers.errors import Malformed
from workers.sources.formats.header import Columns

WIDE = Columns(names=("user", "action", "ts", "item", "topics"))
HEADER = b"user,action,ts,item,topics\n"


def event(number, item="Alien"):
    return f"u{number},like,2026-01-31T12:00:{number:02}Z,{item},Horror\n".encode()


def read(body, columns=WIDE):
    """Return the rows of a block, its reasons with the bytes of their rows, and warnings."""
    rows = []
    letters = []
    warnings = []
    for run in runs(body, columns=columns):
        warnings += run.warnings
        for number, row in enumerate(run.rows):
            if isinstance(row, str):
                letters.append((row, run.raw(number)))
            else:
                rows.append(row)
    return rows, letters, warnings


def test_two_stray_quotes_cost_their_own_rows_and_none_between():
    lines = [event(number) for number in range(60)]
    lines[5] = event(5, '"6 inch nails')
    lines[50] = event(50, '12"')
    rows, letters, _ = read(HEADER + b"".join(lines))
    assert [row["user"] for row in rows] == [f"u{n}" for n in range(60) if n not in (5, 50)]
    assert letters == [
        (
            "the quote that opens cell 4 makes one cell of 46 lines that look like rows",
            lines[5][:-1],
        ),
        ("the line stands behind a stray quote, and is no row by itself", lines[50][:-1]),
    ]


def test_two_stray_quotes_in_neighbours_are_seen_where_rows_have_numbers():
    rows, letters, _ = read(HEADER + event(1, '"6 inch') + event(2, '7"') + event(3))
    assert (len(rows), len(letters)) == (1, 2)


def test_a_stray_quote_up_to_a_quoted_cell_costs_its_own_row():
    lines = [event(number) for number in range(20)]
    lines[3] = event(3, '"6 inch nails')
    lines[15] = event(15, '"Alien, the first"')
    rows, letters, _ = read(HEADER + b"".join(lines))
    assert (len(rows), [raw for _, raw in letters]) == (19, [lines[3][:-1]])


@pytest.mark.parametrize(
    "cell",
    [
        '"1 Main St\nApt 4\nSpringfield"',
        '"1 Main St, Apt 4\nSpringfield, IL\nUSA, 12345"',
        '"to buy:\n2, milk, fresh, cold, white\n3, eggs, x, y, z\n4, a, b, c, d"',
        '"said ""yes,\nno"", and left"',
    ],
)
def test_a_cell_of_several_lines_is_believed_where_they_are_no_rows(cell):
    body = HEADER + event(1) + event(2, cell) + event(3)
    rows, letters, warnings = read(body)
    assert (len(rows), letters, warnings) == (3, [], [])
    assert "\n" in rows[1]["item"]


def test_a_table_of_two_columns_is_believed_where_its_texts_have_commas():
    body = b'id,text\n7,"Oh, well\nYes, no\nThis, that\nthe end"\n8,x\n'
    rows, letters, _ = read(body, Columns(names=("id", "text")))
    assert (len(rows), letters) == (2, [])


def test_lines_that_might_be_rows_are_believed_with_a_word_about_them():
    body = b'name,city,note\nann,Rome,"a\nbo,Oslo,x\nend"\n'
    rows, letters, warnings = read(body, Columns(names=("name", "city", "note")))
    assert (len(rows), letters) == (1, [])
    (warning,) = warnings
    assert "a record of 3 lines, 1 that look like rows, stands at byte 15" in warning
    assert "multiline=no" in warning


def test_a_broken_record_of_two_columns_is_no_source_of_rows():
    body = b'name,note\nann,"a\nbo,x\nend"y\ncy,z\n'
    rows, letters, _ = read(body, Columns(names=("name", "note")))
    assert (len(rows), len(letters)) == (1, 3)


def test_a_broken_record_whose_lines_are_no_rows_is_one_row():
    body = b'a,b,c\n1,"two\nlines"x,3\n4,5,6\n'
    rows, letters, _ = read(body, Columns(names=("a", "b", "c")))
    assert len(rows) == 1
    assert [raw for _, raw in letters] == [b'1,"two\nlines"x,3']


def test_a_stray_quote_on_the_last_row_is_all_of_the_rest():
    number = len(HEADER + event(1))
    _, _, place = broken(HEADER + event(1) + event(2, '"6 inch'), columns=WIDE)
    assert place.position == number


@pytest.mark.parametrize("seed", range(200))
def test_stray_quotes_anywhere_lose_no_row_in_silence(seed):
    """Every line that has no stray quote itself is a row, or its letter shows it, or all is red."""
    chance = random.Random(seed)
    lines = [event(number, chance.choice(["Alien", '"Alien, the"', ""])) for number in range(40)]
    strays = chance.sample(range(40), chance.randint(1, 5))
    for number in strays:
        lines[number] = event(number, chance.choice(['"6 inch', '12"', '6" nails', '"a"b', '"']))
    try:
        rows, letters, _ = read(HEADER + b"".join(lines))
    except Malformed:
        return
    users = {row["user"] for row in rows}
    shown = b"\n".join(raw for _, raw in letters)
    for number, line in enumerate(lines):
        assert f"u{number}" in users or line[:-1] in shown
    assert len(rows) + len(letters) == len(lines)
    assert all("\n" not in row["item"] for row in rows)


def test_records_of_several_lines_are_read_in_no_time():
    text = io.StringIO()
    cell = "a, b, c\n" * 1_000
    csv.writer(text).writerows([["a", "b", "c"], *[["1", cell, "x"]] * 100])
    rows, letters, _ = read(text.getvalue().encode(), Columns(names=("a", "b", "c")))
    assert (len(rows), letters) == (100, [])


def test_stray_quotes_cost_the_same_rows_in_a_large_block_that_is_cut(pipeline):
    lines = [event(number % 60) for number in range(2_000)]
    for number in (150, 160, 990, 1_400):
        lines[number] = event(number % 60, '"6 inch')
    body = gzip.compress(HEADER + b"".join(lines))
    pipeline.store.put(f"events/dt={DAY}/a.csv.gz", body)
    summary = pipeline.sized(100).run()
    assert (summary["items"], summary["dead_letters"]) == (2_000, 4)
    assert summary["batches"] > 5
    assert pipeline.verify().match
