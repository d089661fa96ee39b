"""What a scan leaves to the next one, and what was missed while nobody scanned."""

from datetime import timedelta

import pytest

from tests.support.pipeline import DAY, event
from tests.support.watching import NOON, Scanner, days


def test_partitions_missed_while_nobody_scanned_are_asked_for_newest_first(pipeline, scanner):
    scanner.scan()
    missed = ["1998-04-04", "1998-04-05", "1998-04-06"]
    for day in missed:
        pipeline.put([event()], day)
    assert scanner.scan(NOON + timedelta(days=3)) == missed[::-1]
    assert scanner.scan(NOON + timedelta(days=3)) == []


def test_after_more_than_a_window_without_scans_all_that_landed_is_found(pipeline, scanner):
    scanner.scan()
    late, missed = "1998-03-28", days("1998-04-04", "1998-04-08")
    for day in (late, *missed):
        pipeline.put([event()], day)
    assert scanner.scan(NOON + timedelta(days=40)) == [*missed[::-1], late]
    pipeline.put([event("bo")], "1998-04-05", "late.jsonl")
    assert scanner.scan(NOON + timedelta(days=40)) == []


def test_a_scan_goes_back_ten_windows_at_most_and_says_what_it_left_out(pipeline):
    scanner = Scanner(pipeline, look_back_partitions=1)
    scanner.scan()
    for day in (DAY, "1998-04-13"):
        pipeline.put([event()], day)
    assert scanner.scan(NOON + timedelta(days=20)) == ["1998-04-13"]
    (warning,) = scanner.last.warnings
    assert "`fanfold run user_profiles --partitions 1998-04-02...1998-04-12`" in warning
    scanner.scan(NOON + timedelta(days=20))
    assert scanner.last.warnings == []


def test_a_tick_asks_for_so_many_runs_and_the_next_ones_for_the_rest(pipeline):
    scanner = Scanner(pipeline, requests_per_tick=3)
    missed = days("1998-03-27", "1998-04-03")
    for day in missed:
        pipeline.put([event()], day)
    later = NOON + timedelta(days=1)
    asked = [scanner.scan(NOON), scanner.scan(later), scanner.scan(later), scanner.scan(later)]
    newest = missed[::-1]
    assert asked == [newest[:3], newest[3:6], newest[6:], []]


def test_a_scan_goes_through_so_many_partitions_and_the_next_one_through_the_rest(
    pipeline, monkeypatch
):
    monkeypatch.setattr("workers.watching.changes.MORE_PARTITIONS", 0)
    scanner = Scanner(pipeline)
    scanner.scan()
    for day in (DAY, "1998-04-20"):
        pipeline.put([event()], day)
    later = NOON + timedelta(days=20)
    assert [scanner.scan(later) for _ in range(4)] == [["1998-04-20"], [], [], [DAY]]


def test_a_scan_that_takes_too_long_leaves_the_rest_to_the_next_one_and_all_get_their_turn(
    pipeline, scanner, monkeypatch
):
    monkeypatch.setattr("workers.watching.changes.SCAN_SECONDS", 0)
    newest = "1998-04-03"
    for day in ("1998-03-28", newest):
        pipeline.put([event()], day)
    asked = [scanner.scan() for _ in range(8)]
    assert asked == [[newest], [], [], [], ["1998-03-28"], [], [], []]
    pipeline.run("1998-03-28")
    pipeline.put([event("bo")], "1998-03-28", "late.jsonl")
    assert [scanner.scan() for _ in range(3)] == [[], [], ["1998-03-28"]]


def test_a_scan_that_goes_on_with_old_partitions_looks_at_the_newest_too(pipeline):
    scanner = Scanner(pipeline, requests_per_tick=2)
    old = days("1998-03-27", "1998-03-30")
    for day in old:
        pipeline.put([event()], day)
    assert scanner.scan() == [old[3], old[2]]
    pipeline.put([event()], "1998-04-03")
    assert scanner.scan() == ["1998-04-03", old[1]]
    assert scanner.scan() == [old[0]]


def test_partitions_whose_runs_fail_before_they_plan_do_not_keep_others_waiting(pipeline):
    scanner = Scanner(pipeline, requests_per_tick=2)
    failing = days("1998-03-27", "1998-03-30")
    for day in (*failing, DAY):
        pipeline.put([event()], day)
    asked = [scanner.scan() for _ in range(6)]
    assert asked == [[DAY, failing[3]], [failing[2], failing[1]], [failing[0]], [], [], []]
    pipeline.put([event("bo")], failing[0], "more.jsonl")
    assert scanner.scan() == [failing[0]]


@pytest.mark.parametrize("text", ["", "{", "1998-04-03", '{"first": "1998-04-01-00:00"}', "[1]"])
def test_a_cursor_that_cannot_be_read_starts_anew(pipeline, scanner, text):
    pipeline.put([event()])
    scanner.cursor = text
    assert scanner.scan() == [DAY]
