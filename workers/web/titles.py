"""The title of an HTML page, from its first bytes.

Python's HTML parser is not for pages of strangers: 60 kB of `<a <a <a` took it 31 s, and `<![<![`
made it fail. Here the time depends on the length alone.
"""

import codecs
import html
import re

KEPT = 300  # characters of a title, at most

# The title, and what may hold a `<title>` that is not the page's.
HOLDERS = "title|script|style|noscript|template|svg"
OPENS = re.compile(rf"(?ai)<!--|<({HOLDERS})\b[^<>]*(?<!/)>")
CLOSES = re.compile(rf"(?ai)-->|</({HOLDERS})\b")
META_CHARSET = re.compile(rb"(?i)<meta\b[^<>]*?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})")

MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Pages that claim these mean Windows' superset: https://encoding.spec.whatwg.org/#names-and-labels
WINDOWS = {"iso8859-1", "ascii"}
# Python's own, which no page is written in; some of them take time without bounds.
NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}


def title_of(head: bytes, charset: str | None) -> str:
    """Return the title, blanks collapsed and at most KEPT characters; "" where there is none.

    charset: what the Content-Type says. A byte order mark overrules it, and it overrules <meta>.
    """
    text = _decoded(head, charset)
    opened = OPENS.search(text)
    while opened:
        end = _close(text, opened)
        if (opened[1] or "").lower() == "title":
            inside = text[opened.end() : min(end, opened.end() + 10 * KEPT)]
            return " ".join(html.unescape(inside).split())[:KEPT]
        opened = OPENS.search(text, end)
    return ""


def _close(text: str, opened: re.Match[str]) -> int:
    """Return where the end of what was opened starts; the end of the text where it has none."""
    wanted = f"</{opened[1]}".lower() if opened[1] else "-->"
    for closing in CLOSES.finditer(text, opened.end()):
        if closing[0].lower() == wanted:
            return closing.start()
    return len(text)


def _decoded(head: bytes, charset: str | None) -> str:
    """Return text that UTF-8 can write, whatever the bytes are and whatever charset they claim."""
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    meta = META_CHARSET.search(head[:4096])
    claimed = marked or charset or (meta[1].decode("ascii", "replace") if meta else "")
    text = head.decode(_codec(claimed), "replace")
    return text.encode("utf-8", "replace").decode()


def _codec(claimed: str) -> str:
    """Return the codec that a page means by a charset; UTF-8 where it means none."""
    try:
        codec = codecs.lookup(claimed)
    except (LookupError, ValueError):
        return "utf-8"
    if codec.name in WINDOWS:
        return "cp1252"
    is_text = codec.name not in NO_CHARSETS and getattr(codec, "_is_text_encoding", True)
    return codec.name if is_text else "utf-8"
