"""W3C's extended log format, as IIS and CloudFront write it."""

import gzip

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import DAY
from workers.declare import Time
from workers.errors import Malformed
from workers.sources.formats.format import format_of
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import BOM, split_lines
from workers.sources.formats.w3c import is_fields_line, w3c_rows
from workers.sources.items import ItemReader
from workers.values import Place

HIT = Columns(names=("timestamp", "c_ip", "sc_status"), required=frozenset({"c_ip"}))
IIS = (
    b"#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n"
    b"#Date: 2026-01-31 12:00:00\r\n"
    b"#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip "
    b"cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken\r\n"
    b"2026-01-31 12:00:01 10.0.0.1 GET /a - 443 - 192.0.2.7 Mozilla/5.0+(Windows) - 200 0 0 15\r\n"
)
CLOUDFRONT = (
    b"#Version: 1.0\n#Fields: date time x-edge-location c-ip cs(Host) sc-status cs(User-Agent)\n"
    b"2026-01-31\t12:00:01\tFRA2\t192.0.2.7\td1.cloudfront.net\t200\tMozilla/5.0%20(X)\n"
    b"2026-01-31\t12:00:02\tFRA2\t2001:db8::1\t-\t304\t-\n"
)


def runs(body, declared="w3c", columns=HIT, offset=0, header=None):
    lines = split_lines(iter([body]), 0, None)
    return list(w3c_rows(lines, format_of("a.log", declared), columns, offset, header))


def rows(body, **options):
    return [row for run in runs(body, **options) for row in run.rows]


def broken(body, **options):
    with pytest.raises(Malformed) as raised:
        runs(body, **options)
    return raised.value


class Hit(msgspec.Struct, rename={"agent": "cs(User-Agent)"}):
    timestamp: Time
    c_ip: str
    sc_status: int
    agent: str = ""


@pytest.mark.parametrize("body", [IIS, BOM + IIS, CLOUDFRONT])
def test_rows_are_read_by_the_names_in_fields(body):
    reader = ItemReader(Hit)
    (run,) = runs(body, columns=reader.columns)
    _, items, _ = reader.items(run, pytest.fail)
    hit = items[0]
    assert (hit.timestamp, hit.c_ip, hit.sc_status) == (1769860801000, "192.0.2.7", 200)
    assert hit.agent.startswith("Mozilla/5.0")
    assert body[run.positions[0] :].startswith(run.raw(0))


def test_a_hyphen_is_a_missing_value():
    assert rows(CLOUDFRONT)[1]["cs_host"] == ""


def test_fields_may_come_again_with_other_columns():
    again = b"#Date: 2026-01-31 13:00:00\r\n#Fields: time c-ip date\r\n"
    again += b"13:00:01 192.0.2.8 2026-01-31\r\n"
    assert [row["timestamp"] for row in rows(IIS + again)] == [
        "2026-01-31T12:00:01Z",
        "2026-01-31T13:00:01Z",
    ]


def test_fields_that_come_again_without_a_column_that_is_needed_are_all_of_the_rest():
    error = broken(IIS + b"#Fields: date time\n2026-01-31 13:00:01\n" + IIS)
    assert error.place == Place.rest(len(IIS))
    assert "no column `c_ip`" in error.reason


def test_fields_that_do_not_fit_are_the_whole_block():
    assert broken(b"#Version: 1.0\n#Fields: date time\n").place == Place.rest(0)


def test_rows_before_fields_are_the_whole_block():
    error = broken(b"#Version: 1.0\n2026-01-31 12:00:01 192.0.2.7\n")
    assert error.place == Place.rest(0)
    assert 'format="w3c columns=..."' in error.reason
    assert rows(b"12:00:01 192.0.2.7\n", declared="w3c columns=time,c-ip") == [
        {"time": "12:00:01", "c_ip": "192.0.2.7", "timestamp": ""}
    ]


def test_a_segment_begins_with_a_fields_line_of_its_block():
    header = b"#Fields: date time c-ip sc-status"
    (run,) = runs(header + b"\n2026-01-31 12:00:01 h 200\n", offset=1000 - len(header) - 1)
    assert run.positions == [1000]
    (run,) = runs(b"2026-01-31 12:00:01 h 200\n", offset=1000, header=header)
    assert (run.positions, run.rows[0]["c_ip"]) == ([1000], "h")
    assert is_fields_line(header)
    assert is_fields_line(b"#fields:a\tb\r")
    assert not is_fields_line(b"#Version: 1.0")


def test_a_row_of_another_length_is_a_reason():
    body = b'#Fields: c-ip cs-x\n1 2 3\n1 "2 3"\n1 "a ""b"" c"\n\xff 2\n1\t2 3\n\n'
    assert rows(body) == [
        "the row has 3 values and #Fields 2 names",
        {"c_ip": "1", "cs_x": "2 3", "timestamp": ""},
        {"c_ip": "1", "cs_x": 'a "b" c', "timestamp": ""},
        "invalid UTF-8: invalid start byte",
        {"c_ip": "1", "cs_x": "2 3", "timestamp": ""},
    ]


def test_a_field_of_the_item_that_is_absent_is_said_once():
    assert [run.warnings for run in runs(b"#Fields: c-ip\n1\n" * 2)] == [
        ("no column `timestamp`, `sc_status`: each item has the default there",)
    ]


def test_two_fields_that_python_would_name_alike_are_refused_where_the_item_wants_one():
    columns = Columns(names=("cs_host",))
    assert (
        "`cs_host` is there 2 times"
        in broken(b"#Fields: cs-host cs(Host)\n", columns=columns).reason
    )
    assert rows(b"#Fields: cs-host cs(Host) c-ip\n1 2 3\n")[0]["c_ip"] == "3"


def test_a_large_log_whose_columns_change_is_cut_into_segments_with_their_own_fields(pipeline):
    early = "".join(f"u{n % 9} like {891388800 + n}\n" for n in range(900))
    late = "".join(f"{891388800 + n}\tview\tu{n % 9}\n" for n in range(900))
    body = f"#Version: 1.0\n#Fields: user action ts\n{early}#Fields: ts action user\n{late}"
    pipeline.store.put(f"events/dt={DAY}/a.log.gz", gzip.compress(body.encode()))
    summary = pipeline.sized(100).run()
    assert (summary["items_used"], summary["dead_letters"]) == (1_800, 0)
    assert summary["batches"] > 5
    assert pipeline.profile("u3")["events"] == 200
    assert pipeline.verify().match


@given(lines=st.lists(st.text(st.sampled_from('#Fields: -"\tac'), max_size=20), max_size=20))
def test_any_lines_are_rows_reasons_or_an_error_with_a_place(lines):
    body = b"#Fields: c-ip\n" + "\n".join(lines).encode()
    read = []
    is_whole = True
    try:
        for run in w3c_rows(split_lines(iter([body]), 0, None), format_of("a", "w3c"), HIT, 0):
            read += run.rows
    except Malformed as error:
        is_whole = error.place is None
    items = [line for line in lines if line.strip() and not line.startswith("#")]
    assert len(read) == len(items) if is_whole else len(read) <= len(items)
