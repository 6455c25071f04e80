"""Whom a proxy speaks for: the address of the caller behind those that are trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

import attrs

from nexus.exceptions import MalformedRequestError
from nexus.models import Caller
from nexus.security.addresses import Address, Network, holds, parse_address

__all__ = ["TrustedProxies"]

KEPT: Final = 10_000
SHORT: Final = 200
"""What is found out from headers of that many characters is kept, of so many callers."""

LONGEST: Final = 1000
"""An element of `Forwarded` has at most so many characters."""

MOST_HOPS: Final = 64
"""How many commas are looked at, from the right: more proxies in a row there are not."""

# RFC 9110, section 5.6; RFC 7239, section 4.
NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
PAIR: Final = rf'({NAME})=({NAME}|"(?:[^"\\]|\\.)*")'
ELEMENT: Final = re.compile(rf"{PAIR}(?:;[ \t]*(?:{PAIR})?)*")
PAIRS: Final = re.compile(PAIR)
# An address with or without a port, which may be obfuscated (RFC 7239, section 6).
NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")


@attrs.define(eq=False, repr=False)
class TrustedProxies:
    """
    Finds out where a caller is that comes by proxies.

    What a header says counts only from a peer that is trusted, and is read from the right, where such a peer has put the address
    of its own peer: past those that are trusted themselves, to the first that is not. What stands further left anybody may have
    written. Where there is none to be had (`unknown`, an obfuscated identifier, something malformed), the address of the trusted
    proxy that said so stands in.

    Args:
        networks: Where proxies are that are trusted.
    """

    networks: Sequence[Network]
    _known: Callable[[str, str | None, str | None], str | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._known = lru_cache(maxsize=KEPT)(self._find)

    def resolve(self, caller: Caller) -> Caller:
        """
        Return the caller with its own address instead of that of a proxy which speaks for it.

        Raises:
            MalformedRequestError: `Forwarded` and `X-Forwarded-For` tell of different callers. A proxy that writes the one hands
                on what a caller has written as the other, and which is which can't be seen: to believe either would be to believe
                the caller, and to believe neither would let it shed an address that is denied.
        """
        address, forwarded, x_forwarded_for = caller.address, caller.forwarded, caller.x_forwarded_for
        if address is None or (forwarded is None and x_forwarded_for is None):
            return caller
        is_short = len(forwarded or "") + len(x_forwarded_for or "") <= SHORT
        found = (self._known if is_short else self._find)(address, forwarded, x_forwarded_for)
        return caller if found is None else attrs.evolve(caller, address=found, forwarded=None, x_forwarded_for=None)

    def _find(self, address: str, forwarded: str | None, x_forwarded_for: str | None) -> str | None:
        """Return the address of the caller; None where the peer is no trusted proxy."""
        peer = parse_address(address)
        if peer is None or not holds(self.networks, peer):
            return None
        found = set[Address]()
        if forwarded is not None:
            found.add(self._first_untrusted(peer, _forwarded(forwarded)))
        if x_forwarded_for is not None:
            found.add(self._first_untrusted(peer, _x_forwarded_for(x_forwarded_for)))
        if len(found) > 1:
            raise MalformedRequestError(
                "the headers Forwarded and X-Forwarded-For tell of different callers; send neither, "
                "and have the proxy remove the one that it does not write"
            )
        return str(found.pop())

    def _first_untrusted(self, peer: Address, nodes: Iterator[Address | None]) -> Address:
        for address in nodes:
            if address is None:
                break
            peer = address
            if not holds(self.networks, peer):
                break
        return peer


def _x_forwarded_for(header: str) -> Iterator[Address | None]:
    """Yield the addresses from the right; None for what is none."""
    for part in reversed(header.rsplit(",", MOST_HOPS)):
        text = part.strip(" \t")
        bare = None if "%" in text else parse_address(text)
        yield bare or _address_of(text)


def _forwarded(header: str) -> Iterator[Address | None]:
    """
    Yield the addresses that the elements of `Forwarded` have as `for`, from the right; None for one without, then no more.

    A comma may be part of a quoted string: what comes after it is an element only if it is whole. Read from the left instead, a
    quote which a caller has opened would swallow what a proxy has put after it.
    """
    end = start = len(header)
    for _ in range(MOST_HOPS):
        start = header.rfind(",", 0, start)
        element = header[start + 1 : end].strip(" \t")
        if len(element) <= LONGEST and ELEMENT.fullmatch(element):
            yield _for_of(element)
            end = start
        if start < 0:
            break
    if end >= 0:
        yield None


def _for_of(element: str) -> Address | None:
    values = [value for name, value in PAIRS.findall(element) if name.lower() == "for"]
    if len(values) != 1:
        return None
    quoted = values[0].startswith('"')
    return _address_of(re.sub(r"\\(.)", r"\1", values[0][1:-1]) if quoted else values[0])


def _address_of(node: str) -> Address | None:
    match = NODE.fullmatch(node)
    if match is None:
        return None
    address = parse_address(match[1] or match[2])
    is_six = match[1] is not None
    # Brackets are for IPv6 addresses; an IPv4-mapped one has become the IPv4 address it is.
    return address if address is not None and (is_six or not isinstance(address, IPv6Address)) else None
