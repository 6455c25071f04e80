"""How often a step is tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import attrs

from nexus.abc import Clock
from nexus.exceptions import CancelledError, Problem, RegistrationError

__all__ = ["Retry", "retried"]


def _types(on: type[Exception] | tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    return on if isinstance(on, tuple) else (on,)


@attrs.frozen(kw_only=True)
class Retry:
    """
    Try a step again when it fails.

    The time between two attempts is drawn by chance, so that many that failed together don't come back together: at least half
    of `wait`, at most `wait` doubled with each attempt, up to `max_wait`. A `Problem` and a question that was declined are
    answers, not failures: they are tried again only where `on` names their class.

    Attributes:
        attempts: How often in all, the first included.
        on: Which exceptions are worth another attempt; one class, or a tuple of them.
        wait: At most, before the second attempt.
        max_wait: At most, before any.
    """

    attempts: int = 3
    on: tuple[type[Exception], ...] = attrs.field(default=Exception, converter=_types)
    wait: timedelta = timedelta(milliseconds=100)
    max_wait: timedelta = timedelta(seconds=5)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise RegistrationError(f"Retry(attempts={self.attempts!r}): give a whole number from 1 on")
        if not self.on or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in self.on):
            raise RegistrationError(f"Retry(on={self.on!r}): give exception classes, like `on=OSError`")
        for option, value in (("wait", self.wait), ("max_wait", self.max_wait)):
            if not isinstance(value, timedelta) or value < timedelta():
                raise RegistrationError(f"Retry({option}={value!r}): give a timedelta, not negative")

    def covers(self, error: Exception) -> bool:
        """Whether that failure is worth another attempt."""
        if isinstance(error, Problem | CancelledError):
            return any(kind is not Exception and isinstance(error, kind) for kind in self.on)
        return isinstance(error, self.on)


async def retried(call: Callable[[], Awaitable[Any]], retry: Retry, clock: Clock, note: Callable[[int], None]) -> Any:
    """
    Call until it succeeds, fails for good, or has been tried often enough; what it raised last is raised.

    Args:
        call: One attempt.
        retry: How often, on what, and how long between.
        clock: On which the time between passes.
        note: Told the number of each attempt after the first.
    """
    try:
        return await call()
    except Exception as error:
        if retry.attempts == 1 or not retry.covers(error):
            raise
        first = error
    # Only where something has failed: the import takes longer than most steps.
    import tenacity  # noqa: PLC0415

    wait = retry.wait.total_seconds()
    attempts = tenacity.AsyncRetrying(
        sleep=clock.sleep,
        stop=tenacity.stop_after_attempt(retry.attempts),
        wait=tenacity.wait_random_exponential(multiplier=wait, min=wait / 2, max=max(wait / 2, retry.max_wait.total_seconds())),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Exception) and retry.covers(error)),
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            number = attempt.retry_state.attempt_number
            if number == 1:
                raise first
            note(number)
            return await call()
    raise AssertionError("tenacity raises the last failure")
