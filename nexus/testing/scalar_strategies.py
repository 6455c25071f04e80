"""Hypothesis strategies of values that JSON writes as one string, number or boolean, within their bounds."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from nexus.workflows.fields_bounds import Bounds

__all__ = ["json_values", "path_names", "scalar_strategy"]

Strategy = st.SearchStrategy[Any]

SAFE: Final = 2**53 - 1
"""Integers of any JSON reader (RFC 8259, section 6); only bounds lead farther."""

MANY: Final = 10**6
DAY: Final = timedelta(days=1)
ZONES: Final = (UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8)))
ALPHABETS: Final[Mapping[Any, str]] = {
    str.islower: string.ascii_lowercase,
    str.isupper: string.ascii_uppercase,
    str.isalpha: string.ascii_letters,
    str.isalnum: string.ascii_letters + string.digits,
    str.isascii: string.ascii_letters + string.digits + string.punctuation + " ",
    str.isdigit: string.digits,
    str.isdecimal: string.digits,
    str.isnumeric: string.digits,
    str.isidentifier: string.ascii_letters + "_",
}
"""Predicates that a text of any characters hardly ever satisfies."""


def scalar_strategy(type_: type[Any], bounds: Bounds) -> Strategy:
    """Return a strategy of values of the type, nearly all of them within the bounds."""
    return STRATEGIES[type_](bounds)


def json_values() -> Strategy:
    """Return a strategy of any JSON value."""
    numbers = st.integers(-SAFE, SAFE) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )


def path_names() -> Strategy:
    """Return a strategy of names of files as people give them, relative to some folder."""
    return st.from_regex(r"([a-z][a-z0-9_-]{0,7}/){0,2}[a-z][a-z0-9_-]{0,11}\.(csv|json|txt)", fullmatch=True)


def _lowest(bounds: Bounds) -> Any:
    return max((bound for bound in (bounds.ge, bounds.gt) if bound is not None), default=None)


def _highest(bounds: Bounds) -> Any:
    return min((bound for bound in (bounds.le, bounds.lt) if bound is not None), default=None)


def _multiples(bounds: Bounds) -> Strategy:
    step, low, high = Fraction(bounds.multiple_of), _lowest(bounds), _highest(bounds)
    first = -MANY if low is None else math.ceil(Fraction(low) / step)
    last = first + 2 * MANY if high is None else math.floor(Fraction(high) / step)
    return st.integers(first if low is not None else min(first, last - MANY), last).map(lambda count: count * bounds.multiple_of)


def _integers(bounds: Bounds) -> Strategy:
    if isinstance(bounds.multiple_of, int):
        return _multiples(bounds)
    low, high = _lowest(bounds), _highest(bounds)
    low = None if low is None else math.ceil(low) + (low == bounds.gt and low == math.ceil(low))
    high = None if high is None else math.floor(high) - (high == bounds.lt and high == math.floor(high))
    if low is None:
        low = -SAFE if high is None else min(-SAFE, high - SAFE)
    return st.integers(low, max(SAFE, low + SAFE) if high is None else high)


def _floats(bounds: Bounds) -> Strategy:
    if bounds.multiple_of is not None:
        return _multiples(bounds).map(float)
    low, high = _lowest(bounds), _highest(bounds)
    return st.floats(
        None if low is None else float(low),
        None if high is None else float(high),
        exclude_min=low is not None and low == bounds.gt,
        exclude_max=high is not None and high == bounds.lt,
        allow_nan=False,
        allow_infinity=False,
    )


def _decimals(bounds: Bounds) -> Strategy:
    if bounds.multiple_of is not None:
        return _multiples(bounds).map(lambda value: Decimal(str(value)))
    return st.decimals(_lowest(bounds), _highest(bounds), allow_nan=False, allow_infinity=False)


def _texts(bounds: Bounds) -> Strategy:
    if bounds.pattern is not None:
        # It need only be found in the text; but alone it is shorter, which a greatest length may ask for.
        return st.from_regex(bounds.pattern) | st.from_regex(bounds.pattern, fullmatch=True)
    alphabet = next((ALPHABETS[predicate] for predicate in bounds.predicates if predicate in ALPHABETS), None)
    least = max(bounds.min_length or 0, int(alphabet is not None))
    characters = {} if alphabet is None else {"alphabet": st.sampled_from(alphabet)}
    return st.text(**characters, min_size=least, max_size=bounds.max_length)


def _binaries(bounds: Bounds) -> Strategy:
    return st.binary(min_size=bounds.min_length or 0, max_size=bounds.max_length)


def _dates(bounds: Bounds) -> Strategy:
    low, high = _lowest(bounds), _highest(bounds)
    return st.dates(
        date.min if low is None else low + (DAY if low == bounds.gt else timedelta()),
        date.max if high is None else high - (DAY if high == bounds.lt else timedelta()),
    )


def _datetimes(bounds: Bounds) -> Strategy:
    low, high = (None if bound is None else _in_utc(bound) for bound in (_lowest(bounds), _highest(bounds)))
    return st.datetimes(low or datetime.min, high or datetime.max, timezones=_zones(bounds))  # noqa: DTZ901 - hypothesis wants naive ones


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _times(bounds: Bounds) -> Strategy:
    low, high = (None if bound is None else bound.replace(tzinfo=None) for bound in (_lowest(bounds), _highest(bounds)))
    return st.times(low or time.min, high or time.max, timezones=_zones(bounds))


def _zones(bounds: Bounds) -> Strategy:
    """Return time zones as the bounds have them: what has one and what has none can't be compared."""
    compared = next((bound for bound in (_lowest(bounds), _highest(bounds)) if bound is not None), None)
    if compared is not None:
        in_utc = isinstance(compared, datetime) and compared.tzinfo is not None
        return st.just(UTC if in_utc else compared.tzinfo)
    return st.none() if bounds.tz is False else st.sampled_from(ZONES if bounds.tz else (None, *ZONES))


def _durations(bounds: Bounds) -> Strategy:
    low, high = _lowest(bounds), _highest(bounds)
    return st.timedeltas(timedelta.min if low is None else low, timedelta.max if high is None else high)


STRATEGIES: Final[Mapping[type[Any], Callable[[Bounds], Strategy]]] = {
    str: _texts,
    bool: lambda _: st.booleans(),
    int: _integers,
    float: _floats,
    bytes: _binaries,
    date: _dates,
    time: _times,
    datetime: _datetimes,
    timedelta: _durations,
    UUID: lambda _: st.uuids(),
    Decimal: _decimals,
}
