"""The handler of AWS Lambda, called as Lambda does."""

import os
import signal
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import event
from workers import on_lambda, steps
from workers.dealt import ShareReference
from workers.errors import Unavailable
from workers.on_lambda import TimeLeft, handler

DAYS = ["1998-04-01", "1998-04-02", "1998-04-03"]


class Context:
    def __init__(self, *millis):
        self._millis = iter(millis)

    def get_remaining_time_in_millis(self):
        return next(self._millis, 900_000)


@pytest.fixture
def share(pipeline, monkeypatch):
    """A share of three batches, none of which is small."""
    monkeypatch.setattr("workers.share.SMALL_BATCH_BYTES", -1)
    for day in DAYS:
        pipeline.put([event("ann"), event(f"user of {day}")], day)
    sized = pipeline.sized(2, max_workers=1)
    listed = sized.list_blocks(*DAYS)
    sliced = [steps.slice_blocks(*sized.four, group) for group in listed.groups]
    (share,) = steps.queue_batches(*sized.four, "a-run", listed, sliced, 1).shares
    return share


def an_event():
    return ShareReference(run="a-run").to_json()


def states(pipeline, share):
    batches = pipeline.ledger.batches_by_id(share)
    return [str(batches[batch_id].state) for batch_id in share]


def test_an_invocation_runs_a_share_to_its_end(pipeline, share):
    assert handler(an_event(), Context()) == {"exit": 0, "left": 0, "error": ""}
    assert states(pipeline, share) == ["done"] * 3


def test_an_invocation_ends_before_its_time_and_the_next_one_goes_on(pipeline, share):
    ended = handler(an_event(), Context(900_000, 900_000, 1_000))
    assert ended == {"exit": 1, "left": 1, "error": ""}
    assert states(pipeline, share) == ["done", "done", "planned"]
    assert handler(an_event(), Context())["left"] == 0


def test_an_error_of_ours_is_in_the_answer(pipeline, share, monkeypatch):
    assert handler(an_event() | {"number": 7}, Context())["exit"] == 2
    event = an_event() | {"is_last": False}

    def away(*args):
        raise Unavailable("S3 is away")

    monkeypatch.setattr("workers.share.run_begun", away)
    assert handler(event, Context()) == {"exit": 1, "left": None, "error": "S3 is away"}


def test_an_invocation_that_is_asked_to_stop_ends(pipeline, share, monkeypatch):
    monkeypatch.setattr("workers.ledger.heartbeat.BEAT_SECONDS", 0.05)
    event = an_event()

    def slow(*args):
        pipeline.ledger.workers.ask_to_stop(event["worker"])
        time.sleep(30)

    monkeypatch.setattr("workers.share.run_begun", slow)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler, os.getpid()
    assert handler(event, Context())["exit"] == 130
    assert pipeline.ledger.workers.get(event["worker"]).ended


@given(batches=st.lists(st.floats(0, 600), max_size=20), limit=st.floats(0, 900))
def test_a_batch_is_begun_only_where_half_as_much_again_as_the_longest_would_fit(batches, limit):
    now = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_lambda, "time", SimpleNamespace(monotonic=lambda: now))
        left = TimeLeft(lambda: round(1000 * (limit - now)))
        longest = 0.0
        for seconds in batches:
            if not left.suffices():
                break
            assert limit - now > 1.5 * longest + on_lambda.END_SECONDS - 0.01
            now += seconds
            longest = max(longest, seconds)
