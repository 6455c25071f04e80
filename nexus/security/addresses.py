"""Network addresses: which one a text is, which networks it is in, and whose it is as far as rates go."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["Address", "Network", "holds", "owner_of", "parse_address"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

KEPT: Final = 10_000
LONGEST: Final = 100
"""No address is longer, and nothing longer is kept."""
HOUSEHOLD: Final = 64
"""The bits of an IPv6 address that one customer has at least to himself (RFC 6177): within it, everyone is one."""


def parse_address(text: str) -> Address | None:
    """Return the address, the IPv4 one of an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2); None where it is none."""
    return _parse(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=KEPT)
def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address


def holds(networks: Iterable[Network], address: Address) -> bool:
    """Whether one of the networks has the address in it."""
    return any(address in network for network in networks)


@lru_cache(maxsize=KEPT)
def owner_of(text: str) -> str:
    """Return what is the same for all addresses of one caller: an IPv4 address, the /64 of an IPv6 address."""
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), HOUSEHOLD), strict=False))
    return text if address is None else str(address)
