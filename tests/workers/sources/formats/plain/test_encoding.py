import codecs
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workers.errors import Malformed, Refused
from workers.sources.formats.lines import BOM
from workers.sources.formats.plain.encoding import (
    checked_encoding,
    decode,
    encoding_of,
    looks_like_utf16,
)

MARKED = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
LINES = '{"user":"ann","city":"Zürich"}\n{"user":"bob","city":"東京 😀"}\n'


def chunks_of(body, size):
    return iter([body[start : start + size] for start in range(0, len(body), size)])


def read(body, encoding, size=7):
    return b"".join(decode(chunks_of(body, size), encoding))


def read_on(chunks, encoding):
    """Return what could be read, and the reason why no more could be; or None."""
    found = []
    try:
        found.extend(decode(chunks, encoding))
    except Malformed as error:
        return b"".join(found), error.reason
    return b"".join(found), None


@pytest.mark.parametrize("encoding", MARKED)
@given(text=st.text(), size=st.integers(1, 9))
def test_any_text_in_any_chunks_comes_back_as_utf_8_without_its_mark(encoding, text, size):
    assume(not text.startswith("\0"))  # behind UTF-16's mark it reads as UTF-32's
    body = MARKED[encoding] + text.encode(encoding)
    assert encoding_of(body) == encoding
    assert read(body, encoding, size) == text.encode()
    assert read(body, encoding.rpartition("-")[0], size) == text.encode()


@pytest.mark.parametrize("encoding", MARKED)
@given(text=st.text(st.sampled_from(string.printable + "äöü東京😀")), size=st.integers(1, 9))
def test_a_declared_encoding_needs_no_mark(encoding, text, size):
    assert read(text.encode(encoding), encoding, size) == text.encode()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp437", "iso-8859-15", "mac-roman"])
@given(text=st.text(st.sampled_from("abc, \n\r\"'äöüßéèçñ£½")), size=st.integers(1, 9))
def test_text_of_one_byte_a_character_comes_back_as_utf_8(encoding, text, size):
    assume(text.encode(encoding, "ignore").decode(encoding) == text)
    assert read(text.encode(encoding), encoding, size) == text.encode()


@pytest.mark.parametrize("encoding", ["shift-jis", "euc-jp", "gb18030", "big5", "iso-2022-jp"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_text_of_several_bytes_a_character_may_be_cut_anywhere(encoding, size):
    text = '{"city":"東京"}\n{"city":"日本"}\n' * 300
    assert read(text.encode(encoding), encoding, size) == text.encode()


@pytest.mark.parametrize("encoding", ["", "utf-8", "UTF8", "utf_8", "utf-8-sig"])
def test_utf_8_goes_through_as_it_is(encoding):
    body = BOM + b"one\n\xff\xfe\n"
    assert encoding_of(body) == ""
    assert read(body, encoding) == body


@pytest.mark.parametrize("encoding", MARKED)
def test_text_cut_at_any_byte_gives_its_beginning_and_says_where_it_breaks_off(encoding):
    body = MARKED[encoding] + LINES.encode(encoding)
    width = len("a".encode(encoding))
    for cut in range(len(MARKED[encoding]), len(body)):
        found, reason = read_on(chunks_of(body[:cut], 5), encoding)
        assert LINES.encode().startswith(found)
        if cut % width:
            assert reason == f"the {encoding} text breaks off in the middle of a character"


def test_what_was_good_comes_before_a_stream_that_breaks_off():
    def chunks():
        yield LINES.encode("utf-16")
        raise Malformed("the gzip stream breaks off")

    for encoding in ("utf-16", "utf-16-le"):
        assert read_on(chunks(), encoding) == (LINES.encode(), "the gzip stream breaks off")


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be"])
def test_half_of_a_pair_costs_the_line_that_it_stands_in(encoding, size):
    text = "one\ncut \ud83d off\nthree\n"
    body = MARKED[encoding] + text.encode(encoding, "surrogatepass")
    lines = read(body, encoding, size).split(b"\n")
    assert (lines[0], lines[2]) == (b"one", b"three")
    with pytest.raises(UnicodeDecodeError):
        lines[1].decode()


@pytest.mark.parametrize(
    ("encoding", "bad"), [("cp1252", b"\x81"), ("ascii", b"\xe9"), ("shift-jis", b"\x81\xff")]
)
def test_a_byte_that_is_no_text_costs_the_line_that_it_stands_in(encoding, bad):
    lines = read(b"one\ntwo " + bad + b" two\nthree\n", encoding).split(b"\n")
    assert (lines[0], lines[2]) == (b"one", b"three")
    with pytest.raises(UnicodeDecodeError):
        lines[1].decode()


@pytest.mark.parametrize(
    ("body", "declared", "reason"),
    [
        (LINES.encode("utf-16"), "latin-1", "has the mark of utf-16-le"),
        (LINES.encode("utf-16"), "utf-16-be", "has the mark of utf-16-le"),
        (BOM + LINES.encode(), "utf-16-le", "has the mark of utf-8"),
        (LINES.encode("utf-32"), "utf-16", "has the mark of utf-32-le"),
        (LINES.encode("utf-16-be"), "utf-16-le", "seems to be utf-16-be"),
        (LINES.encode("utf-16-le"), "cp1252", "seems to be utf-16-le"),
        (LINES.encode(), "utf-16-le", "seems to be utf-8"),
        (LINES.encode(), "utf-32-be", "seems to be utf-8"),
        (LINES.encode("utf-16-be"), "utf-16", "declare encoding=utf-16-be"),
        (LINES.encode(), "utf-16", "declare encoding=utf-16-le or utf-16-be"),
        (b"\n", "utf-16", "no mark"),
    ],
)
def test_first_bytes_that_contradict_what_is_declared_are_malformed(body, declared, reason):
    found, message = read_on(chunks_of(body * 50, 1_000), declared)
    assert found == b""
    assert reason in message


@pytest.mark.parametrize("encoding", ["", "latin-1", "utf-16", "utf-16-be", "utf-32-le"])
def test_an_empty_block_of_any_encoding_holds_nothing(encoding):
    assert read(b"", encoding) == b""


@pytest.mark.parametrize("name", ["rot13", "base64", "nonsense", "undefined", "a\0b", "../etc"])
def test_an_encoding_that_is_none_of_text_is_refused(name):
    with pytest.raises(Refused, match="no encoding of text"):
        checked_encoding(name)
    with pytest.raises(Refused, match="write one such as encoding=latin-1"):
        read(b"", name)


def test_an_encoding_has_one_name_however_it_is_written():
    assert checked_encoding("Latin1") == checked_encoding("latin_1") == "iso8859-1"
    assert checked_encoding("UTF_16LE") == "utf-16-le"


def test_utf_16_without_a_mark_is_recognised_by_its_zeros():
    japanese = '{"city":"東京","name":"日本"}\n' * 20
    for text in (LINES, japanese, LINES[:8]):
        for encoding in ("utf-16-le", "utf-16-be"):
            assert looks_like_utf16(text.encode(encoding)) == encoding


@pytest.mark.parametrize(
    "head",
    [b"", b"a\0", LINES.encode(), LINES.encode("utf-32-le"), bytes(100), bytes(range(256)) * 4],
)
def test_other_bytes_do_not_look_like_utf_16(head):
    assert looks_like_utf16(head) == ""


@given(body=st.binary(max_size=200), encoding=st.sampled_from([*MARKED, "shift-jis", "utf-7"]))
def test_no_bytes_raise_anything_but_malformed(body, encoding):
    read_on(chunks_of(body, 5), encoding)
