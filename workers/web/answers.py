"""What one request brings: an answer, or the outcome that its failure means."""

import errno
import hashlib
from collections.abc import Mapping

import aiohttp
import msgspec

from workers.web.addresses import RefusedAddress
from workers.web.titles import title_of

REDIRECTS = {301, 302, 303, 307, 308}
# Ours, and no fact about a page: out of file descriptors, buffers or memory.
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Answer(msgspec.Struct, frozen=True):
    """An answer; the body, or what was read of it, where it is a good one."""

    status: int
    headers: Mapping[str, str]
    charset: str | None
    head: bytes = b""
    size: int = 0
    content_hash: str = ""

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECTS and bool(self.headers.get("Location"))

    @property
    def title(self) -> str:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        is_html = kind in ("text/html", "application/xhtml+xml")
        return title_of(self.head, self.charset) if is_html else ""

    def validator(self, name: str) -> str:
        """Return a header to send back next time; "" where it cannot be sent as it came."""
        value = self.headers.get(name, "")
        return value if value.isascii() and value.isprintable() and len(value) <= 500 else ""


async def read(response: aiohttp.ClientResponse, keep: int, most: int) -> Answer:
    """Read a good answer's body until it ends or has more than `most` decoded bytes."""
    head, size, content = bytearray(), 0, hashlib.sha256()
    if 200 <= response.status < 300:
        async for part in response.content.iter_chunked(64 << 10):
            head += part[: keep - len(head)]
            content.update(part)
            size += len(part)
            if size > most:
                break
    return Answer(
        status=response.status,
        headers=response.headers,
        charset=response.charset,
        head=bytes(head),
        size=size,
        content_hash=content.hexdigest(),
    )


def outcome_of(error: Exception) -> str:
    """Return the outcome that an error of a request means; an error of ours is raised again."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls"
    if isinstance(error, OSError) and error.errno in OURS:
        raise error
    if isinstance(error, aiohttp.ClientConnectorError):
        is_refused = isinstance(error.os_error, RefusedAddress)
        return "refused_address" if is_refused else "unreachable"
    return "unreachable" if isinstance(error, aiohttp.ClientConnectionError) else "bad_answer"
