"""Odd and damaged blocks, each with how many items it holds by a count of its own.

The counts come from the bytes alone (zlib, bz2, lzma, csv and the rows that were written), never
from Fanfold's readers. Only zstd has one implementation here, which is Arrow's.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

BOM = b"\xef\xbb\xbf"
STEP_BYTES = 64 << 10  # compressed bytes that the readers promise to take at a time
ZSTD_STEP_BYTES = 1 << 10  # plain bytes that Arrow is asked for at a time
FORMATS = {
    ".jsonl": 34, ".jsonl.gz": 12, ".jsonl.zst": 5, ".jsonl.bz2": 4, ".jsonl.xz": 4,
    ".csv": 16, ".csv.gz": 5, ".csv.zst": 2, ".parquet": 18,
}  # fmt: skip
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda body: gzip.compress(body, 1, mtime=0),
    ".zst": lambda body: pa.compress(body, "zstd", asbytes=True),
    ".bz2": lambda body: bz2.compress(body, 1),
    ".xz": lambda body: lzma.compress(body, preset=0),
}

# What stands for a value, as JSON writes it.
NAMES = [
    *(json.dumps(name) for name in ("$set", "$", "a.b", ".", "..", "%2E", "%", "_id", "_fold", "")),
    *(
        json.dumps(name)
        for name in ("a\0b", "\0", "null", "ünï", "🦄", "\u202e", "\ufeff", "\uffff")
    ),
    '"' + "k" * 1024 + '"',
]
NUMBERS = [
    *("1e400", "-1e400", "9" * 400, "-" + "9" * 400, "9" * 5000, "-0", "-0.0", "1e-400", "NaN"),
    *("Infinity", "-Infinity", "18446744073709551616", "-9223372036854775809", "0x10", "1e", "01"),
    *("0." + "3" * 3000, "0e99999999999"),
]
TIMES = [
    *("true", "false", "null", "-1", "-62135596800", "-62135596800.001", "253402214400", "1e12"),
    *('"1969-12-31T23:59:59Z"', '"0001-01-01"', '"0000-01-01"', '"9999-12-30"', '"10000-01-01"'),
    *('"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', '"1998-W14-3"', '"now"', '""'),
    *('"nan"', '"inf"', '"true"', '"1998-02-30"', '"1998-04-01T00:00:00.123456789Z"', '"1e400"'),
]
SHAPES = ["null", "[]", "{}", "7", '"text"', "[1]", '{"a":1}', "true", '[[["a"]]]', '["a",null]']
TEXTS = [
    *(r'"\ud800"', r'"\udc00x"', r'"\ud800\ud800"', r'"\ud83e\udd84"', r'"\u0000"', r'"a\u0000b"'),
    *(r'"\x"', '"\t"', '"a\\', '"\x7f"', '"' + "\u2028" * 3 + '"', '"\U0010ffff"'),
]
FIELDS = ["user", "action", "ts", "item", "topics", "author", "unknown"]

PLACES = {"names": NAMES, "numbers": NUMBERS, "times": TIMES, "shapes": SHAPES, "text": TEXTS}


class Case(NamedTuple):
    """A block: the end of its key, its bytes, and its items."""

    suffix: str
    body: bytes
    items: int
    # Damage may have reached the footer: then the block may also be one item.
    or_one: bool = False


def drawn(kind: str, seed: str, rows: range, suffixes: Mapping[str, int] = FORMATS) -> Case:
    """Return the block of a seed: its format and its number of items are drawn, too."""
    random = Random(seed)
    (suffix,) = random.choices(list(suffixes), list(suffixes.values()))
    return case(kind, suffix, random, random.choice(rows))


def case(kind: str, suffix: str, random: Random, rows: int) -> Case:
    """Return a block of so many items (before the mutation) of one kind of mutation."""
    if suffix == ".parquet":
        return _parquet(kind, random, rows)
    layout, _, end = suffix[1:].partition(".")
    end = end and f".{end}"

    plain = _csv(kind, random, rows) if layout == "csv" else _json(kind, random, rows)
    is_inside = not end or random.random() < 0.5
    if kind in DAMAGE and is_inside:
        plain = DAMAGE[kind](plain, random)
    body = _members(plain, end, random) if kind == "members" else COMPRESS[end](plain)
    if kind in DAMAGE and not is_inside:
        body = DAMAGE[kind](body, random)

    body = b"" if kind == "empty" else body
    return Case(suffix, body, count(suffix, body))


# Writing


def _event(random: Random) -> dict[str, str]:
    """Return an event: the JSON of each field."""
    return {
        "user": f'"user{random.randrange(40)}"',
        "action": random.choice(['"view"', '"like"', '"dislike"', '"click"']),
        "ts": str(891388800 + random.randrange(86_400)),
        "item": f'"film, the {random.randrange(20)}th"',
        "topics": random.choice(['["a","b"]', "null", "[]", f'["t{random.randrange(9)}"]']),
    }


def _odd_event(kind: str, random: Random) -> dict[str, str]:
    event = _event(random)
    if random.random() < 0.5:
        return event

    field = "ts" if kind == "times" else random.choice(FIELDS)
    if kind in PLACES:
        event[field] = random.choice(PLACES[kind])
    elif kind == "nesting":
        deep = random.choice([50, 600, 1_100, 3_000, 100_000 if random.random() < 0.1 else 900])
        event[field] = random.choice(["[" * deep, "[" * deep + "]" * deep, '{"a":' * deep])
    elif kind == "long":
        long = random.choice([1_024, 1_025, 9_999, 10_001, 1 << 20 if random.random() < 0.1 else 5])
        event[field] = '"' + random.choice("xé$.") * long + '"'
    elif kind == "fields":
        event.pop(field, None)

    if random.random() < 0.1:
        event[random.choice(NAMES)[1:-1]] = "1"
    return event


def _json(kind: str, random: Random, rows: int) -> bytes:
    lines = []
    for _ in range(rows):
        pairs = (f'"{name}":{value}' for name, value in _odd_event(kind, random).items())
        lines.append(("{" + ",".join(pairs) + "}").encode())
        if kind == "shapes" and random.random() < 0.2:
            lines.append(random.choice(SHAPES).encode())
    return _laid_out(lines, kind, random)


def _csv(kind: str, random: Random, rows: int) -> bytes:
    header = ["user", "action", "ts", "item", "topics", "unused"]
    if kind == "fields":
        header = random.choices([*header, "", "user"], k=random.randrange(8))

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(header)
    for _ in range(rows):
        event = _odd_event(kind, random)
        cells = [event.get(name, "").strip('"') for name in header]
        if kind == "shapes":
            cells = random.choices([*cells, '"', "a\nb", ""], k=random.randrange(8))
        csv.writer(text, lineterminator="\n").writerow(cells)
        if kind == "shapes" and random.random() < 0.2:
            text.write(random.choice(['"open', 'a"b"c', '"a"b', ",,,,,,,,", '"two\nlines"']) + "\n")
    return _laid_out(text.getvalue().encode(errors="replace").split(b"\n")[:-1], kind, random)


def _laid_out(lines: list[bytes], kind: str, random: Random) -> bytes:
    """Put lines together, with what comes between and before them."""
    if kind == "line ends":
        end = random.choice([b"\r\n", b"\r", b"\n\r", b"\n\n", b"\r\n\n", b" \n", b"\v\n", b"\0\n"])
        return end.join(lines) + random.choice([end, b""])
    if kind == "BOM":
        return random.choice([BOM, BOM + b"\n", BOM * 2, b"\n" + BOM]) + b"\n".join(lines) + b"\n"
    if kind == "blank lines":
        many = random.choice([1, 10, 5_000, 200_000 if random.random() < 0.02 else 500])
        blank = random.choice([b"\n", b"\r\n"])
        lines = random.choice([[], lines, lines])
        return blank * many + b"\n".join(lines) + b"\n" + blank * many
    return b"\n".join(lines) + b"\n" * (random.random() < 0.8)


def _members(plain: bytes, end: str, random: Random) -> bytes:
    """Compress a body in two members, with something between or behind them."""
    offset = random.randrange(len(plain) + 1)
    first = COMPRESS[end](plain[:offset])
    last = COMPRESS[end](plain[offset:])
    middle = random.choice([b"", b"", bytes(4), bytes(512), b"\n", b"garbage", last[:9]])
    return random.choice([first + middle + last, first + last + middle])


# Parquet

STRINGS = pa.string()
COLUMNS: list[Callable[[list[int]], pa.Array]] = [
    lambda n: pa.array([2**62 if i % 2 else i for i in n], pa.timestamp("us")),
    lambda n: pa.array([2**40 if i % 2 else i for i in n], pa.timestamp("s", "UTC")),
    lambda n: pa.array(n, pa.timestamp("ms", "Mars/Phobos")),
    lambda n: pa.array(n, pa.timestamp("ns", "+13:45")),
    lambda n: pa.array([datetime(1998, 4, 1, tzinfo=UTC) if i % 3 else None for i in n]),
    lambda n: pa.array(n, pa.date32()),
    lambda n: pa.array([10**16 for _ in n], pa.date64()),
    lambda n: pa.array([2**62 for _ in n], pa.duration("us")),
    lambda n: pa.array([float("nan") if i % 2 else float("inf") for i in n]),
    lambda n: pa.array([2**64 - 1 for _ in n], pa.uint64()),
    lambda n: pa.array([bool(i % 2) for i in n]),
    lambda n: pa.array([b"\xff%d" % i for i in n]),
    lambda n: pa.array([f"{i}" for i in n], pa.string_view()),
    lambda n: pa.array([f"{i}" for i in n]).dictionary_encode(),
    lambda n: pa.array([{"a": {"b": [i]}} for i in n]),
    lambda n: pa.array([[("k", i)] for i in n], pa.map_(STRINGS, pa.int64())),
    lambda n: pa.array([[["a", None]] if i % 2 else None for i in n]),
    lambda n: pa.array([["a", None] if i % 2 else [] for i in n]),
    lambda n: pa.nulls(len(n)),
    lambda n: pa.array([1 + i for i in n], pa.decimal128(38, 10)),
    # Not text, which Arrow writes and reads all the same.
    lambda n: pa.Array.from_buffers(STRINGS, len(n), pa.array([b"\xff"] * len(n)).buffers()),
]


def _parquet(kind: str, random: Random, rows: int) -> Case:
    rows = 0 if kind == "empty" else rows
    events = [_odd_event(kind, random) for _ in range(rows)]
    columns: dict[str, Any] = {}
    for name in ("user", "action", "ts", "item", "topics"):
        values = [_value(event.get(name)) for event in events]
        if name == "topics":
            values = [value if _is_texts(value) else None for value in values]
        elif len({type(value) for value in values}) > 1:
            values = [None if value is None else str(value) for value in values]
        columns[name] = values

    if kind in ("fields", "shapes"):
        columns[random.choice([*columns, "unknown"])] = random.choice(COLUMNS)(list(range(rows)))
        columns.pop(random.choice([*columns, "", "", ""]), None)

    file = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        file,
        row_group_size=random.choice([1, 3, 100]) if rows < 100 else 40,
        compression=random.choice(["none", "snappy", "zstd", "gzip"]),
        use_dictionary=random.random() < 0.5,
        data_page_version=random.choice(["1.0", "2.0"]),
    )
    body = file.getvalue()
    items = rows if columns else 0
    if kind in DAMAGE:
        body = DAMAGE[kind](body, random)
        return Case(".parquet", body, items if body else 0, or_one=bool(body))
    return Case(".parquet", body, items)


def _value(text: str | None) -> Any:
    """Return the value of a JSON text, as far as a column can hold it."""
    try:
        value = json.loads(text or "null", parse_int=_integer)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text
    return str(value) if isinstance(value, dict) else value


def _integer(text: str) -> int | str:
    return int(text) if len(text) < 18 else text


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


# Damage


def _flip(body: bytes, random: Random) -> bytes:
    damaged = bytearray(body)
    for _ in range(random.choice([1, 1, 2, 20]) if body else 0):
        damaged[random.randrange(len(body))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _truncate(body: bytes, random: Random) -> bytes:
    start = random.choice([0, 0, 0, random.randrange(len(body) + 1)])
    return body[start : random.randrange(start, len(body) + 1)]


def _duplicate(body: bytes, random: Random) -> bytes:
    start = random.randrange(len(body) + 1)
    offset = random.randrange(len(body) + 1)
    copied = body[start : start + random.choice([1, 40, len(body)])]
    return body[:offset] + copied + body[offset:]


def _insert(body: bytes, random: Random) -> bytes:
    offset = random.randrange(len(body) + 1)
    odd = [b"\0", b'"', b"\n", b"\r", b"\xff", b"\xed\xa0\x80", BOM, b"{", b"\\", b",", b"\x1a"]
    return body[:offset] + random.choice(odd) * random.choice([1, 1, 3]) + body[offset:]


def _randomise(body: bytes, random: Random) -> bytes:
    return random.randbytes(random.choice([1, 7, 8, 9, 12, 100, 1_000]))


DAMAGE: dict[str, Callable[[bytes, Random], bytes]] = {
    "flipped": _flip,
    "truncated": _truncate,
    "duplicated": _duplicate,
    "inserted": _insert,
    "random": _randomise,
}
KINDS = [
    *("whole", "fields", *PLACES, "nesting", "long"),
    *("line ends", "BOM", "blank lines", "empty", "members", *DAMAGE),
]


# Counting


def count(suffix: str, body: bytes, multiline: bool = True) -> int:
    """Return the items of a block of text: a stream that breaks off has one more."""
    plain, is_broken = decompressed(body, suffix)
    plain = plain.removeprefix(BOM)
    lines = plain.split(b"\n")
    last = lines.pop()
    if last and not is_broken:
        lines.append(last)

    if not suffix.startswith(".csv"):
        values = None if is_broken else _values(plain)
        return values or sum(1 for line in lines if line.strip()) + is_broken
    return _records(lines, is_broken, multiline)


def _values(plain: bytes) -> int | None:
    """Return how many JSON values text is that is nothing else, whatever its lines."""
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        return None

    values = 0
    end = 0
    while end < len(text):
        if text[end] in " \t\r\n,":
            end += 1
            continue
        try:
            _, end = json.JSONDecoder().raw_decode(text, end)
        except (ValueError, RecursionError):
            return None
        values += 1
    return values


def count_before(case: Case, start: int, multiline: bool = True) -> int:
    """Return the items of a block of text that begin before a plain byte."""
    plain, _ = decompressed(case.body, case.suffix)
    kind = "." + case.suffix.split(".")[1]
    lines = plain[:start].rpartition(b"\n")  # what begins before and does not end is of the rest
    return count(kind, lines[0] + lines[1], multiline)


def parts(body: bytes, key: str) -> int:
    """Return how many items a block of text may be taken apart to, at most."""
    if key.endswith(".parquet"):
        return 0
    plain, is_broken = decompressed(body, key)
    ends = len(re.findall(rb"[\n\r]+|[}\]][\s,]*[{\[]", plain))
    return ends + 1 + is_broken


def decompressed(body: bytes, suffix: str) -> tuple[bytes, bool]:
    """Return the bytes of a body as far as they go, and whether they break off."""
    end = suffix.rpartition(".")[2]
    if end == "zst":
        return _from_zstd(body)
    if end not in DECODERS:
        return body, False

    plain = b""
    decoder = DECODERS[end]()
    is_begun, is_first = False, True
    for start in range(0, len(body), STEP_BYTES):
        data = body[start : start + STEP_BYTES]
        while data := data if is_begun or is_first else data.lstrip(b"\0"):
            is_begun, is_first = True, False
            try:
                plain += decoder.decompress(data)
            except (OSError, zlib.error, lzma.LZMAError):
                return plain, True
            data = b""
            if decoder.eof:
                data, decoder, is_begun = decoder.unused_data, DECODERS[end](), False
    return plain, is_begun


DECODERS: dict[str, Callable[[], Any]] = {
    "gz": lambda: zlib.decompressobj(31),
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def _from_zstd(body: bytes) -> tuple[bytes, bool]:
    stream = pa.input_stream(pa.BufferReader(body), compression="zstd")
    plain = b""
    try:
        while chunk := stream.read(ZSTD_STEP_BYTES):
            plain += chunk
    except OSError:
        return plain, True
    return plain, False


class _BreaksOff(Exception):
    """The lines end in the middle of the stream."""


def _records(lines: list[bytes], is_broken: bool, multiline: bool) -> int:
    """Return the records of a CSV without a header that can be read."""
    raw = bytearray()

    def text(of_reader: list[bytes]) -> Iterator[str]:
        for line in of_reader:
            raw.extend(line)
            yield line.decode("latin-1") + "\n"  # keeps every quote and comma where it is
        if is_broken and multiline:
            raise _BreaksOff

    readers = [lines] if multiline else [[line] for line in lines]
    records = int(is_broken)
    header = None
    for of_reader in readers:
        reader = csv.reader(text(of_reader), strict=True)
        while True:
            raw.clear()
            try:
                cells = next(reader)
                is_good = _is_text(raw)
            except (StopIteration, _BreaksOff):
                break
            except csv.Error:
                cells, is_good = ["?"], False
            header = is_good if header is None and cells else header
            records += bool(cells)
    return records - (header is True)


def _is_text(line: bytes | bytearray) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
