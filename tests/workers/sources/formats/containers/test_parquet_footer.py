import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import Malformed
from workers.sources.formats.containers.parquet_footer import footer_bytes, read_footer


def parquet(rows=100, group_rows=30):
    file = io.BytesIO()
    topics = [["a", "b"], [], None, ["c"]] * (rows // 4)
    table = pa.table({"n": range(rows), "topics": topics, "deep": [{"a": {"b": [1]}}] * rows})
    pq.write_table(table, file, row_group_size=group_rows)
    return file.getvalue()


BODY = parquet()
LENGTH = footer_bytes(BODY[-8:], len(BODY))


def test_a_footer_says_where_row_groups_start_and_which_rows_they_hold():
    groups = read_footer(BODY[-LENGTH:], len(BODY))
    assert [(group.row, group.rows) for group in groups] == [(0, 30), (30, 30), (60, 30), (90, 10)]
    metadata = pq.ParquetFile(io.BytesIO(BODY)).metadata
    for number, group in enumerate(groups):
        column = metadata.row_group(number).column(0)
        assert group.start == (column.dictionary_page_offset or column.data_page_offset)


@given(offset=st.integers(0, LENGTH - 1), byte=st.integers(0, 255))
def test_a_damaged_footer_is_malformed_or_has_the_same_rows_in_rising_places(offset, byte):
    tail = bytearray(BODY[-LENGTH:])
    tail[offset] = byte
    try:
        groups = read_footer(bytes(tail), len(BODY))
    except Malformed:
        return
    starts = [group.start for group in groups]
    assert starts == sorted(set(starts))
    assert all(0 <= start < len(BODY) for start in starts)
    assert sum(group.rows for group in groups) == 100


@pytest.mark.parametrize("tail", [b"", b"\x15" * 40, b"\xff" * 4_000, b"\x1c" * 100_000])
def test_bytes_that_are_no_footer_are_malformed(tail):
    with pytest.raises(Malformed):
        read_footer(tail + bytes(8), 10**9)


@pytest.mark.parametrize("ending", [b"\xff\xff\xff\xffPAR1", b"\0\0\0\0PARE", b"PAR1"])
def test_an_ending_that_is_not_that_of_parquet_is_malformed(ending):
    with pytest.raises(Malformed):
        footer_bytes(ending, 1_000)
