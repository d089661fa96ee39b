"""The first bytes of blocks, asked for ahead and side by side."""

import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns
from workers.sources.formats.look import HEAD_BYTES, LARGE_HEAD_BYTES, look
from workers.store import REQUESTS_AT_ONCE, BlockStore, Bytes
from workers.values import Block

WINDOW_BLOCKS = 2 * REQUESTS_AT_ONCE  # blocks whose first bytes are held, at most


class Head:
    """A block with its first bytes at hand: a small one needs no other request."""

    def __init__(self, store: BlockStore, block: Block) -> None:
        self.store = store
        self.block = block
        self.bytes = self._first(HEAD_BYTES)

    def _first(self, count: int) -> bytes:
        size = min(count, self.block.size)
        body = self.store.open(self.block.key, self.block.etag, 0, size)
        parts = iter(lambda: body.read(size), b"")
        with body:
            return b"".join(parts)

    @property
    def is_whole(self) -> bool:
        return len(self.bytes) >= self.block.size

    def look(self, declared: str, columns: Columns) -> Format:
        """Return how the block is written; Malformed where it cannot be read so."""
        form = look(self.bytes, self.is_whole, self.block.key, declared, columns)
        if form is None:
            self.bytes = self._first(LARGE_HEAD_BYTES)
            form = look(self.bytes, self.is_whole, self.block.key, declared, columns)
        if form is None:  # not even that much says anything
            form = look(self.bytes, True, self.block.key, declared, columns)
        assert form
        return form

    def open(self, key: str, etag: str, start: int, end: int) -> Bytes:
        """Open bytes of a block, as a store does."""
        if key == self.block.key and end <= len(self.bytes):
            return io.BytesIO(self.bytes[start:end])
        return self.store.open(key, etag, start, end)

    def open_whole(self, key: str) -> Bytes:
        """Open an object that Fanfold wrote."""
        return self.store.open_whole(key)


AskedHeads = Mapping[Block, Future[Head]]
NONE_ASKED: AskedHeads = {}


def ask_heads(store: BlockStore, blocks: Iterable[Block], pool: ThreadPoolExecutor) -> AskedHeads:
    """Ask for the heads of blocks, each once, on threads of a pool."""
    return {block: pool.submit(Head, store, block) for block in dict.fromkeys(blocks)}


def read_heads(
    store: BlockStore, blocks: Sequence[Block], asked: AskedHeads = NONE_ASKED
) -> Iterator[Head]:
    """Yield the heads of blocks in their order, while those of the next ones are asked for.

    A block that follows itself is asked for once, and none where all have been asked for before.
    """
    if asked.keys() >= set(blocks):
        yield from (asked[block].result() for block in blocks)
        return

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        waiting: deque[Future[Head]] = deque()
        last: Block | None = None
        for block in blocks:
            is_same = block == last
            waiting.append(waiting[-1] if is_same and waiting else pool.submit(Head, store, block))
            last = block
            if len(waiting) > WINDOW_BLOCKS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
