"""Bytes that are looked at before they are taken."""

from typing import Any

from workers.store import Bytes


class Buffered:
    """A body of which bytes can be seen ahead, and be taken in the sizes that a format states.

    The body is asked for `step_bytes` at a time, or for more where more is needed at once.
    """

    def __init__(self, body: Bytes, step_bytes: int) -> None:
        self._body = body
        self._step_bytes = step_bytes
        # What was read and not taken yet.
        self._ahead = b""
        # Arrow asks files for it.
        self.closed = False

    def peek(self, size: int) -> bytes:
        """Return the next bytes, which stay; fewer only where the body ends."""
        if len(self._ahead) >= size:
            return self._ahead[:size]

        chunks = [self._ahead]
        missing = size - len(self._ahead)
        while missing > 0:
            chunk = self._body.read(max(missing, self._step_bytes))
            if not chunk:
                break
            chunks.append(chunk)
            missing -= len(chunk)
        self._ahead = b"".join(chunks)
        return self._ahead[:size]

    def take(self, size: int) -> bytes:
        """Return the next bytes; EOFError where the body has fewer, and then none is taken."""
        taken = self.peek(size)
        if len(taken) < size:
            raise EOFError("it ends early")
        self._ahead = self._ahead[size:]
        return taken

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, as a file does; empty at the end."""
        if not self._ahead:
            return self._body.read(size)
        taken = self._ahead if size < 0 else self._ahead[:size]
        self._ahead = self._ahead[len(taken) :]
        return taken

    def close(self) -> Any:
        """Close the body."""
        self.closed = True
        self._body.close()
