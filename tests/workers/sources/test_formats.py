import bz2
import gzip
import io
import lzma
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import Malformed
from workers.sources.formats import reader
from workers.sources.formats.format import format_of
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import BOM, Lines, split_lines
from workers.sources.formats.plain import compression
from workers.sources.formats.reader import read_range
from workers.sources.formats.rows import Rows
from workers.sources.items import ItemReader
from workers.tasks.user_profiles import Event
from workers.values import ByteRange, Place, PlaceKind

NO_COLUMNS = Columns(())


class Shelf:
    """A store of one block, to read ranges of at arbitrary sizes of chunk."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.requests: list[tuple[int, int]] = []

    def open(self, key: str, etag: str, start: int, end: int) -> io.BytesIO:
        self.requests.append((start, end))
        return io.BytesIO(self.body[start:end])


def read(body: bytes, start: int, end: int, key: str = "a.jsonl") -> list[bytes]:
    range_ = ByteRange(key=key, etag="e", size=len(body), start=start, end=end, items=1)
    runs = read_range(Shelf(body), range_, format_of(key), NO_COLUMNS)
    return [line for run in runs for line in run.lines]


@given(
    body=st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"\r\n", b"\n\n", b"{}"])).map(b"".join),
    cuts=st.lists(st.integers(0, 60)),
    chunk_bytes=st.integers(1, 7),
)
def test_any_cuts_of_any_block_give_each_line_once(body, cuts, chunk_bytes):
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(reader, "TAIL_BYTES", 3)
        lines = [line for start, end in pairwise(edges) for line in read(body, start, end)]
    whole = body.split(b"\n")
    assert lines == (whole if whole[-1] else whole[:-1])


@pytest.mark.parametrize(("end", "asks_again"), [(6, False), (8, False), (9, True)])
def test_a_range_asks_again_only_where_its_last_line_is_long(end, asks_again, monkeypatch):
    monkeypatch.setattr(reader, "TAIL_BYTES", 4)
    body = b"one\ntwo\n" + b"three" * 9 + b"\n" + b"never\n" * 9
    range_ = ByteRange(key="a.jsonl", etag="e", size=len(body), start=0, end=end, items=1)
    shelf = Shelf(body)
    runs = read_range(shelf, range_, format_of("a.jsonl"), NO_COLUMNS)
    assert [line for run in runs for line in run.lines] == body.split(b"\n")[: 2 + asks_again]
    assert shelf.requests[0] == (0, end + 4)
    assert (len(shelf.requests) > 1) == asks_again


@given(
    lines=st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)),
    chunk_bytes=st.integers(1, 7),
)
def test_the_place_of_a_line_is_its_offset(lines, chunk_bytes):
    body = b"".join(line + b"\n" for line in lines)
    chunks = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    for run in split_lines(iter(chunks), 0, None):
        for number, line in enumerate(run.lines):
            place = run.place(number)
            offset = place.position
            assert place.kind is PlaceKind.BYTE
            assert body[offset : offset + len(line) + 1] == line + b"\n"


def test_gzip_of_several_members_reads_as_one():
    body = gzip.compress(b"one\ntw") + gzip.compress(b"o\nthree\n")
    assert read(body, 0, len(body), "a.gz") == [b"one", b"two", b"three"]


def test_a_truncated_gzip_gives_its_whole_lines_and_then_says_where_it_breaks_off():
    lines = [f"line {number} {hash(str(number))}".encode() for number in range(5000)]
    body = gzip.compress(b"\n".join(lines))[:-4000]
    range_ = ByteRange(key="a.gz", etag="e", size=len(body), start=0, end=len(body), items=1)
    whole = []
    with pytest.raises(Malformed, match=r"byte \d+ to the end: the gzip stream breaks off"):
        for run in read_range(Shelf(body), range_, format_of("a.gz"), NO_COLUMNS):
            whole += run.lines
    assert 0 < len(whole) < 5000
    assert whole == lines[: len(whole)]


@pytest.mark.parametrize("end", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("step", [1, 5, 1 << 16])
def test_members_read_as_one_with_zeros_between_them(end, step, monkeypatch):
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[end]
    monkeypatch.setattr(compression, "STEP_BYTES", step)
    monkeypatch.setattr(compression, "CHUNK_BYTES", 3)
    body = compress(b"one\n" * 50) + bytes(8) + compress(b"two\n") + bytes(4)
    assert read(body, 0, len(body), f"a.{end}") == [b"one"] * 50 + [b"two"]


@pytest.mark.parametrize("end", ["gz", "bz2", "xz"])
def test_bytes_behind_a_member_that_are_none_are_malformed_and_not_taken_for_the_end(end):
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[end]
    damaged = b"?" + compress(b"two\n")[1:]
    with pytest.raises(Malformed, match="byte 4 to the end"):
        read(compress(b"one\n") + damaged, 0, 99, f"a.{end}")


def test_a_block_that_is_no_gzip_at_all_is_malformed():
    with pytest.raises(Malformed, match="byte 0 to the end"):
        read(b"plain text", 0, 10, "a.gz")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nonsense", "JSON is malformed"),
        (b"[1]", "Expected `object`, got `array`"),
        (b'{"action":"like","ts":891388800}', "missing required field `user`"),
        (b'{"user":"a","ts":891388800}', "missing required field `action`"),
        (b'{"user":"a","action":"like"}', "missing required field `ts`"),
        (b'{"user":7,"action":"like","ts":891388800}', "Expected `str`, got `int` - at `$.user`"),
        (b'{"user":"","action":"like","ts":891388800}', "length >= 1 - at `$.user`"),
        (b'{"user":"a","action":"like","ts":"soon"}', "$.ts"),
        (b'{"user":"a","action":"like","ts":1e400}', "out of range"),
        (
            b'{"user":"NaN, NaN","action":"like","ts":NaN}',
            "NaN is no JSON; a value that is missing",
        ),
        (b'{"user":"a","action":"like","ts": -Infinity }', "-Infinity is no JSON"),
        (b'{"user":"a\\ud83d","action":"like","ts":891388800}', "half of a surrogate pair"),
        (b'{"user":"\\ude00a","action":"like","ts":891388800}', "half of a surrogate pair"),
        (b'{"user":"a","action":"like","ts":891388800,"topics":"x"}', "$.topics"),
        (b'{"user":"\xff","action":"like","ts":891388800}', "invalid UTF-8"),
        (b'{"user":"a","action":"like","ts":891388800} and so on', "trailing characters"),
        (b'{"user":"a","action":"like","ts":891388800,"x":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_is_no_event_is_rejected_with_its_place_and_the_reason(line, why):
    good = b'{"user":"a","action":"like","ts":891388800}'
    rejected = []
    taken = ItemReader(Event).items(
        Lines(100, [good, line, good]), lambda *bad: rejected.append(bad)
    )
    assert taken.numbers == [0, 2]
    assert len(taken.items) == 2
    ((place, item, reason),) = rejected
    assert place == Place.byte(100 + len(good) + 1)
    assert item == line
    assert why in reason


def test_a_hundred_thousand_bad_lines_are_told_apart_in_no_time():
    run = Lines(7, [b"x"] * 100_000)
    places = []
    started = time.process_time()
    ItemReader(Event).items(run, lambda place, *_: places.append(place))
    assert str(places[-1]) == f"byte {7 + 2 * 99_999}"
    assert time.process_time() - started < 20  # it took minutes, as each place counted from 0


def test_a_reason_does_not_repeat_a_long_text():
    reasons = []
    line = b'{"user":"a","action":"like","ts":"' + b"x" * 1_000_000 + b'"}'
    ItemReader(Event).items(Lines(0, [line]), lambda *bad: reasons.append(bad[2]))
    assert reasons[0].startswith("Expected ISO 8601 or epoch seconds, got 'xxx")
    assert len(reasons[0]) < 130


def test_a_key_of_a_profile_is_bounded():
    event = b'{"user":"a","action":"like","ts":891388800,"item":"%b","topics":["%b"]}'
    kept = b"k" * 10_000
    reasons = []
    lines = [event % (kept, kept), event % (kept + b"k", b"t"), event % (b"i", kept + b"k")]
    taken = ItemReader(Event).items(Lines(0, lines), lambda *bad: reasons.append(bad[2]))
    assert taken.numbers == [0]
    assert [reason.rpartition(" ")[2] for reason in reasons] == ["`$.item`", "`$.topics[0]`"]


def test_blank_lines_a_byte_order_mark_and_crlf_are_no_trouble():
    good = b'{"user":"a","action":"like","ts":891388800}'
    run = Lines(0, [BOM + good, b"", b"  ", good + b"\r"])
    taken = ItemReader(Event).items(run, pytest.fail)
    assert taken.numbers == [0, 3]
    assert len(taken.items) == 2


def row_place(number):
    return Place(kind=PlaceKind.ROW, position=number)


def test_a_redrive_picks_the_lines_and_rows_at_its_places():
    run = Lines(10, [b"ab", b"c", b"def"])
    picked = run.pick({Place.byte(13), Place.byte(15), Place.byte(11), row_place(10)})
    assert [(part.start, part.lines) for part in picked] == [(13, [b"c"]), (15, [b"def"])]
    rows = Rows([{"n": 1}, {"n": 2}, "bad"], PlaceKind.ROW, range(5, 8), is_text=False)
    (part,) = rows.pick({row_place(7), row_place(5), Place.byte(6)})
    assert part.rows == [{"n": 1}, "bad"]
    assert [str(part.place(number)) for number in range(2)] == ["row 5", "row 7"]
    assert rows.pick({row_place(99)}) == []
