"""Where deliveries may go: to addresses that everyone may reach, so that no user reaches what only Bindery may."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from shared.domain.errors import Rejected

MAX_URL = 2_000

_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]+")
_PORTS = {"https": 443, "http": 80}

# What IPv6 gives to the world; all else is for a network's own use, or stands for an address of IPv4.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A URL that was read once, so that what is checked is what is asked. `path` has the query with it."""

    scheme: str
    host: str
    port: int
    path: str


def read_url(url: str, *, allow_private: bool) -> Target:
    """Raises Rejected for what no delivery goes to; the message says why, and how it is to be."""
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
        raise Rejected(f"the URL is to be at most {MAX_URL} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Rejected("the URL can't be read") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise Rejected("the URL is to begin with https://")
    if "@" in parts.netloc or "#" in url:
        raise Rejected("the URL is to hold neither a user, nor a password, nor a fragment")
    if not _HOST.fullmatch(host) or port == 0:
        raise Rejected("the URL names no host that can be asked")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], path=path)
    if not allow_private and _is_private_literal(host):
        raise Rejected("the URL names an address that is not everyone's")
    return target


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def are_public(addresses: Sequence[str]) -> bool:
    """Whether there are any, and each is public: one that is not would be a door."""
    return bool(addresses) and all(map(is_public, addresses))


def is_public(text: str) -> bool:
    """Whether everyone may reach this address. Raises ValueError if it is none."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address not in _GLOBAL_UNICAST or address.sixtofour or address.teredo:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
