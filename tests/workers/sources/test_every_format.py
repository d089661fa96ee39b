"""One suite over every format and compression: the same items, the same profiles."""

import bz2
import csv
import gzip
import io
import json
import lzma

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.compressed import framed_snappy, hadoop_snappy, lz4_frame
from tests.support.containers import arrow_body, avro_body, avro_schema, orc_body
from tests.support.pipeline import DAY, event
from workers.declare import Tolerance
from workers.errors import Refused
from workers.sources.segments import SEGMENTS_PREFIX

DAWN = 891388800  # 1998-04-01 in epoch seconds
ITEMS = [
    event(
        f"user{n % 37}",
        ("view", "like", "dislike")[n % 3],
        DAWN + n,
        item=f"film, the {n % 50}th\n“quoted”",
        topics=[f"t{n % 5}", "common"],
    )
    for n in range(3_000)
]
AVRO_SCHEMA = avro_schema(
    user="string",
    action="string",
    ts="long",
    item="string",
    topics={"type": "array", "items": "string"},
)
HEADER = ["user", "action", "ts", "item", "topics", "unused"]
COMPRESS = {
    "": lambda body: body,
    ".gz": lambda body: (
        gzip.compress(body[: len(body) // 2]) + gzip.compress(body[len(body) // 2 :])
    ),
    ".zst": lambda body: pa.compress(body, "zstd", asbytes=True),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lz4": lz4_frame,
    ".sz": framed_snappy,
    ".snappy": hadoop_snappy,
}


def as_json(items):
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def as_values(items):
    """Return items as Firehose writes them: behind one another, with nothing between."""
    return "".join(json.dumps(item) for item in items).encode()


def as_array(items):
    return json.dumps(items, ensure_ascii=False).encode()


def as_indented(items):
    return "\n".join(json.dumps(item, indent=2) for item in items).encode()


def as_utf16(items):
    return as_json(items).decode().encode("utf-16")


def as_csv(items):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for item in items:
        topics = "|".join(item["topics"])
        writer.writerow([item["user"], item["action"], item["ts"], item["item"], topics, "x"])
    return text.getvalue().encode()


def as_parquet(items):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(items), file, row_group_size=400)
    return file.getvalue()


LAYOUTS = [(".jsonl", end) for end in COMPRESS] + [(".csv", end) for end in COMPRESS]
LAYOUTS += [(".parquet", ""), (".orc", ""), (".avro", ""), (".arrow", "")]
LAYOUTS += [(".utf16.jsonl", ""), (".UTF16.JSONL", ".GZ")]
LAYOUTS += [(kind, end) for kind in (".values", ".array", ".indented") for end in ("", ".gz")]
WRITE = {
    ".jsonl": as_json,
    ".csv": as_csv,
    ".parquet": as_parquet,
    ".orc": lambda items: orc_body(pa.Table.from_pylist(items), batch_size=400),
    ".avro": lambda items: avro_body(AVRO_SCHEMA, items, "deflate"),
    ".arrow": lambda items: arrow_body(pa.Table.from_pylist(items), 400),
    ".values": as_values,
    ".array": as_array,
    ".indented": as_indented,
    ".utf16.jsonl": as_utf16,
    ".UTF16.JSONL": as_utf16,
}
COMPRESS[".GZ"] = COMPRESS[".gz"]


@pytest.fixture(params=LAYOUTS, ids="".join)
def write(request):
    """Write items in one of the layouts; return the key's suffix and the bytes."""
    kind, end = request.param
    return lambda items: (kind + end, COMPRESS[end](WRITE[kind](items)))


def put(pipeline, name, block):
    suffix, body = block
    pipeline.store.put(f"events/dt={DAY}/{name}{suffix}", body)


@pytest.fixture(scope="module")
def digests():
    """Return the digests of the same items in every layout."""
    return set()


@pytest.mark.parametrize("blocks", ["one block", "small batches", "many blocks"])
def test_every_layout_gives_the_same_profiles(pipeline, write, digests, blocks):
    if blocks == "many blocks":
        for number in range(20):
            put(pipeline, f"{number:02}", write(ITEMS[number * 150 : (number + 1) * 150]))
    else:
        put(pipeline, "all", write(ITEMS))
    summary = (pipeline.sized(300) if blocks == "small batches" else pipeline).run()
    assert (summary["items"], summary["items_used"]) == (3_000, 3_000)
    assert summary["batches"] == 1 if blocks != "small batches" else summary["batches"] >= 7
    verdict = pipeline.verify()
    assert verdict.match
    digests.add(verdict.digest)
    assert len(digests) == 1


def test_a_range_of_any_layout_is_read_the_same_way_twice(pipeline, write):
    put(pipeline, "all", write(ITEMS[:500]))
    first = pipeline.sized(100).plan()
    assert pipeline.sized(100).plan().plans[0].batches == first.plans[0].batches


# Plain text that breaks off only has a shorter last line.
BREAKABLE = [layout for layout in LAYOUTS if layout not in {(".jsonl", ""), (".csv", "")}]


@pytest.mark.parametrize("write", BREAKABLE, ids="".join, indirect=True)
def test_a_block_that_breaks_off_counts_what_could_be_read(pipeline, write):
    suffix, body = write(ITEMS)
    pipeline.asset = msgspec.structs.replace(pipeline.asset, tolerance=Tolerance(count=1))
    put(pipeline, "all", (suffix, body[: len(body) * 2 // 3]))
    with pytest.raises(Refused, match=f"Not read: events/dt={DAY}/all{suffix}, byte"):
        pipeline.run()
    assert pipeline.give_up_rests() == 1
    summary = pipeline.run()
    assert summary["dead_letters"] == 1
    assert summary["items_used"] < 3_000
    assert "end" in pipeline.letters()[0]["place"]
    assert pipeline.verify().match


def test_a_large_compressed_block_that_breaks_off_is_cut_into_segments_up_to_there(pipeline):
    body = gzip.compress(as_json(ITEMS))
    put(pipeline, "all", (".jsonl.gz", body[: len(body) * 2 // 3]))
    small = pipeline.sized(200)
    with pytest.raises(Refused, match="the gzip stream breaks off"):
        small.run()
    small.give_up_rests()
    summary = small.run()
    assert summary["batches"] > 3
    assert summary["dead_letters"] == 1
    assert summary["items_used"] > 500
    assert pipeline.verify().match


def test_segments_are_written_once_and_again_when_they_are_gone_and_needed(pipeline):
    put(pipeline, "all", (".jsonl.gz", gzip.compress(as_json(ITEMS))))
    small = pipeline.sized(300)
    first = small.plan()

    def segments():
        return [block.key for block in pipeline.store.list(SEGMENTS_PREFIX)]

    written = segments()
    assert len(written) > 10
    pipeline.database["plans"].drop()
    assert small.plan().to_run.keys() == first.to_run.keys()
    assert segments() == written
    for key in written:
        pipeline.remove(key)
    small.run()
    assert segments() == written
    assert pipeline.verify().match


# Bad input, each with its defined result


def run(pipeline, name, body):
    """Run a partition of one block; return the summary and what the dead letters say."""
    pipeline.store.put(f"events/dt={DAY}/{name}", body)
    summary = pipeline.run()
    assert summary["items"] == summary["items_used"] + summary["dead_letters"]
    assert pipeline.verify().match
    return summary, [letter["reason"] for letter in pipeline.letters()]


GOOD = json.dumps(event()).encode()
ROW = b"ann,like,891388800\n"


def test_a_line_of_a_hundred_megabytes_is_one_dead_letter(pipeline):
    long = b'{"user":"' + b"x" * (100 << 20) + b'"}'
    summary, reasons = run(pipeline, "a.jsonl", GOOD + b"\n" + long + b"\n" + GOOD + b"\n")
    assert (summary["items_used"], reasons) == (2, ["the line is too long for an item"])
    assert pipeline.letters()[0]["place"] == f"byte {len(GOOD) + 1}"


@pytest.mark.parametrize(
    ("body", "used", "why"),
    [
        (b"\xef\xbb\xbf" + GOOD, 1, None),
        (GOOD + b"\r\n" + GOOD + b"\r\n", 2, None),
        (b"\n\n" + GOOD + b"\n \n", 1, None),
        (GOOD + b"\n\0\n" + GOOD, 2, "malformed"),
        (GOOD + b'\n{"user":"\xff"}\n', 1, "invalid UTF-8"),
    ],
    ids=["BOM", "CRLF", "blank lines", "NUL", "invalid UTF-8"],
)
def test_odd_json_lines_have_a_defined_result(pipeline, body, used, why):
    summary, reasons = run(pipeline, "a.jsonl", body)
    assert summary["items_used"] == used
    assert (why is None and not reasons) or why in reasons[0]


@pytest.mark.parametrize(
    ("body", "used", "why"),
    [
        (b"\xef\xbb\xbfuser,action,ts\n" + ROW, 1, None),
        (b"user,action,ts\r\nann,like,891388800\r\n", 1, None),
        (b"user,action,ts\n\n" + ROW + b"\n", 1, None),
        (b"user,action,ts\n" + ROW + b"ann,like\n", 1, "the row has 2 cells and the header 3"),
        (b"user,action,ts\n" + ROW + b",like,891388800\n", 1, "missing required field `user`"),
        (b"user,action,ts\n" + ROW + b"\xff,like,891388800\n", 1, "invalid UTF-8"),
        (b'user,action,ts\n"a"b,like,1\n' + ROW, 1, "cell 1 goes on behind its closing quote"),
        (b"user,action,ts\nann,like,1998-04-01T00:00:00Z\n", 1, None),
        (b"user,action,ts\na\0nn,like,891388800\n", 1, None),
        (b"user,action,ts\n", 0, None),
    ],
    ids=lambda value: "",
)
def test_odd_csv_has_a_defined_result(pipeline, body, used, why):
    summary, reasons = run(pipeline, "a.csv", body)
    assert summary["items_used"] == used
    assert (why is None and not reasons) or why in reasons[0]


def test_csv_with_a_missing_column_is_not_read_and_says_which(pipeline):
    with pytest.raises(Refused, match="no column `ts`"):
        run(pipeline, "a.csv", b"user,action\nann,like\n")


def test_csv_blocks_whose_headers_differ_are_read_by_their_own(pipeline):
    pipeline.store.put(f"events/dt={DAY}/a.csv", b"user,action,ts\nann,like,891388800\n")
    summary, _ = run(pipeline, "b.csv", b"ts,extra,user,action\n891388800,x,ann,like\n")
    assert summary["items_used"] == 2
    assert pipeline.profile("ann")["events"] == 2


def test_csv_declared_without_newlines_is_cut_like_lines_by_its_declared_delimiter(pipeline):
    pipeline.asset = msgspec.structs.replace(pipeline.asset, format="csv delimiter=; multiline=no")
    body = b"user;action;ts\n" + b"".join(b"user%d;like;891388800\n" % n for n in range(2_000))
    pipeline.store.put(f"events/dt={DAY}/a.txt", body)
    summary = pipeline.sized(300).run()
    assert summary["batches"] >= 6
    assert summary["items_used"] == 2_000
    assert pipeline.verify().match


def test_parquet_with_a_missing_column_is_not_read_and_says_which(pipeline):
    file = io.BytesIO()
    pq.write_table(pa.table({"user": ["ann"], "action": ["like"]}), file)
    with pytest.raises(Refused, match="no column `ts`"):
        run(pipeline, "a.parquet", file.getvalue())
    assert pipeline.letters()[0]["place"] == "byte 0 to the end"


def test_parquet_with_timestamps_is_read_as_times(pipeline):
    file = io.BytesIO()
    times = pa.array([891388800123], pa.timestamp("ms", "UTC"))
    pq.write_table(pa.table({"user": ["ann"], "action": ["like"], "ts": times}), file)
    run(pipeline, "a.parquet", file.getvalue())
    assert pipeline.profile("ann")["first_seen"].isoformat() == "1998-04-01T00:00:00.123000+00:00"


def test_a_block_that_only_calls_itself_parquet_is_not_read(pipeline):
    with pytest.raises(Refused, match="its suffix says Parquet, and it is not"):
        run(pipeline, "a.parquet", b"not at all")


def test_a_damaged_row_group_costs_its_own_rows_and_however_it_is_cut(pipeline):
    file = io.BytesIO()
    table = pa.table(
        {"user": ["ann"] * 400, "action": ["like"] * 400, "ts": range(DAWN, DAWN + 400)}
    )
    pq.write_table(table, file, row_group_size=100, compression="none", use_dictionary=False)
    body = bytearray(file.getvalue())
    offset = body.index(b"\x03\0\0\0ann", len(body) // 4)
    body[offset : offset + 4] = b"\xff\xff\xff\x7f"  # a length that no page has
    pipeline.asset = msgspec.structs.replace(
        pipeline.asset, tolerance=Tolerance(count=100, rate=0.01)
    )
    for small in (pipeline, pipeline.sized(50)):
        summary, reasons = run(small, "a.parquet", bytes(body))
        assert (summary["items_used"], len(reasons)) == (300, 100)
        assert "the row group is damaged" in reasons[0]


def test_parquet_values_that_python_does_not_have_are_dead_letters_by_themselves(pipeline):
    file = io.BytesIO()
    times = pa.array([0, 2**62, 1], pa.timestamp("us"))
    pq.write_table(pa.table({"user": ["ann"] * 3, "action": ["like"] * 3, "ts": times}), file)
    summary, reasons = run(pipeline, "a.parquet", file.getvalue())
    assert summary["items_used"] == 2
    assert "out of range" in reasons[0]


def test_a_footer_that_makes_arrow_end_the_process_when_asked_does_no_such_thing(pipeline):
    file = io.BytesIO()
    pq.write_table(pa.table({"user": ["ann"] * 3, "action": ["like"] * 3, "ts": [DAWN] * 3}), file)
    optional, required = b"\x25\x02\x18\x04user", b"\x25\x00\x18\x04user"
    assert optional in file.getvalue()
    pipeline.asset = msgspec.structs.replace(pipeline.asset, tolerance=Tolerance(rate=1.0))
    with pytest.raises(Refused, match="not one item could be used"):
        run(pipeline, "a.parquet", file.getvalue().replace(optional, required))
    assert len(pipeline.letters()) == 3


def test_a_csv_header_that_cannot_be_read_is_the_whole_block_and_however_it_is_cut(pipeline):
    body = b"user,\xffaction,ts\n" + ROW * 200
    strict = msgspec.structs.replace(pipeline.asset, tolerance=Tolerance(count=0, rate=0))
    for declared in ("csv", "csv multiline=no"):
        whole = msgspec.structs.replace(strict, format=declared)
        for sizes in (whole.sizes, pipeline.sized(20).asset.sizes):
            pipeline.asset = msgspec.structs.replace(whole, sizes=sizes)
            pipeline.store.put(f"events/dt={DAY}/a.csv", body)
            with pytest.raises(Refused, match="the header cannot be read"):
                pipeline.run()


def test_a_csv_header_may_lie_behind_blank_lines_whatever_the_range(pipeline):
    body = b"\n" * 5_000 + b"user,action,ts\n" + ROW * 500
    pipeline.asset = msgspec.structs.replace(pipeline.asset, format="csv multiline=no")
    summary, reasons = run(pipeline.sized(20), "a.csv", body)
    assert (summary["items_used"], reasons) == (500, [])


def test_a_stray_quote_spoils_one_line_of_csv_without_newlines_in_cells(pipeline):
    pipeline.asset = msgspec.structs.replace(pipeline.asset, format="csv multiline=no")
    body = b"user,action,ts\n" + ROW + b'"ann,like,891388800\n' + ROW * 300
    summary, reasons = run(pipeline.sized(20), "a.csv", body)
    assert (summary["items_used"], len(reasons)) == (301, 1)


def test_invalid_utf_8_in_a_quoted_cell_does_not_swallow_the_rows_behind_it(pipeline):
    body = b'user,action,ts,item\nann,like,891388800,"two\nlines\xff"\n' + ROW[:-1] + b",x\n"
    summary, reasons = run(pipeline, "a.csv", body)
    assert (summary["items_used"], len(reasons)) == (1, 1)


def test_more_segments_than_bytes_still_give_every_item(pipeline):
    body = pa.compress((GOOD + b"\n") * 20_000, "zstd", asbytes=True)
    summary, _ = run(pipeline.sized(20), "a.jsonl.zst", body)
    assert summary["items_used"] == 20_000
