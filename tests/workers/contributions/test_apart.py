"""Contributions of several batches, told apart by the items that rows are about."""

from itertools import accumulate

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.contributions.apart import labelled, tell_apart
from workers.contributions.fields import Latest, Min, Sum, SumBy
from workers.contributions.results import Merger
from workers.declare.task import Task, rows
from workers.tasks.user_profiles import Event

FIELDS = {"n": Sum(), "by": SumBy(), "least": Min(float), "name": Latest(str), "sum": Sum(float)}
TEXTS = st.sampled_from(["a", "b", "é", ""])
ITEM = st.tuples(TEXTS, TEXTS, st.integers(-5, 5), st.floats(-9, 9))


def contributions(items):
    """Return contributions of some items, of several rows for some, and in another order."""
    positive = items[items["at"] > 0]
    twice = pd.concat([positive, items])
    return {
        "n": rows(items["user"]),
        "by": rows(twice["user"], twice["at"], key=twice["text"]),
        "least": rows(positive["user"], positive["real"]),
        "name": rows(items["user"], items["text"], at=items["at"]),
        "sum": rows(items["user"], items["real"]),
    }


TASK = Task(item=Event, fields=FIELDS, contributions=contributions)


def frame_of(items):
    columns = ["user", "text", "at", "real"]
    frame = pd.DataFrame(items, columns=columns)
    return frame.astype({"user": "str", "text": "str", "at": "int64", "real": "float64"})


@settings(deadline=None)
@given(st.lists(st.lists(ITEM, min_size=1, max_size=6), min_size=1, max_size=5))
def test_each_batch_has_the_result_that_it_has_alone(batches):
    together = frame_of([item for batch in batches for item in batch])
    ends = list(accumulate(map(len, batches)))
    parts = tell_apart(TASK.contribute(labelled(together)), FIELDS, ends)

    for batch, own in zip(batches, parts, strict=True):
        apart = Merger(FIELDS)
        apart.add_parts(own)
        alone = Merger(FIELDS)
        alone.add(TASK.contribute(frame_of(batch)))
        assert apart.table().equals(alone.table())


def test_rows_with_an_index_of_their_own_cannot_be_told_apart():
    items = labelled(frame_of([("a", "x", 1, 1.0), ("b", "y", 2, 2.0)]))
    by_user = items.groupby("user")["at"].sum()
    numbered = by_user.reset_index()
    for frame in (rows(by_user.index.to_series(), by_user), rows(numbered["user"], numbered["at"])):
        assert tell_apart({"n": frame.astype({"profile": "str"})}, FIELDS, [1, 2]) is None
