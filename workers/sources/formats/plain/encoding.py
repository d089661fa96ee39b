"""Text in any encoding to UTF-8, a chunk at a time.

What is no text of the encoding becomes a byte that is no UTF-8, so it costs the item that it stands
in and no other. Places of items count the bytes as UTF-8.
"""

import codecs
from collections.abc import Iterator

from workers.errors import Malformed, Refused

# The longer marks first: UTF-32's begins with UTF-16's.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
MARK = "\ufeff"
UTF_8 = ("utf-8", "utf-8-sig")
# Encodings that leave the order of bytes to a mark.
ORDERED_BY_MARK = ("utf-16", "utf-32")

HEAD_BYTES = 4096  # of a block, by which an encoding is told
MIN_ZEROS = 0.3  # of every second byte; texts that are not Latin still have blanks and quotes
MAX_STRAY_ZEROS = 0.05
MIN_HEAD_BYTES = 16  # fewer say nothing
# The name of how decoders go on behind what they cannot decode. Half of a pair, which no text has,
# stands for it, and becomes a byte that UTF-8 does not have.
UNDECODABLE = "fanfold.undecodable"
HALF_PAIR = "\udcff"
NOT_UTF_8 = b"\xff"


def encoding_of(head: bytes) -> str:
    """Return a block's encoding by its byte order mark; "" for UTF-8, or without a mark."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    return ""


def looks_like_utf16(head: bytes) -> str:
    """Return "utf-16-le" or "utf-16-be" where bytes without a mark seem to be that; "" else.

    It is a guess from zeros at every second place, for an error's advice.
    """
    head = head[:HEAD_BYTES]
    if len(head) < MIN_HEAD_BYTES:
        return ""

    even = head[::2].count(0) / len(head[::2])
    odd = head[1::2].count(0) / len(head[1::2])
    if odd >= MIN_ZEROS and even <= MAX_STRAY_ZEROS:
        return "utf-16-le"
    if even >= MIN_ZEROS and odd <= MAX_STRAY_ZEROS:
        return "utf-16-be"
    return ""


def checked_encoding(encoding: str) -> str:
    """Return the name that Python has for an encoding of text; Refused where it knows none."""
    try:
        "a".encode(encoding)  # a codec that is not of text is looked up without an error
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError) as error:
        raise Refused(
            f"encoding={encoding} is no encoding of text that Python knows; "
            "write one such as encoding=latin-1, cp1252, utf-16-le or shift-jis"
        ) from error
    return codecs.lookup(encoding).name


def decode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a stream of text as UTF-8, without its mark; UTF-8 itself goes through as it is.

    Malformed where the first bytes contradict the encoding, or the last character breaks off, after
    all that was good. Refused where nobody knows the encoding.
    """
    name = checked_encoding(encoding) if encoding else "utf-8"
    if name in UTF_8:
        yield from chunks
        return

    decoder = codecs.getincrementaldecoder(name)(UNDECODABLE)
    has_mark = name not in ORDERED_BY_MARK  # whose decoders take it away themselves
    try:
        for chunk in _checked(chunks, name):
            text = decoder.decode(chunk)
            if text:
                yield _as_utf_8(text.removeprefix(MARK) if has_mark else text)
                has_mark = False

        unread, _ = decoder.getstate()
        if unread:
            raise Malformed(f"the {name} text breaks off in the middle of a character")
        if text := decoder.decode(b"", final=True):
            yield _as_utf_8(text)
    except UnicodeError as error:
        raise Malformed(f"the block is no {name} text: {error}") from error


def _checked(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield chunks, the first of at least HEAD_BYTES; Malformed where that contradicts a name."""
    head = b""
    try:
        while len(head) < HEAD_BYTES:
            head += next(chunks)
    except StopIteration:
        pass
    except Malformed:
        _check_head(head, name)
        yield head
        raise

    _check_head(head, name)
    yield head
    yield from chunks


def _check_head(head: bytes, name: str) -> None:
    """Hold what a block's first bytes say against the encoding that was declared."""
    marked = "utf-8" if head.startswith(codecs.BOM_UTF8) else encoding_of(head)
    if marked == name or (marked and marked.rpartition("-")[0] == name):
        return
    if marked:
        raise Malformed(f"encoding={name} is declared, and the block has the mark of {marked}")

    seeming = looks_like_utf16(head)
    if name in ORDERED_BY_MARK and head:
        raise Malformed(
            f"the block has no mark for the order of its bytes: declare "
            f"encoding={seeming or name + '-le'}" + ("" if seeming else f" or {name}-be")
        )
    if name.startswith("utf-32"):
        seeming = ""
    if not seeming and name.startswith(ORDERED_BY_MARK) and _is_utf_8(head):
        seeming = "utf-8"
    if seeming and seeming != name:
        raise Malformed(f"encoding={name} is declared, and the block seems to be {seeming}")


def _is_utf_8(head: bytes) -> bool:
    """Whether bytes are UTF-8 and have none of the zeros that wider characters have."""
    if len(head) < MIN_HEAD_BYTES or b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _as_utf_8(text: str) -> bytes:
    return text.encode("utf-8", UNDECODABLE)


def _pass_undecodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Stand for what cannot be decoded, and write what stands for it as no UTF-8."""
    if isinstance(error, UnicodeDecodeError):
        return HALF_PAIR, error.end
    if isinstance(error, UnicodeEncodeError):
        return NOT_UTF_8, error.end
    raise error


codecs.register_error(UNDECODABLE, _pass_undecodable)
