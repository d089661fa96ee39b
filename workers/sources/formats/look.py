"""What a block is: its first bytes decide, then the suffix of its key, then its declaration.

A declaration that the bytes contradict is an error of the block, and so is what needs a word from
the author: it says which. Nothing is guessed.
"""

import io
import re
from typing import Any

from msgspec.structs import replace

from workers.errors import Malformed, Refused
from workers.sources.formats.brackets import OPENING
from workers.sources.formats.csv_records import records
from workers.sources.formats.format import (
    CONTAINERS,
    Format,
    Kind,
    declared_values,
    format_of,
    suffix_values,
)
from workers.sources.formats.header import Columns, check_header
from workers.sources.formats.lines import BOM, split_lines
from workers.sources.formats.marks import (
    NAMES,
    UNPACK,
    container_mark,
    is_binary,
    is_tar,
    refused_mark,
)
from workers.sources.formats.plain.compression import compression_of, decompress
from workers.sources.formats.plain.encoding import decode, encoding_of, looks_like_utf16
from workers.sources.formats.plain.snappy import snappy_kind
from workers.sources.formats.shape import list_key, shape_of
from workers.sources.formats.text import check_text, recognise
from workers.sources.formats.w3c import is_directive
from workers.values import Place

HEAD_BYTES = 64 << 10  # bytes of a block that tell what it is
# Of compressions that say nothing before a large part of a block is complete.
LARGE_HEAD_BYTES = 2 << 20
SHOWN_BYTES = 60  # bytes of a block's beginning that an error shows

W3C_DELIMITERS = ("\t", " ")
# What a reason says of a block's first bytes.
BEGINNING = re.compile(r" \(it begins with .*\)")


def look(head: bytes, is_whole: bool, key: str, declared: str, columns: Columns) -> Format | None:
    """Return how a block is written, from its first bytes; None where more of them are needed.

    `is_whole` says that there are no more. Malformed, with the place of the whole block, where it
    cannot be read so, or not without a word from the author.
    """
    stated = declared_values(declared)
    form = format_of(key, declared)
    if kind := _container(head):
        if stated.get("kind", kind) != kind:
            raise _contradiction(f"it is {NAMES[kind]}", declared)
        return Format(kind=kind)

    compression = _compression(head, key, stated, declared)
    form = replace(form, compression=compression)
    plain = _plain(head, compression)
    if not plain:
        return form if is_whole else None
    if compression:
        _refuse_inside(plain, compression)

    form = replace(form, encoding=form.encoding or encoding_of(plain))
    text = _text(plain, form, key)
    return _with_kind(form, text, key, stated, declared, columns)


def describe(form: Format) -> str:
    """Return a format as `fanfold plan` names it."""
    words = {
        "json": {
            "lines": "JSON lines",
            "values": "JSON values behind one another",
            "array": "JSON array",
        }[form.shape],
        "text": f"text ({form.pattern})" if form.pattern else "text",
        "csv": "CSV",
        "w3c": "W3C log",
    }
    name = words.get(form.kind) or NAMES[form.kind]
    if form.records:
        name = f"JSON list {form.records!r}"
    return ", ".join(filter(None, [name, form.compression, form.encoding]))


def _refusal(reason: str) -> Malformed:
    return Malformed(reason, Place.rest(0))


def _container(head: bytes) -> Kind | None:
    """Return the kind of a container; Malformed for what is not read."""
    if name := refused_mark(head):
        raise _refusal(f"it is {name}")
    return container_mark(head)


def _contradiction(actual: str, declared: str) -> Malformed:
    return _refusal(f"{actual}, and not what format={declared!r} says")


def _compression(head: bytes, key: str, stated: dict[str, Any], declared: str) -> str:
    actual = compression_of(head)
    wanted = stated.get("compression")
    if not actual and "snappy" in (wanted, suffix_values(key).get("compression")):
        actual = "snappy" if snappy_kind(head) else ""
    if wanted is not None and wanted != actual:
        raise _contradiction(f"it is {actual or 'not compressed'}", declared)
    return actual


def _plain(head: bytes, compression: str) -> bytes:
    """Return the first plain bytes, as far as the head of a block holds them."""
    plain = b""
    try:
        for chunk in decompress(io.BytesIO(head), compression):
            plain += chunk
            if len(plain) >= HEAD_BYTES:
                break
    except Malformed:
        pass  # a head breaks off by nature; a block that does is for its reader to say
    return plain[:HEAD_BYTES]


def _refuse_inside(plain: bytes, compression: str) -> None:
    """Refuse a tar, a container or another compression inside a compression."""
    if is_tar(plain):
        raise _refusal(f"it is a tar archive in {compression}, {UNPACK}")
    if inner := compression_of(plain):
        raise _refusal(
            f"it is {inner} in {compression}, which is not read: put blocks into S3 that are "
            "compressed once (Firehose compresses what CloudWatch Logs has compressed already)"
        )
    if kind := _container(plain):
        raise _refusal(
            f"it is {NAMES[kind]} in {compression}, which is not read: {NAMES[kind]} compresses by "
            "itself, and is cut by its own parts. Put it into S3 as it is"
        )


