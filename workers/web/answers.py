"""What one request brings: an answer, or the outcome that its failure means."""

import errno
import hashlib
from collections.abc import Mapping

import aiohttp
import msgspec

from workers.web.addresses import RefusedAddress
from workers.web.titles import title_of

REDIRECT_STATUSES = {301, 302, 303, 307, 308}
HTML_TYPES = {"text/html", "application/xhtml+xml"}
# Ours, and no fact about a page: out of file descriptors, buffers or memory.
OUR_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
CHUNK_BYTES = 64 << 10  # of a body, read at once
MAX_VALIDATOR_CHARACTERS = 500


class Answer(msgspec.Struct, frozen=True):
    """An answer; the body, or what was read of it, where it is a good one."""

    status: int
    headers: Mapping[str, str]
    charset: str | None
    # The first bytes of the body, its size as far as it was read, and its SHA-256.
    head: bytes = b""
    size: int = 0
    content_hash: str = ""

    @property
    def is_redirect(self) -> bool:
        """Whether the page is to be found at another URL."""
        return self.status in REDIRECT_STATUSES and bool(self.headers.get("Location"))

    @property
    def title(self) -> str:
        """The title of an HTML page; "" where there is none."""
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return title_of(self.head, self.charset) if media_type in HTML_TYPES else ""

    def validator(self, name: str) -> str:
        """Return a header to send back next time; "" where it cannot be sent as it came."""
        value = self.headers.get(name, "")
        is_short = len(value) <= MAX_VALIDATOR_CHARACTERS
        return value if value.isascii() and value.isprintable() and is_short else ""


async def read_answer(response: aiohttp.ClientResponse, head_bytes: int, max_bytes: int) -> Answer:
    """Return an answer; of a good one the body too, up to `max_bytes` decoded bytes or a bit more.

    Only its first `head_bytes` are kept.
    """
    head = bytearray()
    size = 0
    content = hashlib.sha256()

    if 200 <= response.status < 300:
        async for part in response.content.iter_chunked(CHUNK_BYTES):
            head += part[: head_bytes - len(head)]
            content.update(part)
            size += len(part)
            if size > max_bytes:
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

    if isinstance(error, OSError) and error.errno in OUR_ERRNOS:
        raise error

    if isinstance(error, aiohttp.ClientConnectorError):
        is_refused = isinstance(error.os_error, RefusedAddress)
        return "refused_address" if is_refused else "unreachable"
    return "unreachable" if isinstance(error, aiohttp.ClientConnectionError) else "bad_answer"
