"""Which URL means which page, and which addresses a worker may connect to."""

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from yarl import URL

Network = IPv4Network | IPv6Network

HOST = re.compile(r"(?=.{1,253}\.?$)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
# Sockets read names like 127.1 and 0x7f000001 as addresses.
NUMERIC_HOST = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)\.?$")
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class RefusedAddress(OSError):
    """The address is not a public one, and no setting allows it."""

    def __init__(self) -> None:
        # One text for all: of several addresses' errors, only equal ones reach the caller as made.
        super().__init__("the address is not public; FANFOLD_ALLOWED_NETWORKS can allow it")


def normalised(text: str) -> str:
    """Return the one way to write the URL of a page; ValueError where it is no URL for a page.

    Blanks around it, upper case in scheme and host, the default port, the fragment, `.` and `..`
    and needless %-escapes go; a host becomes ASCII (IDNA), an empty path `/`.
    """
    url = URL(text.strip())
    if url.scheme not in ("http", "https"):
        raise ValueError("a page's URL starts with http:// or https://")
    if url.raw_user or url.raw_password:
        raise ValueError("a page's URL holds no user and password")
    if not is_host(url.raw_host or ""):
        raise ValueError("the URL names no host")
    return f"{url.origin()}{url.raw_path_qs}"


def is_host(name: str) -> bool:
    """Tell whether DNS could know a name, or it is an address, written as such."""
    try:
        return getattr(ip_address(name), "scope_id", None) is None
    except ValueError:
        return bool(HOST.fullmatch(name)) and not NUMERIC_HOST.search(name)


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a text such as `10.1.0.0/16, ::1`; ValueError where one is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_refused(host: str, allowed: Sequence[Network]) -> bool:
    """Tell whether an IP address, as sockets write it, must not be connected to.

    Only public addresses may be, and what `allowed` holds. An IPv6 address that carries an IPv4
    one (mapped, NAT64, 6to4) is as public as that one.
    """
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return False

    if isinstance(address, IPv6Address):
        address = _carried_address(address) or address
    is_special = address.is_multicast or address.is_reserved
    if isinstance(address, IPv6Address):
        is_special = is_special or address.is_site_local
    return is_special or not address.is_global


def _carried_address(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, or None."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


def guarded_socket(allowed: Sequence[Network]) -> Callable[[Any], socket.socket]:
    """Return a maker of sockets that refuses (RefusedAddress) the address about to be connected to.

    It runs behind the look-up of a name, so no answer of DNS slips in between check and use.
    """

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_refused(address[0], allowed):
            raise RefusedAddress
        return socket.socket(family, kind, protocol)

    return make
