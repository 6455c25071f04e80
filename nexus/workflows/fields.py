"""
What a value must be: one field per kind of type, for one value alone.

A field checks (`take`), describes itself as JSON Schema (`schema`), and names a type with which msgspec checks the same at its
own speed (`native`). Whatever msgspec takes there, `take` takes too, with the same result; `take` takes more (`2980.0` for an
int, text where the caller is lenient) and finds every problem with its place.
"""

from __future__ import annotations

import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import attrs
from msgspec import Meta, MsgspecError, convert

from nexus.exceptions import ArgumentProblem
from nexus.models import MISSING, Upload
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.fields_text import shorten
from nexus.workflows.files import FilesRoot
from nexus.workflows.schema import Definitions
from nexus.workflows.secret_values import SECRET, holds_secrets, secret_keywords

__all__ = [
    "ANY_KIND",
    "AnyField",
    "Check",
    "Fast",
    "Field",
    "NullField",
    "PathField",
    "Scalar",
    "marker",
    "scalar",
    "token",
]

ANY_KIND: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
YES: Final = frozenset({"true", "yes", "y", "on", "1"})
NO: Final = frozenset({"false", "no", "n", "off", "0"})


class Check:
    """
    One check of some arguments: what is allowed, and what is wrong so far.

    Args:
        lenient: Values came as text: "3" is good enough for an int.
        files: Where paths may lead; None: anywhere.
        discreet: There are secrets among the values, which messages don't quote.

    Attributes:
        problems: The first `MOST` of them.
        refused: How many there were in all.
    """

    MOST: ClassVar[int] = 100

    __slots__ = ("discreet", "files", "lenient", "problems", "refused")

    def __init__(self, *, lenient: bool = False, files: FilesRoot | None = None, discreet: bool = False) -> None:
        self.discreet = discreet
        self.lenient = lenient
        self.files = files
        self.problems: list[ArgumentProblem] = []
        self.refused = 0

    def refuse(self, at: str, message: str) -> None:
        """Note a problem at that JSON pointer."""
        self.refused += 1
        if self.refused <= self.MOST:
            self.problems.append(ArgumentProblem(at, message))

    def outcome(self) -> list[ArgumentProblem]:
        """Return the problems, and how many more there were than are kept."""
        more = self.refused - len(self.problems)
        return [*self.problems, ArgumentProblem("", f"and {more} more problems")] if more else self.problems


class Fast(Check):
    """A check inside msgspec's, which only needs to know that something is wrong."""

    __slots__ = ()

    def refuse(self, at: str, message: str) -> None:  # noqa: ARG002 - msgspec asks only whether
        """Stop."""
        raise ValueError(message)


class Field(ABC):
    """What a value must be."""

    kinds: frozenset[str]
    """The JSON types that it takes: null, boolean, integer, number, string, array, object."""

    holds_paths: bool = False
    """Whether a path may be somewhere in the value."""

    hashable: bool = True

    @property
    @abstractmethod
    def expected(self) -> str:
        """The noun phrase of messages: `an integer <= 100`."""

    @abstractmethod
    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return the Python value, or tell *check* what is wrong, with the JSON pointer *at*."""

    @abstractmethod
    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the JSON Schema."""

    def holds(self, value: Any) -> bool:  # noqa: ARG002 - most have no Python values of their own
        """Whether it is such a Python value already."""
        return False

    @cached_property
    def native(self) -> Any:
        """The type with which msgspec checks the same."""
        return marker(self)

    @cached_property
    def holds_secrets(self) -> bool:
        """Whether a secret may be somewhere in the value."""
        defs = Definitions()
        return holds_secrets(defs.standalone(self.schema(defs)))

    def came(self, value: Any, check: Check) -> str:
        """Return the value as messages show it."""
        return SECRET if check.discreet and self.holds_secrets else shorten(value)

    def wrong(self, value: Any, at: str, check: Check) -> None:
        """Tell *check* what was expected and what came."""
        check.refuse(at, f"expected {self.expected}, got {self.came(value, check)}")


