"""Part `growth`: the memory that a run takes where blocks are compressed, or one is very large.

What plain blocks of each size take is in the part `whole_job`.
"""

import gzip
import tempfile
from typing import Any

from benchmarks.events import event_blocks
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say
from benchmarks.surroundings import ASSET, DAY, SEED, empty, put_events, store

EVENT_BYTES = 80  # of a line, about
EVENTS_PER_PART = 500_000  # of the large block, made at a time


def measure_part(scale: Scale) -> Answer:
    """Run Fanfold over gzip blocks, and over one large block."""
    runs: dict[str, Any] = {}
    empty()
    put_events(scale.gzip_events, suffix=".gz", change=_compress)
    runs["gzip"] = _run(scale.gzip_events)

    if scale.large_block_bytes:
        empty()
        runs["large_block"] = _run(_put_large_block(scale.large_block_bytes))
    empty()
    return {"runs": runs}


def _run(events: int) -> Answer:
    run = measure("benchmarks.fanfold:run").to_json() | {"events": events}
    say(f"  {events:,} events: {run['seconds']:.1f} s, {run['peak_mb']} MB")
    return run


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)


def _put_large_block(size: int) -> int:
    """Put one block of about so many bytes; return how many events it holds."""
    events = size // EVENT_BYTES
    with tempfile.TemporaryFile() as file:
        for _, body in event_blocks(events, -(-events // EVENTS_PER_PART), SEED, DAY):
            file.write(body)
        file.seek(0)
        bucket = store()
        bucket.client.upload_fileobj(file, bucket.bucket, f"{ASSET.prefixes(DAY)[0]}large.jsonl")
    return events