def _text(plain: bytes, form: Format, key: str) -> bytes:
    """Return plain bytes as UTF-8; Malformed where they are no text."""
    text = b""
    try:
        for chunk in decode(iter([plain]), form.encoding):
            text += chunk
    except Malformed:
        pass  # the last character may be cut

    if is_tar(text):
        raise _refusal(f"it is a tar archive, {UNPACK}")
    if not is_binary(text):
        return text.removeprefix(BOM)

    if name := looks_like_utf16(plain):
        raise _refusal(
            f"it looks like text in {name} without a mark; if it is, write encoding={name} "
            "behind the kind in the asset's format"
        )
    suffixes = suffix_values(key)
    claim = suffixes.get("compression") or NAMES.get(suffixes.get("kind", ""), "")
    suffix = f"; its suffix says {claim}, and it is not" if claim else ""
    raise _refusal(f"it is no text and of no known kind (it begins with {_shown(text)}){suffix}")


def without_beginning(reason: str) -> str:
    """Return why a block is not read, without its first bytes: the same for all that are alike."""
    return BEGINNING.sub("", reason)


def _shown(text: bytes) -> str:
    line = text.lstrip().split(b"\n", 1)[0][:SHOWN_BYTES]
    return repr(line.decode(errors="replace"))


def _with_kind(
    form: Format, text: bytes, key: str, stated: dict[str, Any], declared: str, columns: Columns
) -> Format:
    """Return a format with the kind of text that it is, and the shape of JSON."""
    is_w3c = is_directive(text)
    shape = shape_of(text, columns)
    kind = stated.get("kind")
    if kind in CONTAINERS:
        raise _contradiction(
            f"it is not {NAMES[form.kind]} (it begins with {_shown(text)})", declared
        )
    if is_w3c and kind == "csv" and form.delimiter in W3C_DELIMITERS and not form.columns:
        return replace(form, kind="w3c")  # a table by that delimiter, whose header says #Fields
    if is_w3c and kind in ("csv", "json"):
        raise _contradiction('it is a W3C log (write format="w3c")', declared)
    begins_value = text.lstrip().startswith(OPENING)
    if kind == "csv" and shape and begins_value and not form.columns:
        raise _contradiction("it is JSON", declared)
    if kind == "json" and not shape and not form.records and text.strip():
        raise _contradiction(f"it is no JSON (it begins with {_shown(text)})", declared)
    if kind is None:
        form = replace(form, kind=_kind_of_text(text, is_w3c, shape is not None, key, columns))

    if form.kind == "csv" and not form.columns:
        _check_csv_header(text, form, columns)
    if form.kind == "text":
        _check_text(form, columns)
    if form.kind != "json" or form.records:
        return form
    if field := list_key(text, columns):
        raise _refusal(
            f"its items seem to be the list {field!r} of an object; if they are, write "
            f'format="json records={field}"'
        )
    return replace(form, shape=shape or "lines")


def _check_csv_header(text: bytes, form: Format, columns: Columns) -> None:
    """Hold the header of a table against the item's columns, where it can be read."""
    lines = split_lines(iter([text]), 0, None)
    try:
        header = next(records(lines, form), None)
    except Malformed:
        return  # the head of the block may end in it; its reader says what is wrong
    if header is None or len(text) <= len(header.raw):
        return

    if isinstance(header.cells, list):
        check_header(header.cells, columns)
    elif b"\r" not in header.raw.rstrip():  # its reader says more of such lines
        raise _refusal(f"the header cannot be read: {header.cells}")


def _check_text(form: Format, columns: Columns) -> None:
    """Refuse lines that do not give what the item needs."""
    try:
        check_text(form, columns)
    except Refused as error:
        raise _refusal(str(error)) from error


def _kind_of_text(text: bytes, is_w3c: bool, is_json: bool, key: str, columns: Columns) -> Kind:
    """Return the kind of a text of which nothing is declared."""
    suffix: Kind | None = suffix_values(key).get("kind")
    if is_w3c:
        return "w3c"
    if suffix in CONTAINERS:
        raise _refusal(
            f"its suffix says {NAMES[suffix]}, and it is not (it begins with {_shown(text)})"
        )
    if is_json and suffix in ("json", None):
        return "json"
    begins_value = text.lstrip().startswith(OPENING)
    if is_json and begins_value and suffix in ("text", "csv") and len(columns.names) > 1:
        return "json"  # such as what Logstash calls .txt
    if suffix in ("text", "csv"):
        return suffix
    if not text.strip():
        return "json"
    raise _refusal(_unknown(text, suffix))


def _unknown(text: bytes, suffix: Kind | None) -> str:
    """Return what to say of text that is no JSON, where nothing says what else it is."""
    line = text.lstrip().split(b"\n", 1)[0].rstrip(b"\r").decode(errors="replace")
    claim = "its suffix says JSON" if suffix == "json" else "its suffix does not say what it is"
    if name := recognise(line):
        advice = f'write format="text pattern={name}"'
    elif "\t" in line:
        advice = (
            'write format="csv delimiter=tab", with columns=a,b,c where there is no header and '
            "quote=none where quotes are plain text"
        )
    elif "," in line:
        advice = 'write format="csv", with columns=a,b,c where there is no header'
    else:
        advice = 'write format="text" where each line is an item'
    return f"{claim}, and it is no JSON (it begins with {_shown(text)}): {advice}"