class Marker(type):
    """The type of `native` where msgspec must ask the field; takes whatever the field made of the value."""

    field: Field

    def __instancecheck__(cls, instance: object) -> bool:
        """Say yes: the field has checked it."""
        return True


def marker(field: Field) -> Any:
    """Return a type for which msgspec calls the hook, which asks the field."""
    return Marker(type(field).__name__, (), {"field": field})


class AnyField(Field):
    """Any JSON value, as it is."""

    expected = "a value"
    kinds = ANY_KIND
    native = Any

    def take(self, value: Any, at: str, check: Check) -> Any:  # noqa: ARG002 - nothing can be wrong
        """Return it as it is."""
        return value

    def schema(self, defs: Definitions) -> dict[str, Any]:  # noqa: ARG002 - only nested ones need definitions
        """Return the schema that takes all."""
        return {}


class NullField(Field):
    """Null."""

    expected = "null"
    kinds = frozenset({"null"})
    native = None

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return None."""
        if value is None or (check.lenient and value in {"null", ""}):
            return None
        return self.wrong(value, at, check)

    def schema(self, defs: Definitions) -> dict[str, Any]:  # noqa: ARG002 - only nested ones need definitions
        """Return the schema."""
        return {"type": "null"}


@attrs.define(eq=False, slots=False)
class Scalar(Field):
    """
    A value that JSON writes as one string, number or boolean.

    Attributes:
        type: What msgspec makes of it.
        words: The noun phrase, without bounds.
        rendering: The JSON Schema, without bounds.
    """

    LARGEST: ClassVar[float] = sys.float_info.max

    type: type[Any]
    words: str
    kinds: frozenset[str]
    rendering: Mapping[str, Any]
    bounds: Bounds

    @cached_property
    def exact(self) -> bool:
        """Whether any value of just this type is good: it has no bounds, and can't be infinite."""
        return self.type not in (float, Decimal) and not self.bounds.any

    @property
    def expected(self) -> str:
        """The noun phrase with the bounds."""
        return self.words + self.bounds.words(self.type)

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Convert it, and hold it against the bounds."""
        if self.exact and type(value) is self.type:
            return value
        try:
            result = convert(value, self.type)
        except (MsgspecError, ValueError, OverflowError):
            result = self._second_try(value, lenient=check.lenient)
        if result is MISSING or not self._is_number(result) or not self.bounds.hold(result):
            return self.wrong(value, at, check)
        return result

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema."""
        shown = {**self.rendering, **self.bounds.schema(self.type)}
        return {**shown, **secret_keywords(defs.side)} if self.bounds.secret else shown

    def holds(self, value: Any) -> bool:
        """Whether it is one already; a datetime is no date, and a bool no int."""
        return isinstance(value, self.type) and not (self.type is date and isinstance(value, datetime))

    @cached_property
    def native(self) -> Any:
        """The type, with its bounds as msgspec writes them; of a float also those that keep NaN and infinity out."""
        if self.type is Decimal:
            return marker(self)
        meta = self.bounds.meta(self.type)
        if meta is None:
            return marker(self) if self.bounds.any else (self._finite() if self.type is float else self.type)
        return Annotated[self._finite() if self.type is float else self.type, meta]

    def _finite(self) -> Any:
        # msgspec takes the bounds of the outermost annotation only where both name the same one.
        bounds = self.bounds
        limits: dict[str, Any] = {}
        if bounds.ge is None and bounds.gt is None:
            limits["ge"] = -self.LARGEST
        if bounds.le is None and bounds.lt is None:
            limits["le"] = self.LARGEST
        return Annotated[float, Meta(**limits)] if limits else float

    def _is_number(self, value: Any) -> bool:
        if isinstance(value, float):
            return math.isfinite(value)
        return value.is_finite() if isinstance(value, Decimal) else True

    def _second_try(self, value: Any, *, lenient: bool) -> Any:
        if self.type is int and isinstance(value, float):
            return int(value) if value.is_integer() else MISSING
        if not lenient or not isinstance(value, str):
            return MISSING
        text = value.strip()
        if self.type is bool:
            return True if text.lower() in YES else (False if text.lower() in NO else MISSING)
        try:
            if self.type in (date, time, datetime):
                return self.type.fromisoformat(text)
            return convert(text, self.type, strict=False)
        except (MsgspecError, ValueError, OverflowError):
            return MISSING


