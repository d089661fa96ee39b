"""What a block is: its first bytes decide, then the suffix of its key, then its declaration."""

import bz2
import gzip
import io
import json
import random
import tarfile
import zipfile

import cramjam
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.pipeline import DAY, event, fragile
from workers.errors import Malformed
from workers.sources.formats.format import Format
from workers.sources.formats.look import describe, look
from workers.sources.items import columns_of
from workers.tasks.user_profiles import Event
from workers.values import Place

LINE = b'{"user":"ann","action":"like","ts":1769860800,"topics":[{"a":1}]}'
COLUMNS = columns_of(Event)


class Pair(msgspec.Struct, array_like=True):
    user: str
    action: str


class Url(msgspec.Struct):
    url: str


def parquet():
    file = io.BytesIO()
    pq.write_table(pa.table({"user": ["ann"]}), file)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", LINE)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = len(LINE)
        archive.addfile(member, io.BytesIO(LINE))
    return file.getvalue()


def looked(head, key="a", declared="", columns=COLUMNS, is_whole=True):
    return look(head, is_whole, key, declared, columns)


@pytest.mark.parametrize(
    ("head", "key", "form"),
    [
        (LINE + b"\n" + LINE, "a", Format()),
        (LINE, "a.jsonl", Format()),
        (b"\n \r\n" + LINE + b"\n", "a.JSON", Format()),
        (b"\xef\xbb\xbf" + LINE + b"\n", "a", Format()),
        (b'{"user":"a\n' + LINE + b"\n" + LINE, "a", Format()),
        (LINE + LINE, "a", Format(shape="values")),
        (LINE + b",\n" + LINE, "a", Format(shape="values")),
        (json.dumps(json.loads(LINE), indent=1).encode(), "a.json", Format(shape="values")),
        (b'{\n "user": "' + b"x" * 70_000, "a.json", Format(shape="values")),
        (b"[" + LINE + b"," + LINE + b"]", "a.json", Format(shape="array")),
        (b"[\n " + LINE + b"\n]", "a", Format(shape="array")),
        (b"[]", "a", Format(shape="array")),
        (b"", "a.csv", Format(kind="csv")),
        (b"user,action,ts\nann,like,1\n", "a.CSV", Format(kind="csv")),
        (b"user\taction\tts\nann\tlike\t1\n", "a.tsv", Format(kind="csv", delimiter="\t")),
        (LINE + b"\n" + LINE, "ls.part0.txt", Format()),
        (gzip.compress(LINE, mtime=0), "a", Format(compression="gzip")),
        (gzip.compress(LINE, mtime=0), "a.json", Format(compression="gzip")),
        (LINE, "a.json.gz", Format()),
        (bz2.compress(LINE), "a.json.gz", Format(compression="bz2")),
        (bytes(cramjam.snappy.compress(LINE)), "a", Format(compression="snappy")),
        (bytes(cramjam.snappy.compress_raw(LINE)), "a.snappy", Format(compression="snappy")),
        (LINE.decode().encode("utf-16"), "a", Format(encoding="utf-16-le")),
        (LINE.decode().encode("utf-32"), "a", Format(encoding="utf-32-le")),
        (parquet(), "20260131_120000_0001", Format(kind="parquet")),
        (parquet(), "a.csv", Format(kind="parquet")),
        (b"ORCID,user,action,ts\n1,ann,like,1\n", "a.csv", Format(kind="csv")),
    ],
)
def test_the_first_bytes_decide_and_then_the_suffix(head, key, form):
    assert looked(head, key) == form


def test_text_for_items_of_one_field_stays_text_though_it_looks_like_json():
    assert looked(b'{"a":1}\n', "a.txt", columns=columns_of(Url)).kind == "text"


def test_items_that_are_arrays_are_told_from_an_array_of_items():
    columns = columns_of(Pair)
    assert looked(b'["ann","like"]\n["bo","view"]\n', columns=columns) == Format()
    assert looked(b'[["ann","like"],["bo","view"]]', columns=columns) == Format(shape="array")


@pytest.mark.parametrize(
    ("head", "key", "reason"),
    [
        (zipped(), "a.json", "it is a zip archive, which is not read"),
        (zipped(), "a.zip", "it is a zip archive, which is not read"),
        (tarred(), "a.tar", "it is a tar archive, which is not read"),
        (
            gzip.compress(tarred(), mtime=0),
            "a.tar.gz",
            "it is a tar archive in gzip, which is not read",
        ),
        (
            gzip.compress(gzip.compress(LINE), mtime=0),
            "a.gz",
            "it is gzip in gzip, which is not read: put blocks into S3 that are compressed once",
        ),
        (
            gzip.compress(parquet(), mtime=0),
            "a.parquet.gz",
            "it is Parquet in gzip, which is not read",
        ),
        (b'{"Records":[' + LINE + b"]}", "a.json", 'write format="json records=Records"'),
        (b'{"v":1,"logEvents":[\n' + LINE + b",", "a", 'write format="json records=logEvents"'),
        (b"user,action\nann,like\n", "a", 'write format="csv"'),
        (b"user,action\nann,like\n", "a.json", "its suffix says JSON, and it is no JSON"),
        (b"ann\tlike\n", "a", 'write format="csv delimiter=tab"'),
        (bytes(range(256)) * 9, "a.json.gz", "its suffix says gzip, and it is not"),
        (b"user,action\nann,like\n", "a.csv", "no column `ts`"),
        (b'"user"s,action,ts\nann,like,1\n', "a.csv", "the header cannot be read: cell 1"),
        (b"not at all\n", "a.parquet", "its suffix says Parquet, and it is not"),
        (LINE.decode().encode("utf-16-le"), "a", "encoding=utf-16-le"),
    ],
)
def test_what_cannot_be_read_says_what_it_is_and_what_to_write(head, key, reason):
    with pytest.raises(Malformed) as raised:
        looked(head, key)
    assert reason in raised.value.reason
    assert raised.value.place == Place.rest(0)


