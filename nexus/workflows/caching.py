"""What is said of a workflow whose results are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import attrs

from nexus.exceptions import RegistrationError

__all__ = ["CachePolicy", "policy_of"]

LONGEST: Final = timedelta(days=3650)


def _duration(ttl: float | timedelta | None) -> timedelta | None:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST.total_seconds():
        raise RegistrationError(
            f"CachePolicy(ttl={ttl!r}): give seconds or a timedelta, longer than zero and at most {LONGEST.days} days"
        )
    return timedelta(seconds=seconds)


@attrs.frozen(kw_only=True)
class CachePolicy:
    """
    How long the results of a workflow are kept, and for whom.

    Attributes:
        ttl: How long, as a timedelta or a number of seconds; None is the application's `cache.ttl`.
        shared: A caller may be given what was made for another one of the same tenant.
        key: Called with inputs by their names; what it returns, a JSON value, stands for all inputs, so that those which make no
            difference make none: `key=lambda airport: airport.upper()`.

    Raises:
        RegistrationError: One of them can't be used.
    """

    ttl: timedelta | None = attrs.field(default=None, converter=_duration)
    shared: bool = False
    key: Callable[..., Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.key is not None and not callable(self.key):
            raise RegistrationError(f"CachePolicy(key={self.key!r}): give a function of inputs, like `key=lambda day: day`")


def policy_of(cache: CachePolicy | timedelta | float | None, *, read_only: bool, place: str) -> CachePolicy | None:
    """
    Return what `cache=` says: a policy, how long, or True for the application's own time.

    Raises:
        RegistrationError: It can't be used; the text says what can.
    """
    if cache is None or cache is False:
        return None
    try:
        policy = cache if isinstance(cache, CachePolicy) else CachePolicy(ttl=None if cache is True else cache)
    except RegistrationError as error:
        raise RegistrationError(f"{place}: cache={cache!r}: {error.message}") from None
    if not read_only:
        raise RegistrationError(
            f"{place}: cache= gives a result again without running the workflow, so the workflow must change nothing; "
            "say read_only=True, or leave cache= out"
        )
    return policy
