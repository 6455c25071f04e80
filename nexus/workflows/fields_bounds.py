"""Constraints of a hint: `Annotated[int, Ge(1)]`, in the words of annotated-types and of msgspec."""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import attrs
from msgspec import Meta

from nexus.workflows.fields_text import shorten

__all__ = ["Bounds"]

INT64: Final = range(-(2**63), 2**63)
ITEMS: Final = ("item", "Items")
COUNTED: Final = {
    str: ("character", "Length"),
    bytes: ("byte", ""),
    dict: ("entry", "Properties"),
    **dict.fromkeys((list, set, frozenset, tuple), ITEMS),
}
PLURALS: Final = {"entry": "entries"}


@attrs.frozen(kw_only=True, slots=False)
class Bounds:
    """
    What a hint says beyond its type.

    Attributes:
        pattern: A regular expression that must be found in a string.
        tz: Whether a time has a time zone; None: as it likes.
        predicates: Functions that must say yes.
        secret: Whether the value is shown to nobody but the step.
        extra: More JSON Schema.
    """

    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    multiple_of: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    tz: bool | None = None
    predicates: tuple[Callable[[Any], Any], ...] = ()
    secret: bool = False
    extra: dict[str, Any] = attrs.field(factory=dict)

    @property
    def orders(self) -> bool:
        """Whether it compares."""
        return any(bound is not None for bound in (self.ge, self.gt, self.le, self.lt))

    @property
    def counts(self) -> bool:
        """Whether it limits a length."""
        return bool(self.min_length) or self.max_length is not None

    @cached_property
    def any(self) -> bool:
        """Whether it refuses anything at all."""
        return (
            self.orders
            or self.counts
            or bool(self.predicates)
            or any(bound is not None for bound in (self.multiple_of, self.pattern, self.tz))
        )

    def hold(self, value: Any) -> bool:
        """Whether the value is within."""
        if not self.any:
            return True
        try:
            return bool(
                self._in_order(value)
                and (self.multiple_of is None or _is_multiple(value, self.multiple_of))
                and (not self.counts or _has_length(value, self.min_length or 0, self.max_length))
                and (self.pattern is None or re.search(self.pattern, value) is not None)
                and (self.tz is None or (value.tzinfo is not None) is self.tz)
                and all(predicate(value) for predicate in self.predicates)
            )
        except (TypeError, ValueError, ArithmeticError):
            # A naive and an aware time, say; or a predicate that can't judge the value.
            return False

    def _in_order(self, value: Any) -> bool:
        return bool(
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def words(self, type_: Any) -> str:
        """Return what follows the noun: ` <= 100`, ` of 1 to 20 characters`."""
        words = [*self._order_words(), *self._length_words(type_)]
        if self.multiple_of is not None:
            words.append(f"that is a multiple of {self.multiple_of}")
        if self.pattern is not None:
            words.append(f"matching {shorten(self.pattern)}")
        if self.tz is not None:
            words.append("with a time zone" if self.tz else "without a time zone")
        words += [f"for which {_name(predicate)} holds" for predicate in self.predicates]
        return "".join(f" {part}" if i == 0 else f" and {part}" for i, part in enumerate(words))

    def _order_words(self) -> list[str]:
        if self.ge is not None and self.le is not None and self.gt is self.lt is None:
            return [f"between {self.ge} and {self.le}"]
        bounds = ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))
        return [f"{sign} {bound}" for sign, bound in bounds if bound is not None]

    def _length_words(self, type_: Any) -> list[str]:
        if not self.counts:
            return []
        unit = COUNTED.get(type_, ITEMS)[0]
        low, high = self.min_length or 0, self.max_length
        if high is None:
            return [f"of at least {_counted(low, unit)}"]
        if not low:
            return [f"of at most {_counted(high, unit)}"]
        return [f"of {_counted(low, unit)}" if low == high else f"of {low} to {_counted(high, unit)}"]

    def schema(self, type_: Any) -> dict[str, Any]:
        """Return the keywords of JSON Schema for a value of that type; those that JSON can't say are left out."""
        shown: dict[str, Any] = {}
        if type_ in (int, float):
            names = {"minimum": self.ge, "exclusiveMinimum": self.gt, "maximum": self.le, "exclusiveMaximum": self.lt}
            shown = {**names, "multipleOf": self.multiple_of}
        elif unit := COUNTED.get(type_, ("", ""))[1]:
            shown = {f"min{unit}": self.min_length or None, f"max{unit}": self.max_length, "pattern": self.pattern}
        return {**{name: bound for name, bound in shown.items() if bound is not None}, **self.extra}

    def meta(self, type_: Any) -> Meta | None:
        """Return the same for msgspec, or None if there is nothing, or more than it can say."""
        if not self.any or self.predicates or self.tz is not None or type_ in (Path, set, frozenset):
            return None
        ordering = (self.ge, self.gt, self.le, self.lt, self.multiple_of)
        if type_ is int and any(b is not None and (not isinstance(b, int) or b not in INT64) for b in ordering):
            return None
        if type_ is float and self.multiple_of is not None:
            return None
        if (self.orders or self.multiple_of is not None) and type_ not in (int, float):
            return None
        if (self.ge is not None and self.gt is not None) or (self.le is not None and self.lt is not None):
            return None
        said = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt, "multiple_of": self.multiple_of}
        said |= {"min_length": self.min_length, "max_length": self.max_length, "pattern": self.pattern}
        return Meta(**{name: bound for name, bound in said.items() if bound is not None})


def _is_multiple(value: Any, of: Any) -> bool:
    if isinstance(value, float) or isinstance(of, float):
        # 0.3 is a multiple of 0.1 to a person.
        tolerance = 1e-9
        ratio = value / of
        return bool(abs(ratio - round(ratio)) <= tolerance * max(1.0, abs(ratio)))
    return bool(value % of == 0)


def _has_length(value: Sized, low: int, high: int | None) -> bool:
    return low <= len(value) and (high is None or len(value) <= high)


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {PLURALS.get(unit, unit + 's')}"


def _name(predicate: Callable[[Any], Any]) -> str:
    name = getattr(predicate, "__name__", "")
    return "a condition of the workflow" if name in {"", "<lambda>"} else f"{name}()"
