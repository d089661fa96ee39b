"""What a store asks S3 for, seen where requests leave this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from workers.store import BlockStore


@contextmanager
def count_reads(store: BlockStore, prefix: str) -> Iterator[list[str]]:
    """Give the keys under a prefix that are read, once for each request."""
    read: list[str] = []

    def note(request: Any, **_: Any) -> None:
        key = unquote(urlsplit(request.url).path).removeprefix(f"/{store.bucket}/")
        if request.method == "GET" and key.startswith(prefix):
            read.append(key)

    store.client.meta.events.register("before-send.s3", note)
    try:
        yield read
    finally:
        store.client.meta.events.unregister("before-send.s3", note)
