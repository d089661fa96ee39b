"""One profile's rows of a result, read from as little of it as may hold them."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.contributions.accumulators import read_profile
from workers.contributions.results import Merger, to_parquet
from workers.contributions.tables import TEXTS
from workers.declare import Sum, rows


class Counting(io.BytesIO):
    """A file that knows how much of it was read."""

    bytes_read = 0

    def read(self, size=-1, /):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


@pytest.fixture(scope="module")
def result():
    """A result of many profiles, in several row groups."""
    field = Sum()
    ids = pd.Series([f"user {number * 7919}" for number in range(60_000)], dtype="str")
    merger = Merger({"events": field})
    merger.add({"events": field.checked(rows(ids), "events")})
    return to_parquet(merger.table())


@pytest.mark.parametrize(("profile_id", "count"), [("user 7919", 1), ("user 7920", 0), ("", 0)])
def test_of_a_large_result_only_what_may_hold_a_profile_is_read(result, profile_id, count):
    file = Counting(result)
    opened = pq.ParquetFile(pa.PythonFile(file, mode="r"), read_dictionary=TEXTS)
    table = read_profile(opened, profile_id)
    assert table.num_rows == count
    assert set(table["profile"].to_pylist()) <= {profile_id}
    assert file.bytes_read < len(result) * 0.6
