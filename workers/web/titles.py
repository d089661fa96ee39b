"""The title of an HTML page, from its first bytes.

Python's HTML parser is not for pages of strangers: 60 kB of `<a <a <a` took it 31 s, and `<![<![`
made it fail. Here the time depends on the length alone.
"""

import codecs
import html
import re

MAX_TITLE_CHARACTERS = 300
# Bytes of a page in which a <meta> may name its charset.
META_BYTES = 4096

# The title, and what may hold a `<title>` that is not the page's.
HOLDERS = "title|script|style|noscript|template|svg"
OPENING = re.compile(rf"(?ai)<!--|<({HOLDERS})\b[^<>]*(?<!/)>")
CLOSING = re.compile(rf"(?ai)-->|</({HOLDERS})\b")
META_CHARSET = re.compile(rb"(?i)<meta\b[^<>]*?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})")

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Pages that claim these mean Windows' superset: https://encoding.spec.whatwg.org/#names-and-labels
WINDOWS_CHARSETS = {"iso8859-1", "ascii"}
# Python's own, which no page is written in; some of them take time without bounds.
NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}


def title_of(head: bytes, charset: str | None) -> str:
    """Return the title, blanks collapsed and cut to MAX_TITLE_CHARACTERS; "" where there is none.

    charset: what the Content-Type says. A byte order mark overrules it, and it overrules <meta>.
    """
    text = _decoded(head, charset)
    opening = OPENING.search(text)
    while opening:
        end = _end_of(text, opening)
        if (opening[1] or "").lower() == "title":
            # Escapes and blanks are longer than what they become.
            raw = text[opening.end() : min(end, opening.end() + 10 * MAX_TITLE_CHARACTERS)]
            return " ".join(html.unescape(raw).split())[:MAX_TITLE_CHARACTERS]

        opening = OPENING.search(text, end)
    return ""


def _end_of(text: str, opening: re.Match[str]) -> int:
    """Return where the end of what was opened starts; the end of the text where it has none."""
    wanted = f"</{opening[1]}".lower() if opening[1] else "-->"
    for closing in CLOSING.finditer(text, opening.end()):
        if closing[0].lower() == wanted:
            return closing.start()
    return len(text)


def _decoded(head: bytes, charset: str | None) -> str:
    """Return text that UTF-8 can write, whatever the bytes are and whatever charset they claim."""
    marks = (name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark))
    meta = META_CHARSET.search(head[:META_BYTES])
    meta_charset = meta[1].decode("ascii", "replace") if meta else ""

    claimed = next(marks, None) or charset or meta_charset
    text = head.decode(_codec(claimed), "replace")
    return text.encode("utf-8", "replace").decode()


def _codec(claimed: str) -> str:
    """Return the codec that a page means by a charset; UTF-8 where it means none."""
    try:
        codec = codecs.lookup(claimed)
    except (LookupError, ValueError):
        return "utf-8"

    if codec.name in WINDOWS_CHARSETS:
        return "cp1252"
    is_text = codec.name not in NO_CHARSETS and getattr(codec, "_is_text_encoding", True)
    return codec.name if is_text else "utf-8"
