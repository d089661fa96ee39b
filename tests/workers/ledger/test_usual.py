"""What counts as usual of a partition."""

from datetime import timedelta

import numpy as np
import pytest

from tests.proofs.usual import SERIES, numbers_of, partitions_of, simulated, try_series
from workers.ledger.usual import History

DAILY, HOURLY = SERIES[0], SERIES[5]


def numbers(days, series=DAILY):
    return list(simulated(series, days, np.random.default_rng(5)))


def with_items(each, items, series=DAILY):
    return numbers_of(series, each.partition, items, np.random.default_rng(6))


def unusual(history, here, series=DAILY):
    told = History(partitions_of(series), [*history, here]).unusual(here.partition)
    return [each.measure for each in told]


def test_ordinary_days_are_not_told_and_a_tenth_always_is():
    result = try_series(DAILY, 100, seed=11, altered_each=10)
    assert result.told <= 1
    assert result.found["tenth"] == result.altered


def test_an_hour_with_a_tenth_is_told_and_an_ordinary_one_is_not():
    *history, here = numbers(10, HOURLY)
    assert unusual(history, here, HOURLY) == []
    tenth = with_items(here, here.items // 10, HOURLY)
    assert "items" in unusual(history, tenth, HOURLY)


def test_a_sunday_with_half_of_a_monday_is_usual_where_all_sundays_have_it():
    *history, here = numbers(57)
    halved = [
        with_items(each, each.items // 2) if number % 7 == 0 else each
        for number, each in enumerate(history)
    ]
    assert unusual(halved, with_items(here, here.items // 2)) == []
    assert unusual(history, with_items(here, here.items // 3))


def test_a_new_level_is_usual_after_a_few_days():
    history = numbers(60)
    raised = [with_items(each, each.items * 5) for each in numbers(70)[60:]]
    told = []
    for number, here in enumerate(raised):
        told.append(bool(unusual([*history, *raised[:number]], here)))
    assert told[:2] == [True, True]
    assert told[4:] == [False] * 6


def test_with_less_than_ten_days_nothing_is_told():
    *history, here = numbers(10)
    assert unusual(history, with_items(here, 1)) == []


def test_later_days_are_history_too():
    here, *later = numbers(40)
    assert "items" in unusual(later, with_items(here, here.items // 10))


@pytest.mark.parametrize("measure", ["dead", "widest_gap"])
def test_fewer_dead_letters_and_narrower_gaps_are_no_trouble(measure):
    *history, here = numbers(40, SERIES[4])
    values = here.to_json() | {measure: 0}
    assert unusual(history, type(here).of(values), SERIES[4]) == []


def test_what_is_told_says_what_others_have():
    history = numbers(57)
    tenth = with_items(history[-1], history[-1].items // 10)
    told = History(partitions_of(DAILY), [*history[:-1], tenth]).unusual(tenth.partition)
    text = str(told[0])
    assert text.startswith(f"{tenth.items:,} items, where Mondays have ")
    assert told[0].low > tenth.items * 4


def test_constant_numbers_are_told_as_one():
    partitions = partitions_of(DAILY)
    first = numbers(1)[0]
    time = partitions.time(first.partition)
    days = [partitions.key(time + timedelta(number)) for number in range(57)]
    same = [type(first).of(first.to_json() | {"partition": day, "items": 900}) for day in days]
    few = type(first).of(same[-1].to_json() | {"items": 90})
    told = History(partitions, [*same[:-1], few]).unusual(days[-1])
    assert str(told[0]) == "90 items, where Mondays have 900"
