"""Whether anybody may call from there at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import attrs

from nexus.abc import Guard
from nexus.exceptions import PermissionDeniedError
from nexus.models import Call
from nexus.security.addresses import Network, holds, parse_address

__all__ = ["NetworkGuard"]

KEPT: Final = 10_000


@attrs.define(eq=False, repr=False)
class NetworkGuard(Guard):
    """
    Refuse callers of networks that may not call, and say no more than that.

    A caller without an address (in-process, the command line, standard input) passes; one whose address is none does not.

    Args:
        allow: Only callers of these may; none is all.
        deny: Callers of these may not, whatever allows them.
    """

    allow: Sequence[Network] = ()
    deny: Sequence[Network] = ()
    _lets_in: Callable[[str], bool] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lets_in = lru_cache(maxsize=KEPT)(self._decide)

    async def check(self, call: Call) -> None:
        """See `Guard.check`."""
        address = call.request.caller.address
        if address is not None and not self._lets_in(address):
            raise PermissionDeniedError("this may not be called from there")

    def _decide(self, text: str) -> bool:
        address = parse_address(text)
        if address is None or holds(self.deny, address):
            return False
        return not self.allow or holds(self.allow, address)
