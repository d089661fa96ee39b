"""Values of profiles, as people read them."""

from datetime import UTC, datetime

import pytest

from pipelines.cli.readable import cut, field_lines, text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (1234567.5, "1,234,567.5"),
        (2.0, "2"),
        (0.0, "0"),
        (0.33045148, "0.3305"),
        (float("inf"), "inf"),
        (True, "yes"),
        (None, "-"),
        ({}, "-"),
        ({"a": 1, "b%2Ec": 20}, "b.c 20, a 1"),
        (["American President, The", "Alien"], "American President, The; Alien"),
        ([{"topic": "War", "weight": 0.25}], "topic War, weight 0.25"),
        (list(range(12)), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9 and 2 more"),
        (datetime(1998, 4, 1, 12, tzinfo=UTC), "1998-04-01 12:00:00"),
    ],
)
def test_a_value_is_written_as_people_read_it(value, text):
    assert text_of(value) == text


def test_a_field_whose_words_are_longer_than_a_line_stays_within_80_columns():
    lines = list(field_lines({"a" * 90: "b" * 200, "c": "d " * 100}))
    assert max(map(len, lines)) <= 80


def test_a_text_that_is_cut_says_so_and_is_one_line():
    assert cut("one\ntwo three", 10) == "one two..."
