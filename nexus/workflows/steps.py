"""Steps as they were written, each option checked by itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import CodeType
from typing import Any, Final, Literal, TypedDict, get_args

import attrs

from nexus.exceptions import RegistrationError
from nexus.workflows.retries import Retry

OnError = Literal["fail", "skip", "collect"]
RunIn = Literal["thread", "inline", "process"]

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
DEFAULT_LIMIT: Final = 16


@attrs.frozen
class Input:
    """`Annotated[T, Input()]`: this parameter is an input of the workflow, though its name is nearly a step's."""


def seconds_of(value: float | timedelta | None, *, place: str, option: str = "timeout") -> float | None:
    """Return a duration in seconds, or say that it is not a positive one."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise RegistrationError(f"{place}: {option}={value!r} is not a positive number of seconds or timedelta")
    return float(seconds)


def place_of(function: Callable[..., Any]) -> str:
    """Return `module:qualname`, the identity under which something is registered."""
    module = getattr(function, "__module__", None) or "?"
    return f"{module}:{getattr(function, '__qualname__', type(function).__qualname__)}"


def is_rewritten(old: Any, new: Any) -> bool:
    """Whether the function *new*, from the same place, is what became of *old* in an editor."""
    before, after = _code_of(old), _code_of(new)
    if before is None or after is None or before is after:
        return False
    return before.co_filename != after.co_filename or before.co_firstlineno == after.co_firstlineno


def _code_of(source: Any) -> CodeType | None:
    code = getattr(inspect.unwrap(source) if callable(source) else source, "__code__", None)
    return code if isinstance(code, CodeType) else None


@attrs.frozen
class StepFailure:
    """
    What stands for an item whose step failed, in the result of a fan-out with `on_error="collect"`; for a row of `Nexus.map` too.

    Attributes:
        index: The number of the item, from 0 on.
        code: As of an error; `failed` where the step raised.
        message: What a `Problem` says; what another exception says stays in the run's record.
    """

    index: int
    code: str
    message: str


class StepOptions(TypedDict, total=False):
    """What `Workflow.step` takes."""

    name: str | None
    each: str | Mapping[str, str] | None
    limit: int | None
    on_error: OnError | None
    after: str | Sequence[str]
    when: Callable[..., bool] | None
    retry: Retry | None
    timeout: float | timedelta | None
    run_in: RunIn | None


@attrs.frozen(kw_only=True)
class StepDefinition:
    """
    A step as it was written.

    Attributes:
        each: Which parameter gets one item at a time, and what is iterated: a step's result, or (its own name) an input.
        limit: At most this many items at once.
        on_error: What a failing item does to the others.
        after: Steps that come before, though nothing of theirs is taken.
        when: Whether it is run at all; called with results and inputs by name.
        timeout: Seconds for one attempt at one item.
        run_in: Where a `def` step runs.
        namespace: Local names where the function was written, in which its hints are looked up too.
    """

    name: str
    function: Callable[..., Any]
    each: Mapping[str, str] = attrs.field(factory=dict)
    limit: int = DEFAULT_LIMIT
    on_error: OnError = "fail"
    after: tuple[str, ...] = ()
    when: Callable[..., bool] | None = None
    retry: Retry | None = None
    timeout: float | None = None
    run_in: RunIn | None = None
    namespace: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def place(self) -> str:
        """`module:qualname` of the function."""
        return place_of(self.function)


def make_step(
    function: Callable[..., Any],
    *,
    namespace: Mapping[str, Any],
    name: str | None = None,
    each: str | Mapping[str, str] | None = None,
    limit: int | None = None,
    on_error: OnError | None = None,
    after: str | Sequence[str] = (),
    when: Callable[..., bool] | None = None,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    run_in: RunIn | None = None,
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
    if on_error is not None and not sources:
        raise RegistrationError(f"{place}: on_error={on_error!r} says what a failing item of each= does; give each= too")
    for option, value, choices in (("on_error", on_error, get_args(OnError)), ("run_in", run_in, get_args(RunIn))):
        if value is not None and value not in choices:
            raise RegistrationError(f"{place}: {option}={value!r}: use one of {', '.join(map(repr, choices))}")
    if retry is not None and not isinstance(retry, Retry):
        raise RegistrationError(f"{place}: retry={retry!r}: give nexus.Retry(attempts=…)")
    if when is not None and not callable(when):
        raise RegistrationError(f"{place}: when={when!r}: give a function of results and inputs, like `when=lambda rows: rows`")
    return StepDefinition(
        name=step_name,
        function=function,
        each=sources,
        limit=limit or DEFAULT_LIMIT,
        on_error=on_error or "fail",
        after=(after,) if isinstance(after, str) else tuple(after),
        when=when,
        retry=retry,
        timeout=seconds_of(timeout, place=place),
        run_in=run_in,
        namespace=namespace,
    )
