import io
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compressed import COMPRESS, JOINABLE
from workers.errors import Malformed, Refused, Unavailable
from workers.sources.formats.format import format_of
from workers.sources.formats.plain import compression
from workers.sources.formats.plain.compression import (
    COMPRESSIONS,
    SUFFIXES,
    compression_of,
    decompress,
)

# Where a stream that was cut off looks whole: behind its start, and a zero is an empty raw one.
WHOLE_LOOKING_CUTS = {"snappy framed": {10}, "snappy java": {16}, "snappy hadoop": {1}}
LINES = b"".join(b'{"user":"user%d","ts":%d}\n' % (number % 97, number) for number in range(900))
SKIPPABLE = b"\x5a\x2a\x4d\x18\x03\0\0\0abc"
# The ones that hold checksums of what they hold, as these writers write them.
CHECKED = ("gzip", "bz2", "xz", "lz4", "snappy framed")


def read(body, name):
    return b"".join(decompress(io.BytesIO(body), name.split()[0]))


def read_on(body, name):
    """Return what could be read, and the reason why no more could be; or None."""
    chunks = []
    try:
        chunks.extend(decompress(io.BytesIO(body), name.split()[0]))
    except Malformed as error:
        return b"".join(chunks), error.reason
    return b"".join(chunks), None


def damaged(body, random):
    """Return a body with a bit flipped, cut off, or with bytes zeroed, taken out or put in."""
    start = random.randrange(len(body))
    length = random.choice((1, 4, 50, 2_000))
    rest = body[start + length :]
    return random.choice(
        (
            body[:start] + bytes([body[start] ^ 1 << random.randrange(8)]) + body[start + 1 :],
            body[:start],
            body[:start] + bytes(min(length, len(body) - start)) + rest,
            body[:start] + rest,
            body[:start] + random.randbytes(length) + body[start:],
        )
    )


@pytest.mark.parametrize("name", COMPRESS)
@given(plain=st.binary(max_size=3_000), step=st.integers(1, 80), chunk=st.integers(1, 80))
@settings(max_examples=40)
def test_any_bytes_come_back_from_any_compression_in_any_steps(name, plain, step, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "STEP_BYTES", step)
        patch.setattr(compression, "CHUNK_BYTES", chunk)
        assert read(COMPRESS[name](plain), name) == plain


@pytest.mark.parametrize("name", JOINABLE)
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4))
@settings(max_examples=20)
def test_streams_behind_one_another_read_as_one(name, parts):
    assert read(b"".join(map(COMPRESS[name], parts)), name) == b"".join(parts)


@pytest.mark.parametrize("name", COMPRESS)
def test_a_stream_cut_at_any_byte_gives_its_beginning_and_says_that_it_breaks_off(name):
    body = COMPRESS[name](LINES[:900])
    for cut in range(1, len(body)):
        plain, reason = read_on(body[:cut], name)
        assert LINES.startswith(plain)
        assert reason or cut in WHOLE_LOOKING_CUTS.get(name, ()), cut


@pytest.mark.parametrize("name", [name for name in JOINABLE if name != "snappy java"])
def test_a_stream_that_breaks_off_behind_a_whole_one_gives_all_of_that(name):
    body = COMPRESS[name](LINES)
    plain, reason = read_on(body + body[:-1], name)
    # Of Arrow's, what it had of the last kilobyte is lost.
    assert len(plain) > len(LINES) - 1_024
    assert reason.startswith(f"the {name.split()[0]} stream breaks off")


@pytest.mark.parametrize("name", JOINABLE)
def test_other_bytes_behind_a_stream_are_not_taken_for_its_end(name):
    plain, reason = read_on(COMPRESS[name](LINES) + b"hello, world", name)
    assert LINES.startswith(plain)
    assert reason


@pytest.mark.parametrize("name", COMPRESS)
def test_damaged_streams_are_malformed_and_give_nothing_wrong_without_a_word(name):
    random = Random(7)
    for plain in (LINES, LINES[:60]):
        body = COMPRESS[name](plain)
        for _ in range(150):
            found, reason = read_on(damaged(body, random), name)
            if reason is None and name in CHECKED:
                assert plain.startswith(found)


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_of_a_stream_with_checksums_costs_items_only_with_a_word(name):
    random = Random(8)
    body = COMPRESS[name](LINES)
    for _ in range(300):
        position = random.randrange(len(body))
        flipped = bytearray(body)
        flipped[position] ^= 1 << random.randrange(8)
        found, reason = read_on(bytes(flipped), name)
        assert reason or found == LINES


