"""Whether a caller asks too often."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import attrs

from nexus.abc import Guard
from nexus.models import ANONYMOUS, APPLICATION, Call, Rate
from nexus.security.addresses import owner_of
from nexus.security.limiter import Limiter, SlidingWindow

__all__ = ["AddressRateGuard", "PrincipalRateGuard"]


@attrs.define(eq=False, repr=False)
class AddressRateGuard(Guard):
    """
    Refuse an address that asks too often, before anything is found out about who it is; an IPv6 address is its /64.

    A caller without an address (in-process, the command line, standard input) passes.

    Args:
        limiter: Counts.
        rates: How often; all of them hold.
    """

    limiter: Limiter
    rates: Sequence[Rate]
    _windows: Sequence[SlidingWindow] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._windows = self.limiter.windows("address", self.rates)

    async def check(self, call: Call) -> None:
        """See `Guard.check`."""
        address = call.request.caller.address
        if address is not None:
            self.limiter.take(call, (self._windows, owner_of(address)))


@attrs.define(eq=False, repr=False)
class PrincipalRateGuard(Guard):
    """
    Refuse a caller that asks too often: of everything over all channels, over one channel, or of one operation.

    Callers are counted by principal, whatever sessions and credentials they have; nobody in particular by address, and where
    there is none (the command line, standard input) by channel. The application itself is never refused, nor is what a run asks
    for, whose own call has been counted.

    Args:
        limiter: Counts.
        rates: How often, over all channels.
        by_channel: How often over one, by its name.

    Attributes:
        of_operations: Whether there are operations with a `rate_limit`.
    """

    limiter: Limiter
    rates: Sequence[Rate] = ()
    by_channel: Mapping[str, Sequence[Rate]] = attrs.field(factory=dict)
    of_operations: bool = attrs.field(default=False, init=False)
    _everywhere: Sequence[SlidingWindow] = attrs.field(init=False)
    _on: Mapping[str, Sequence[SlidingWindow]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._everywhere = self.limiter.windows("principal", self.rates)
        self._on = {name: self.limiter.windows("channel", rates) for name, rates in self.by_channel.items() if rates}

    @property
    def limits(self) -> bool:
        """Whether there is anything that it may refuse."""
        return bool(self._everywhere or self._on or self.of_operations)

    async def check(self, call: Call) -> None:
        """See `Guard.check`."""
        if call.principal is APPLICATION or call.request.parent is not None:
            return
        who = _who(call)
        demands: list[tuple[Sequence[SlidingWindow], Hashable]] = [(self._everywhere, who)] if self._everywhere else []
        caller = call.request.caller
        channel = caller.owner or caller.channel
        if channel in self._on:
            demands.append((self._on[channel], (channel, who)))
        if call.operation is not None and call.operation.rate_limit:
            demands.append((self.limiter.windows("operation", call.operation.rate_limit), (call.operation.name, who)))
        if demands:
            self.limiter.take(call, *demands)


def _who(call: Call) -> Hashable:
    principal = call.principal
    if principal.id != ANONYMOUS.id:
        return principal.tenant_id, principal.id
    caller = call.request.caller
    return f"on {caller.owner or caller.channel}" if caller.address is None else owner_of(caller.address)
