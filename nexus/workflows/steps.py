"""Steps as they were written, each option checked by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from nexus.exceptions import RegistrationError

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
DEFAULT_LIMIT: Final = 16


@attrs.frozen
class Input:
    """`Annotated[T, Input()]`: this parameter is an input of the workflow, though its name is nearly a step's."""


def seconds_of(value: float | timedelta | None, *, place: str, option: str = "timeout") -> float | None:
    """Return a duration in seconds, or say that it is not a positive one."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
        raise RegistrationError(f"{place}: {option}={value!r} is not a positive number of seconds or timedelta")
    return None if seconds is None else float(seconds)


def place_of(function: Callable[..., Any]) -> str:
    """Return `module:qualname`, the identity under which something is registered."""
    module = getattr(function, "__module__", None) or "?"
    return f"{module}:{getattr(function, '__qualname__', type(function).__qualname__)}"


@attrs.frozen(kw_only=True)
class StepDefinition:
    """
    A step as it was written.

    Attributes:
        each: Which parameter gets one item at a time, and what is iterated: a step's result, or (its own name) an input.
        limit: At most this many items at once.
        timeout: Seconds for one item.
        namespace: Local names where the function was written, in which its hints are looked up too.
    """

    name: str
    function: Callable[..., Any]
    each: Mapping[str, str] = attrs.field(factory=dict)
    limit: int = DEFAULT_LIMIT
    timeout: float | None = None
    namespace: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def place(self) -> str:
        """`module:qualname` of the function."""
        return place_of(self.function)


def make_step(
    function: Callable[..., Any],
    *,
    name: str | None,
    each: str | Mapping[str, str] | None,
    limit: int | None,
    timeout: float | timedelta | None,
    namespace: Mapping[str, Any],
) -> StepDefinition:
    """Check a step's options, each by itself, and put them in their one form."""
    place = place_of(function)
    if not callable(function) or isinstance(function, type):
        raise RegistrationError(f"{place}: a step is a function, not {function!r}")
    step_name = name or function.__name__
    if not NAME.fullmatch(step_name):
        raise RegistrationError(f"{place}: {step_name!r} can't be a name: use lower-case letters, digits and _, and give name=…")
    sources = {each: each} if isinstance(each, str) else dict(each or {})
    if len(sources) > 1:
        raise RegistrationError(f"{place}: each= takes one parameter, not {len(sources)}; zip them in a step before")
    if limit is not None and (not sources or limit < 1):
        way_out = "give each= too" if not sources else "use 1 or more"
        raise RegistrationError(f"{place}: limit={limit!r} says how many items of each= run at once; {way_out}")
    return StepDefinition(
        name=step_name,
        function=function,
        each=sources,
        limit=limit or DEFAULT_LIMIT,
        timeout=seconds_of(timeout, place=place),
        namespace=namespace,
    )
