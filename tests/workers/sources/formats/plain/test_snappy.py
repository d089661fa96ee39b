import io
import os
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.compressed import (
    framed_snappy,
    hadoop_snappy,
    java_snappy,
    raw_snappy,
)
from workers.errors import Malformed
from workers.sources.formats.plain import snappy
from workers.sources.formats.plain.compression import decompress
from workers.sources.formats.plain.snappy import HEAD_BYTES, STREAM_START, snappy_kind

WRITERS = {
    "framed": framed_snappy,
    "hadoop": hadoop_snappy,
    "java": java_snappy,
    "raw": raw_snappy,
}
TEXTS = [
    b'{"user":"ann","action":"like","ts":891388800}\n',
    b"user,action,ts\nann,like,891388800\n",
    b"1\t2\t3\n4\t5\t6\n",
    b"a\r\n\r\nb,\r\n",
    b"[{},\n {}]\n",
    b'127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326\n',
    "é,ä\nçà,être là\n".encode(),
    "日本,語\n".encode(),
    "é,ä\nçà\n".encode("latin-1"),
    b"\n\n",
    b"4",
    b"<?xml version='1.0'?>\n",
]
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")


def read(body):
    return b"".join(decompress(io.BytesIO(body), "snappy"))


@pytest.mark.parametrize("kind", WRITERS)
@given(plain=st.one_of(st.binary(), st.text().map(str.encode)), times=st.integers(1, 200))
def test_the_kind_of_snappy_is_told_by_the_first_bytes(kind, plain, times):
    assert snappy_kind(WRITERS[kind](plain * times)[:HEAD_BYTES]) == kind


@pytest.mark.parametrize("kind", WRITERS)
def test_large_blocks_are_of_the_same_kind_whatever_they_hold(kind):
    random = Random(3)
    for plain in (bytes(3 << 20), random.randbytes(1 << 20), TEXTS[0] * 50_000, b"ab" * 400_000):
        body = WRITERS[kind](plain)
        assert snappy_kind(body[:HEAD_BYTES]) == kind
        assert read(body) == plain


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("times", [1, 3, 100])
def test_texts_are_not_taken_for_snappy(encoding, times):
    for text in TEXTS:
        try:
            body = (text * times).decode().encode(encoding)
        except UnicodeDecodeError:
            body = text * times
        assert snappy_kind(body) == ""


@given(st.text(min_size=40))
def test_no_text_of_forty_characters_is_taken_for_snappy(text):
    body = "".join(char for char in text if char.isprintable() or char in "\r\n\t").encode()
    assume(len(body) >= 40)
    assert snappy_kind(body) == ""


def test_other_formats_are_not_taken_for_snappy():
    for magic in (b"PAR1", b"ORC", b"Obj\x01", b"ARROW1\0\0", b"PK\x03\x04", b"\x1f\x8b\x08\0"):
        assert snappy_kind(magic + Random(2).randbytes(2_000)) == ""


def test_the_lengths_of_hadoop_blocks_and_pieces_may_be_any():
    plain = TEXTS[0] * 3_000
    for block_bytes in (2, 7, 1_000, 65_536, 10 << 20):
        assert (
            read(hadoop_snappy(plain[: block_bytes * 40], block_bytes)) == plain[: block_bytes * 40]
        )


def test_empty_blocks_of_hadoop_hold_nothing_wherever_they_stand():
    body = bytes(4) + hadoop_snappy(b"one\n") + bytes(8) + hadoop_snappy(b"two\n") + bytes(4)
    assert read(body) == b"one\ntwo\n"


def test_padding_between_chunks_is_passed_over():
    padding = b"\xfe" + (70_000).to_bytes(3, "little") + bytes(70_000)
    body = framed_snappy(b"one\n") + padding + framed_snappy(b"two\n")[len(STREAM_START) :]
    assert read(body) == b"one\ntwo\n"


def test_chunks_that_are_not_compressed_are_held_against_their_checksum_too():
    body = framed_snappy(os.urandom(50_000))
    assert body[len(STREAM_START)] == snappy.PLAIN
    with pytest.raises(Malformed, match="checksum"):
        read(body[:-1] + bytes([body[-1] ^ 1]))


@pytest.mark.parametrize("kind", [0x02, 0x7F, 0x80, 0xFD])
def test_a_chunk_of_an_unknown_type_is_malformed_and_never_passed_over(kind):
    body = framed_snappy(b"one\n") + bytes([kind]) + b"\x01\0\0x"
    with pytest.raises(Malformed, match=f"no chunk is of type {kind:#04x}"):
        read(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (STREAM_START + b"\0\xff\xff\xff", "a chunk of 16,777,215 bytes is none"),
        (STREAM_START + b"\xfe\x01\0\0x", "more than zeros in padding"),
        (STREAM_START + b"\xff\x06\0\0sNaPPy", "the start of a stream is damaged"),
        (hadoop_snappy(b"one\n") + b"\x10\0\0\0", "a block of 268,435,456 bytes"),
        (hadoop_snappy(b"one\n") + b"\0\0\0\1\1\0\0\0", "a piece of 16,777,216 bytes"),
        (hadoop_snappy(b"one\n") + b"\0\0\0\1\0\0\0\7" + raw_snappy(b"12345"), "more than its"),
        (b"\x80\x80\x80\x90\x01\x00a" + b"\x05\1" * 600, "301,989,888 bytes, .* write it framed"),
    ],
)
def test_lengths_that_cannot_be_right_are_refused_before_memory_is_taken(body, reason):
    with pytest.raises(Malformed, match=reason):
        read(body)


def test_a_raw_piece_of_more_than_a_gigabyte_is_not_believed():
    assert snappy_kind(b"\x80\x80\x80\x80\x04\x00a" + b"\x05\1" * 600) == "raw"
    assert snappy_kind(b"\x81\x80\x80\x80\x04\x00a" + b"\x05\1" * 600) == ""
    assert snappy_kind(b"\xff\xff\xff\xff\xff\x00a" + b"\x05\1" * 600) == ""


def test_bytes_behind_a_raw_piece_are_malformed():
    with pytest.raises(Malformed):
        read(raw_snappy(TEXTS[0] * 1_000) + b"\n")


@given(cut=st.integers(HEAD_BYTES, 8_000), seed=st.integers(0, 20))
def test_a_raw_piece_that_is_cut_off_gives_what_it_had_and_then_says_so(cut, seed):
    random = Random(seed)
    plain = b"".join(b'{"user":"%d"}\n' % random.randrange(10**6) for _ in range(3_000))
    found = []
    with pytest.raises(Malformed, match="the snappy stream breaks off"):
        found.extend(decompress(io.BytesIO(raw_snappy(plain)[:cut]), "snappy"))
    assert plain.startswith(b"".join(found))
    assert len(b"".join(found)) > cut - 200
