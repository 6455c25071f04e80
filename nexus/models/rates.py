"""How often something may be asked for, and what is left of that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

__all__ = ["Quota", "Rate", "parse_rates"]

UNITS: Final = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}
NAMES: Final = {86_400: "day", 3600: "hour", 60: "minute", 1: "second"}
RATE: Final = re.compile(r"\s*(\d{1,9})\s*(?:/|\bper\b)\s*(\d{1,5})?\s*([a-z]+)\s*", re.IGNORECASE)


@attrs.frozen
class Rate:
    """
    How often something may be asked for: at most *amount* times within any *window_s* seconds.

    Raises:
        ValueError: One of the two is not a whole number from 1 on.
    """

    amount: int = attrs.field(validator=attrs.validators.ge(1))
    window_s: int = attrs.field(validator=attrs.validators.ge(1))

    def __str__(self) -> str:
        seconds, name = next((unit, name) for unit, name in NAMES.items() if self.window_s % unit == 0)
        count = self.window_s // seconds
        return f"{self.amount}/{name}" if count == 1 else f"{self.amount}/{count} {name}s"


@attrs.frozen
class Quota:
    """
    A limit that a call counts against, and what is left of it (draft-ietf-httpapi-ratelimit-headers-11, section 2).

    Attributes:
        policy: Its name: what is counted, and the window.
        rate: The limit.
        remaining: How many more calls fit now.
        reset_s: In how many seconds there is room for more than that.
    """

    policy: str
    rate: Rate
    remaining: int
    reset_s: int


def parse_rates(value: str | Rate | Sequence[Any] | None) -> tuple[Rate, ...]:
    """
    Return the rates of text like `100/minute; 2000/hour`, all of which hold; none for None, `none` and nothing.

    Raises:
        ValueError: It is something else.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return ()
    parts = re.split(r"[;,]", value) if isinstance(value, str) else [value] if isinstance(value, Rate) else value
    if not isinstance(parts, list | tuple):
        raise _unusable(value)
    return tuple(dict.fromkeys(part if isinstance(part, Rate) else _rate(part, value) for part in parts))


def _rate(part: Any, value: Any) -> Rate:
    match = RATE.fullmatch(part) if isinstance(part, str) else None
    if match is None or match[3].lower() not in UNITS or not int(match[1]) or not int(match[2] or 1):
        raise _unusable(value)
    return Rate(int(match[1]), int(match[2] or 1) * UNITS[match[3].lower()])


def _unusable(value: Any) -> ValueError:
    return ValueError(f"expected text like '100/minute', '10/5 minutes' or '100/minute; 2000/hour', or none, got {value!r}")
