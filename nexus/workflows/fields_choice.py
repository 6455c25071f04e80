"""What a value must be: one of some values."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from nexus.models import MISSING
from nexus.workflows.fields import NO, YES, Check, Field
from nexus.workflows.fields_text import shorten
from nexus.workflows.schema import Definitions

__all__ = ["Choice"]


class Choice(Field):
    """
    One of some values: an Enum, a Literal.

    Args:
        choices: JSON value and Python value of each.
        type_: The Enum, or None.
        native: The type that msgspec understands, or None.
    """

    def __init__(self, choices: Sequence[tuple[Any, Any]], *, type_: type[Enum] | None = None, native: Any = None) -> None:
        self.choices = choices
        self.type = type_
        self.by_value = {(type(shown), shown): value for shown, value in choices}
        self.kinds = frozenset(_kind_of_choice(shown) for shown, _ in choices)
        if native is not None:
            self.native = native

    @property
    def expected(self) -> str:
        """`one of 'red', 'green'`."""
        most = 10
        shown = ", ".join(shorten(shown) for shown, _ in self.choices[:most])
        rest = f" or {len(self.choices) - most} others" if len(self.choices) > most else ""
        return f"one of {shown}{rest}" if len(self.choices) > 1 else shown

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return the member or the literal."""
        if self.holds(value):
            return value
        found = self._find(value)
        if found is MISSING and check.lenient and isinstance(value, str):
            found = self._find_text(value)
        if found is MISSING and self.type is not None:
            found = self._ask_enum(value)
        return self.wrong(value, at, check) if found is MISSING else found

    def schema(self, defs: Definitions) -> dict[str, Any]:  # noqa: ARG002 - only nested ones need definitions
        """Return the schema."""
        values = [shown for shown, _ in self.choices]
        kinds = sorted(self.kinds)
        return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}

    def holds(self, value: Any) -> bool:
        """Whether it is a member already."""
        return self.type is not None and isinstance(value, self.type)

    def _find(self, value: Any) -> Any:
        if isinstance(value, Enum):
            found = next((python for _, python in self.choices if python is value), MISSING)
            if found is not MISSING:
                return found
            value = value.value
        if isinstance(value, float) and value.is_integer() and (float, value) not in self.by_value:
            value = int(value)
        try:
            return self.by_value.get((type(value), value), MISSING)
        except TypeError:  # a list or an object
            return MISSING

    def _find_text(self, text: str) -> Any:
        text = text.strip()
        for shown, value in self.choices:
            if shown is True or shown is False:
                if text.lower() in (YES if shown else NO):
                    return value
            elif text == ("null" if shown is None else str(shown)):
                return value
        return MISSING

    def _ask_enum(self, value: Any) -> Any:
        # An Enum may have a `_missing_` of its own.
        if self.type is None or "_missing_" not in vars(self.type) or isinstance(value, list | dict):
            return MISSING
        try:
            return self.type(value)
        except ValueError:
            return MISSING


KINDS: Final = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


def _kind_of_choice(value: Any) -> str:
    return KINDS[type(value)]
