"""What chunks of profiles share while they are folded."""

import time

import pytest

from workers.folding import writing
from workers.folding.writing import each_chunk


def test_chunks_are_folded_in_their_order(monkeypatch):
    monkeypatch.setattr(writing, "CHUNK_PROFILES", 2)
    assert list(each_chunk(list("abcde"), "".join)) == ["ab", "cd", "e"]


def test_where_a_chunk_fails_the_ones_that_wait_are_not_begun(monkeypatch):
    monkeypatch.setattr(writing, "CHUNK_PROFILES", 1)
    begun = []

    def fold_chunk(profile_ids):
        begun.extend(profile_ids)
        time.sleep(0.001)
        raise ValueError(profile_ids)

    ids = [str(number) for number in range(1_000)]
    with pytest.raises(ValueError, match="0"):
        list(each_chunk(ids, fold_chunk))
    assert len(begun) < len(ids)