@pytest.mark.parametrize("name", COMPRESS)
def test_a_bomb_comes_in_chunks_of_bounded_size(name):
    body = COMPRESS[name](bytes(40 << 20))
    sizes = [len(chunk) for chunk in decompress(io.BytesIO(body), name.split()[0])]
    assert sum(sizes) == 40 << 20
    assert max(sizes) <= compression.CHUNK_BYTES


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compression_is_known_by_the_first_bytes_where_it_has_magic_ones(name):
    has_magic = name not in ("snappy hadoop", "snappy raw")
    for plain in (b"", b"a", LINES):
        head = COMPRESS[name](plain)[:100]
        assert compression_of(head) == (name.split()[0] if has_magic else "")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"B",
        b"BZh",
        b"BZh1",
        b"BZh9 is how a bzip2 file begins",
        b'BZhang,like,1\n{"user":"BZh"}',
        b"\x1f\x8b\x08",
        b"\x1f\x8b\x08\xff\xff\xff",
        b"\xfd7zX",
        b"(\xb5 is no frame",
        b'\x04"M\x18 and text',
        b"sNaPpY",
        b"PAR1",
        b"PK\x03\x04",
        LINES[:100],
        LINES[:100].decode().encode("utf-16"),
    ],
)
def test_plain_bytes_are_taken_for_no_compression(head):
    assert compression_of(head) == ""


@given(st.text())
def test_no_text_is_taken_for_a_compression(text):
    printable = "".join(char for char in text if char.isprintable())
    assert compression_of(printable.encode()) == ""


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_frames_to_pass_over_may_stand_anywhere(name):
    body = SKIPPABLE + COMPRESS[name](b"one\n") + SKIPPABLE + COMPRESS[name](b"two\n") + SKIPPABLE
    assert compression_of(body) == name
    assert read(body, name) == b"one\ntwo\n"


def test_a_frame_to_pass_over_with_nothing_seen_behind_it_is_zstd():
    assert compression_of(SKIPPABLE) == "zstd"


def test_lz4_of_the_legacy_format_is_named_and_refused():
    body = b"\x02\x21\x4c\x18\x05\0\0\0\x40abcd"
    assert compression_of(body) == "lz4"
    with pytest.raises(Malformed, match="legacy format"):
        read(body, "lz4")


def test_lz4_of_hadoop_is_named_and_refused():
    with pytest.raises(Malformed, match="no lz4 frames; those of Hadoop's codec are not read"):
        read(b"\0\0\0\4\0\0\0\5\x40abcd", "lz4")


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_plain_text_in_a_block_that_is_called_compressed_is_malformed(name):
    assert read_on(LINES, name)[0] == b""
    assert name in read_on(LINES, name)[1]


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_an_empty_block_of_any_compression_holds_nothing(name):
    assert read_on(b"", name) == (b"", None)


def test_a_compression_that_nobody_knows_is_refused():
    with pytest.raises(Refused, match=r"compression=lzo .* gzip, zstd, bz2, xz, lz4, snappy"):
        read(b"", "lzo")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_of_a_key_says_how_a_block_is_compressed(suffix):
    form = format_of(f"dt=1998-04-01/a.CSV{suffix.upper()}")
    assert (form.kind, form.compression) == ("csv", SUFFIXES[suffix])


class Failing(io.BytesIO):
    """A body of which S3 does not give all."""

    def read(self, size=-1):
        if self.tell() > 50:
            raise Unavailable("S3 did not answer")
        return super().read(50 if size < 0 else min(size, 50))


@pytest.mark.parametrize("name", COMPRESS)
def test_a_server_that_does_not_answer_is_not_taken_for_damage(name):
    plain = Random(1).randbytes(3_000)
    body = Failing(COMPRESS[name](plain))
    with pytest.raises(Unavailable):
        list(decompress(body, name.split()[0]))
    assert body.closed