@pytest.mark.parametrize(
    ("head", "declared"),
    [
        (LINE, "json compression=gzip"),
        (gzip.compress(LINE, mtime=0), "json compression=none"),
        (gzip.compress(LINE, mtime=0), "json compression=zstd"),
        (parquet(), "csv"),
        (LINE, "parquet"),
        (b"user,action\nann,like\n", "json"),
        (LINE + b"\n" + LINE + b"\n", "csv delimiter=tab"),
        (b"#Version: 1.0\n#Fields: a b\n1 2\n", "csv"),
    ],
)
def test_a_declaration_that_the_bytes_contradict_is_an_error_that_names_both(head, declared):
    with pytest.raises(Malformed) as raised:
        looked(head, declared=declared)
    assert f"not what format={declared!r} says" in raised.value.reason


def test_a_table_whose_header_says_fields_is_a_w3c_log_though_it_is_declared_a_table_by_tabs():
    head = b"#Version: 1.0\n#Fields: user action\nann\tlike\n"
    assert looked(head, declared="csv delimiter=tab multiline=no").kind == "w3c"


def test_what_is_declared_is_read_so():
    assert looked(b'{"Records":[]}', declared="json records=Records").records == "Records"
    assert looked(LINE, declared="text", columns=columns_of(Url)).kind == "text"
    packed = gzip.compress(b"url;b\n", mtime=0)
    form = looked(packed, declared="csv delimiter=;", columns=columns_of(Url))
    assert (form.kind, form.compression) == ("csv", "gzip")
    documents = b'{"a":1}\t{"b":2}\n'
    assert looked(documents, declared="csv delimiter=tab columns=user,action").kind == "csv"


def test_a_compressed_head_that_says_nothing_yet_asks_for_more_bytes():
    body = bz2.compress(random.Random(1).randbytes(500_000).hex().encode())
    assert looked(body[:300], "a.bz2", is_whole=False) is None
    assert looked(body[:300], "a.bz2") == Format(compression="bz2")


def test_a_format_is_named_as_people_name_it():
    assert describe(Format()) == "JSON lines"
    assert describe(Format(shape="array", compression="gzip")) == "JSON array, gzip"
    assert describe(Format(records="Records")) == "JSON list 'Records'"
    assert describe(Format(kind="csv", encoding="utf-16-le")) == "CSV, utf-16-le"


def put(pipeline, name, body):
    pipeline.store.put(f"events/dt={DAY}/{name}", body)


def test_the_records_of_an_object_are_items_once_the_author_says_so(pipeline):
    body = json.dumps({"Records": [event(f"user{n}") for n in range(100)]}).encode()
    put(pipeline, "a.json.gz", gzip.compress(body))
    pipeline = pipeline.changed(format="json records=Records")
    assert pipeline.run()["items_used"] == 100
    assert pipeline.verify().match


def test_columns_in_the_key_are_columns_of_items_that_lack_them(pipeline):
    table = pa.table({"user": ["ann", "bo"], "ts": [891388800, 891388801]})
    file = io.BytesIO()
    pq.write_table(table, file)
    put(pipeline, "action=like/part-0.parquet", file.getvalue())
    put(pipeline, "action=a%2Fb/part-0.csv", b"user,ts\ncy,891388800\n")
    put(pipeline, "action=view/part-0.json", b'{"user":"di","ts":891388800}\n')
    put(pipeline, "action=view/part-1.json", json.dumps(event("ed")).encode())
    put(pipeline, "item=__HIVE_DEFAULT_PARTITION__/a.json", json.dumps(event("flo")).encode())

    assert pipeline.run()["items_used"] == 6
    actions = {user: dict(pipeline.profile(user)["actions"]) for user in ("ann", "cy", "di", "ed")}
    assert actions == {"ann": {"like": 1}, "cy": {"a/b": 1}, "di": {"view": 1}, "ed": {"like": 1}}
    assert pipeline.verify().match


def test_a_required_column_that_the_key_leaves_out_makes_dead_letters(pipeline):
    put(pipeline, "action=__HIVE_DEFAULT_PARTITION__/a.json", b'{"user":"di","ts":891388800}\n')
    pipeline.work(pipeline.plan())
    (letter,) = pipeline.letters()
    assert "missing required field `action`" in letter["reason"]


def test_a_large_array_is_cut_where_its_elements_start(pipeline):
    body = json.dumps([event(f"user{n}") for n in range(3_000)], indent=1).encode()
    put(pipeline, "a.json", body)
    work = pipeline.sized(100).plan()
    assert len(work.new) >= 20
    assert pipeline.sized(100).finish(work)["items_used"] == 3_000
    assert pipeline.verify().match


def test_dead_letters_of_values_are_redriven_from_their_places(pipeline, monkeypatch):
    values = "".join(json.dumps(event(f"user{n}")) for n in range(50))
    put(pipeline, "a", values.encode())
    put(pipeline, "b.json", f"[{values.replace('}{', '},{')}]".encode())
    put(pipeline, "c.jsonl", f"{json.dumps(event('ann'))}\n{values}\n".encode())
    put(pipeline, "d.json.gz", gzip.compress(values.encode()))
    fragile(monkeypatch, lambda user: user in ("user7", "user40"))
    pipeline = pipeline.tolerant(10)
    assert pipeline.run()["dead_letters"] == 8

    fragile(monkeypatch, lambda user: user == "user40")
    summary = pipeline.redrive()
    assert (summary["items_used"], summary["dead_letters"]) == (197, 4)
