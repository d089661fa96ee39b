import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.declare.template import TOKEN, TOKENS, WILDCARDS, Template

HOURLY = [
    "gh/{YYYY}-{MM}-{DD}-{H}",
    "gh/{YYYY}-{MM}-{DD}-{H}.json.gz",
    "raw/{YYYY}/{MM}/{DD}/{HH}/",
    "logs/year={YYYY}/month={MM}/day={DD}/h={HH}/",
    "cf/E123.{YYYY}-{MM}-{DD}-{HH}.{*}.gz",
    "alb/{**}/{YYYY}/{MM}/{DD}/{*}_{YYYY}{MM}{DD}T{HH}{*}.log.gz",
    "t/{epoch}/",
    "dt={partition}/",
    r"re:any/(?P<year>\d+)/(?P<month>\d+)/(?P<day>\d+)-(?P<hour>\d+)\.json",
]
DAILY = [
    *HOURLY[:-3],
    "events/dt={partition}/",
    "segment-logs/src/{epoch_ms}/",
    "logs/year={YYYY}/month={MM}/day={DD}/",
    r"re:any/(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)/.*",
]
LAYOUTS = [(text, "hour") for text in HOURLY] + [(text, "day") for text in DAILY]
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(
    lambda time: time.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
)


def key_at(template: Template, time: datetime, wild: str = "some") -> str:
    """Write a key by a template, as a producer would."""
    if template.text.startswith("re:"):
        hourly = template.every == "hour"
        return f"any/{time:%Y/%m/%d-%H}.json" if hourly else f"any/{time:%Y%m%d}/x/y"
    if "epoch" in template.text and template.every == "day":
        time = time.replace(hour=0)
    text = TOKEN.sub(
        lambda m: wild if m[1] in WILDCARDS else TOKENS[m[1]][1](time), template.token_text
    )
    return text + "a/b.json" * text.endswith("/")


@pytest.mark.parametrize(("text", "every"), LAYOUTS)
@given(time=TIMES, wild=st.text("ab1-.\n", max_size=9))
def test_a_key_lies_under_its_partitions_prefixes_and_is_owned_by_it_alone(text, every, time, wild):
    template = Template(text, every)
    key = key_at(template, time, wild)
    start = time.replace(hour=0) if every == "day" else time
    assert template.owns(key) == start
    assert key.startswith(template.root)
    assert sum(key.startswith(prefix) for prefix in template.prefixes(start)) == 1


@pytest.mark.parametrize(("text", "every"), LAYOUTS)
@given(time=TIMES, hours=st.integers(1, 50))
def test_keys_of_other_partitions_are_told_apart(text, every, time, hours):
    template = Template(text, every)
    other = time + timedelta(hours=hours if every == "hour" else 24 * hours)
    assert template.owns(key_at(template, other)) != template.owns(key_at(template, time))


@pytest.mark.parametrize(("text", "every"), LAYOUTS)
@given(time=TIMES, wild=st.text("ab_.", min_size=1, max_size=4))
def test_names_that_a_template_leaves_open_are_those_that_a_wildcard_begins(
    text, every, time, wild
):
    template = Template(text, every)
    names = template.free_names(key_at(template, time, wild))
    assert set(names) <= {"a", "b.json", "x", "y", wild, f"{wild}_{time:%Y%m%dT%H}{wild}.log.gz"}
    assert bool(names) == (text.endswith(("/", ".*")) or "/{*" in text)


def test_an_unpadded_hour_does_not_catch_the_hours_that_begin_with_it():
    template = Template("gh/{YYYY}-{MM}-{DD}-{H}.json.gz", "hour")
    (prefix,) = template.prefixes(datetime(2015, 1, 1, 1, tzinfo=UTC))
    assert prefix == "gh/2015-01-01-1.json.gz"
    assert not "gh/2015-01-01-10.json.gz".startswith(prefix)


@pytest.mark.parametrize("key", ["x/2015/13/01/", "raw/2015/13/01/00/a", "raw/2015/01/01/a", "raw"])
def test_a_key_with_an_impossible_time_or_another_shape_is_owned_by_none(key):
    assert Template("raw/{YYYY}/{MM}/{DD}/{HH}/", "hour").owns(key) is None


@pytest.mark.parametrize(
    ("text", "every", "says"),
    [
        ("events/", "day", "does not say the day, month, year"),
        ("{YYYY}/{MM}/{DD}/", "hour", "does not say the hour"),
        ("{YYYY}/{WW}/", "day", "{WW} is none of"),
        ("re:(?P<year>[", "day", "unterminated"),
        (r"re:(?P<year>\d+)/(?P<month>\d+)", "day", "does not say the day"),
        (r"re:a|b/(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)", "day", "put | in brackets"),
        ("{YYYY}-{MM}-{DD}-{H}{*}.gz", "hour", "{H}{*} is ambiguous"),
        ("{**}{epoch}/", "day", "{**}{epoch} is ambiguous"),
        ("{YYYY}/{MM}/{DD}/{HH}/{H}.gz", "hour", "both {H} and {HH}"),
        ("{YYYY}/{MM}/{DD}/{HH/", "day", "has no partner"),
    ],
)
def test_a_template_with_a_mistake_names_it(text, every, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Template(text, every)


DATE = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("s/{epoch_ms}/", "s/1420074000000/a"),  # 01:00, where days are at midnight
        ("s/{epoch}/", "s/01420070400/a"),
        ("r/{YYYY}/{MM}/{DD}/{epoch}/", "r/2015/01/01/1420156800/a"),
        ("events/dt={partition}/", "events/dt=0015-01-01/a"),
        ("events/dt={partition}/", "events/dt=\u0662\u0660\u0661\u0665-01-01/a"),
    ],
)
def test_a_key_that_no_partition_would_list_is_owned_by_none(text, key):
    assert Template(text, "day").owns(key) is None


def test_a_regex_whose_hour_is_left_out_owns_a_day_but_no_hour():
    text = f"re:a/{DATE}(-(?P<hour>\\d\\d))?"
    assert Template(text, "day").owns("a/20150101") == datetime(2015, 1, 1, tzinfo=UTC)
    assert Template(text, "hour").owns("a/20150101") is None


def test_a_regex_may_branch_in_brackets_and_is_listed_by_what_is_before():
    template = Template(rf"re:a/(x|y[|)])\|/{DATE}", "day")
    assert template.root == "a/"
    assert template.owns("a/x|/20150101") == datetime(2015, 1, 1, tzinfo=UTC)