def _kinds(*kinds: str) -> frozenset[str]:
    return frozenset(kinds)


STRING: Final = _kinds("string")
SCALARS: Final[Mapping[Any, tuple[str, frozenset[str], Mapping[str, Any]]]] = {
    str: ("a string", STRING, {"type": "string"}),
    bool: ("true or false", _kinds("boolean"), {"type": "boolean"}),
    int: ("an integer", _kinds("integer"), {"type": "integer"}),
    float: ("a number", _kinds("integer", "number"), {"type": "number"}),
    bytes: ("base64 text", STRING, {"type": "string", "contentEncoding": "base64"}),
    date: ("a date like '2026-11-23'", STRING, {"type": "string", "format": "date"}),
    time: ("a time like '14:30:00'", STRING, {"type": "string", "format": "time"}),
    datetime: ("a date and time like '2026-11-23T14:30:00Z'", STRING, {"type": "string", "format": "date-time"}),
    timedelta: ("a duration like 'PT1H30M'", STRING, {"type": "string", "format": "duration"}),
    UUID: ("a UUID", STRING, {"type": "string", "format": "uuid"}),
    Decimal: ("a decimal number", _kinds("string", "integer", "number"), {"type": "string", "format": "decimal"}),
}


def scalar(type_: Any, bounds: Bounds) -> Scalar | None:
    """Return the field of a scalar type, or None if it is not one."""
    known = SCALARS.get(type_)
    if known is None:
        return None
    words, kinds, rendering = known
    return Scalar(type=type_, words=words, kinds=kinds, rendering=rendering, bounds=bounds)


def held(value: str | Path, check: Check) -> Path:
    """
    Return the path, below the root where the check says so.

    Raises:
        ValueError: It is not there, or no path at all.
    """
    if check.files is not None:
        return check.files.resolve(value)
    if "\0" in str(value):
        raise ValueError("a path can't have a NUL character in it")
    return Path(value)


def uploaded(upload: Upload) -> Path:
    """
    Return where the file is.

    Raises:
        ValueError: It came with another request, which is over.
    """
    if upload.path is None:
        raise ValueError("the file is not there any more; send it again")
    return upload.path


class PathField(Field):
    """A path, kept below `files_root` where the check says so."""

    expected = "a path"
    kinds = STRING
    holds_paths = True

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.bounded = bounds.any

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return the path."""
        if type(value) is not str and not isinstance(value, (str, Path, Upload)):
            return self.wrong(value, at, check)
        try:
            path = uploaded(value) if isinstance(value, Upload) else held(value, check)
        except ValueError as error:
            return check.refuse(at, f"{error}; got {shorten(str(value))}")
        return self.wrong(value, at, check) if self.bounded and not self.bounds.hold(path) else path

    def schema(self, defs: Definitions) -> dict[str, Any]:  # noqa: ARG002 - only nested ones need definitions
        """Return the schema."""
        return {"type": "string", "format": "path", **self.bounds.schema(Path)}

    def holds(self, value: Any) -> bool:
        """Whether it is a path already."""
        return isinstance(value, Path)


WORD: Final = re.compile(r"[~/]")
ESCAPES: Final = {"~": "~0", "/": "~1"}


def token(name: object) -> str:
    """Return a name as the next part of a JSON pointer (RFC 6901)."""
    return "/" + WORD.sub(lambda found: ESCAPES[found[0]], str(name))
