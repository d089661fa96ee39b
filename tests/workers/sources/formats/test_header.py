import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import Malformed
from workers.sources.formats.header import Columns, check_header
from workers.values import Place

EVENT = Columns(names=("user", "ts", "item", "topics"), required=frozenset({"user", "ts"}))


def refusal(present, columns=EVENT):
    """Return why a header is refused; the place is always the whole block."""
    with pytest.raises(Malformed) as raised:
        check_header(present, columns)
    assert raised.value.place == Place.rest(0)
    return raised.value.reason


def test_a_header_with_all_columns_and_others_is_no_trouble():
    assert check_header(["x", "topics", "item", "ts", "user", "x", "Item"], EVENT) == ()


@pytest.mark.parametrize("name", ["user", "item"])
def test_a_header_with_a_wanted_name_twice_is_refused_by_name(name):
    assert f"the column `{name}` is there 2 times" in refusal(["user", "ts", "item", name])


def test_a_name_that_no_item_wants_may_be_there_twice():
    assert check_header(["user", "ts", "item", "topics", "x", "x"], EVENT) == ()


@pytest.mark.parametrize("other", ["Item", " item", "ITEM ", "\ufeffitem", "'item'"])
def test_a_name_that_differs_in_case_or_blanks_is_refused_with_both_names(other):
    reason = refusal(["user", "ts", other])
    assert f"`{other}`" in reason
    assert "`item`" in reason
    assert f'rename={{"item": "{other}"}}' in reason


def test_a_required_column_that_is_absent_is_named_with_those_that_are_there():
    reason = refusal(["user", "item"])
    assert reason.startswith("no column `ts`")
    assert "there is `user`, `item`" in reason


def test_an_optional_column_that_is_absent_is_a_warning():
    assert check_header(["user", "ts"], EVENT) == (
        "no column `item`, `topics`: each item has the default there",
    )


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("user;ts;item", ";"), ("user\tts\titem", "tab"), ("user|ts|item", "|"), ("user,ts", ",")],
)
def test_a_header_of_one_column_is_asked_for_its_delimiter(header, delimiter):
    assert f'format="csv delimiter={delimiter}"' in refusal([header])


def test_a_header_that_looks_like_values_is_asked_for_the_names():
    assert 'format="csv columns=..."' in refusal(["ann", "2026-01-31", "Alien"])


def test_a_block_with_none_of_the_columns_is_refused_though_all_are_optional():
    columns = Columns(names=("item", "topics"))
    assert "no column `item`, `topics`" in refusal(["ann", "like"], columns)
    assert check_header(["item"], columns)


@given(
    present=st.lists(st.text(max_size=300), max_size=40),
    names=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=12, unique=True),
)
def test_every_wanted_column_is_there_once_or_spoken_of(present, names):
    columns = Columns(names=tuple(names), required=frozenset(names[:2]))
    try:
        warnings = check_header(present, columns)
    except Malformed as error:
        is_refused = error.place == Place.rest(0) and len(error.reason) < 800
    else:
        absent = [name for name in names if present.count(name) != 1]
        assert bool(warnings) == bool(absent)
        assert not set(absent) & columns.required
        return
    assert is_refused
