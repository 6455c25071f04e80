"""What a value must be: lists, mappings, and unions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Annotated, Any, Union

import msgspec

from nexus.workflows.fields import ANY_KIND, Check, Field, marker, token
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.fields_choice import Choice
from nexus.workflows.fields_text import listed
from nexus.workflows.schema import Definitions

__all__ = ["ListField", "MappingField", "TupleField", "UnionField", "native_or_marker", "parsed"]

STRING_KINDS = frozenset({"string"})


def parsed(value: Any, check: Check, type_: type[Any]) -> Any:
    """Return what the JSON text of a lenient caller holds, if it is of that type; else the value itself."""
    if check.lenient and isinstance(value, str):
        try:
            found = msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError):
            return value
        return found if isinstance(found, type_) else value
    return value


def native_or_marker(native: Any, field: Field) -> Any:
    """Return the type if msgspec can work with it, else a marker."""
    try:
        msgspec.json.Decoder(native, dec_hook=lambda _, value: value)
    except (TypeError, ValueError, NameError, AttributeError):
        return marker(field)
    return native


def _items(value: Any) -> list[Any] | None:
    return list(value) if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes | bytearray) else None


class ListField(Field):
    """
    Items of one kind.

    Args:
        type_: What is made of them: list, set, frozenset or tuple.
    """

    kinds = frozenset({"array"})

    def __init__(self, type_: type[Any], item: Field, bounds: Bounds) -> None:
        self.type = type_
        self.item = item
        self.bounds = bounds
        self.hashable = type_ in (frozenset, tuple) and item.hashable

    @property
    def expected(self) -> str:
        """The noun phrase."""
        return "a list" + self.bounds.words(self.type)

    @property
    def holds_paths(self) -> bool:  # type: ignore[override]
        """Whether an item may hold one."""
        return self.item.holds_paths

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return the list, set or tuple of checked items."""
        items = _items(parsed(value, check, list))
        if items is None:
            return self.wrong(value, at, check)
        before = check.refused
        taken = [self.item.take(item, f"{at}/{i}", check) for i, item in enumerate(items)]
        if check.refused > before:
            return None
        result = taken if self.type is list else self.type(taken)
        return result if self.bounds.hold(result) else self.wrong(value, at, check)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema."""
        unique = {"uniqueItems": True} if issubclass(self.type, AbstractSet) else {}
        return {"type": "array", "items": self.item.schema(defs), **unique, **self.bounds.schema(self.type)}

    @cached_property
    def native(self) -> Any:
        """The same of the native type of its items."""
        item = self.item.native
        bare = tuple[item, ...] if self.type is tuple else self.type[item]  # type: ignore[valid-type]
        meta = self.bounds.meta(self.type)
        if meta is None:
            return marker(self) if self.bounds.any else native_or_marker(bare, self)
        return native_or_marker(Annotated[bare, meta], self)


class TupleField(Field):
    """A fixed number of items, each of its own kind."""

    kinds = frozenset({"array"})

    def __init__(self, items: Sequence[Field]) -> None:
        self.items = items
        self.hashable = all(item.hashable for item in items)

    @property
    def expected(self) -> str:
        """The noun phrase."""
        return f"a list of {len(self.items)} item{'' if len(self.items) == 1 else 's'}"

    @property
    def holds_paths(self) -> bool:  # type: ignore[override]
        """Whether an item may hold one."""
        return any(item.holds_paths for item in self.items)

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return the tuple of checked items."""
        items = _items(parsed(value, check, list))
        if items is None or len(items) != len(self.items):
            return self.wrong(value, at, check)
        return tuple(field.take(item, f"{at}/{i}", check) for i, (field, item) in enumerate(zip(self.items, items, strict=True)))

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema."""
        count = len(self.items)
        prefix = {"prefixItems": [item.schema(defs) for item in self.items]} if count else {}
        return {"type": "array", **prefix, "items": False, "minItems": count, "maxItems": count}

    @cached_property
    def native(self) -> Any:
        """The tuple of the native types."""
        return native_or_marker(tuple[tuple(item.native for item in self.items)], self)  # type: ignore[misc]


class MappingField(Field):
    """An object of any keys; those that are not strings are read from text."""

    kinds = frozenset({"object"})
    hashable = False

    def __init__(self, key: Field, value: Field, bounds: Bounds) -> None:
        self.key = key
        self.value = value
        self.bounds = bounds

    @property
    def expected(self) -> str:
        """The noun phrase."""
        return "an object" + self.bounds.words(dict)

    @property
    def holds_paths(self) -> bool:  # type: ignore[override]
        """Whether a key or value may hold one."""
        return self.key.holds_paths or self.value.holds_paths

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return the dict of checked keys and values."""
        entries = parsed(value, check, dict)
        if not isinstance(entries, Mapping):
            return self.wrong(value, at, check)
        before = check.refused
        taken = {}
        for name, item in entries.items():
            here = at + token(name)
            key = self._take_key(name, here, check)
            held = self.value.take(item, here, check)
            if check.refused == before:
                taken[key] = held
        if check.refused > before:
            return None
        return taken if self.bounds.hold(taken) else self.wrong(value, at, check)

    def _take_key(self, name: Any, at: str, check: Check) -> Any:
        text = Check(lenient=isinstance(name, str) and self.key.kinds != STRING_KINDS, files=check.files)
        key = self.key.take(name, at, text)
        for problem in text.problems:
            check.refuse(at, f"the key: {problem.message}")
        return key

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema."""
        shown: dict[str, Any] = {"type": "object", "additionalProperties": self.value.schema(defs)}
        if self.key.kinds == {"integer"}:
            shown["propertyNames"] = {"pattern": "^-?[0-9]+$"}
        elif self.key.kinds == STRING_KINDS and (key := self.key.schema(defs)) != {"type": "string"}:
            shown["propertyNames"] = key
        return {**shown, **self.bounds.schema(dict)}

    @cached_property
    def native(self) -> Any:
        """The dict of native types, where the keys are simply strings."""
        if self.key.native is not str:
            return marker(self)
        meta = self.bounds.meta(dict)
        if meta is None:
            return marker(self) if self.bounds.any else native_or_marker(dict[str, self.value.native], self)  # type: ignore[name-defined]
        return native_or_marker(Annotated[dict[str, self.value.native], meta], self)  # type: ignore[name-defined]


class UnionField(Field):
    """One of several kinds that JSON can tell apart."""

    def __init__(self, members: Sequence[Field]) -> None:
        # Text of a lenient caller is for the most particular member that takes it.
        self.members = sorted(members, key=_generality)
        self.kinds = frozenset().union(*(member.kinds for member in members))
        self.hashable = all(member.hashable for member in members)

    @property
    def expected(self) -> str:
        """`an integer or null`."""
        words = [member.expected for member in self.members if member.kinds != {"null"}]
        return listed([*words, *(["null"] if "null" in self.kinds else [])])

    @property
    def holds_paths(self) -> bool:  # type: ignore[override]
        """Whether a member may hold one."""
        return any(member.holds_paths for member in self.members)

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return what the one member makes of it that takes such values."""
        fitting = self._fitting(value, check)
        if len(fitting) == 1:
            return fitting[0].take(value, at, check)
        for member in fitting:
            trial = Check(lenient=check.lenient, files=check.files)
            taken = member.take(value, at, trial)
            if not trial.problems:
                return taken
        return self.wrong(value, at, check)

    def _fitting(self, value: Any, check: Check) -> list[Field]:
        if check.lenient and isinstance(value, str):
            strings = any("string" in member.kinds for member in self.members)
            return [member for member in self.members if not (strings and member.kinds == {"null"})]
        already = [member for member in self.members if member.kinds != ANY_KIND and member.holds(value)]
        if len(already) == 1:
            return already
        kinds = kinds_of(value)
        for kind in kinds:
            fitting = [member for member in self.members if kind in member.kinds]
            if fitting:
                return fitting
        return [] if kinds else list(self.members)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema."""
        return {"anyOf": [member.schema(defs) for member in self.members]}

    def holds(self, value: Any) -> bool:
        """Whether it is such a value of a member."""
        return any(member.holds(value) for member in self.members)

    @cached_property
    def native(self) -> Any:
        """The union of the native types, where msgspec tells them apart as well."""
        natives = [member.native for member in self.members]
        return native_or_marker(Union[tuple(natives)], self)  # noqa: UP007 - made at run time


def kinds_of(value: Any) -> list[str]:
    """Return the JSON types that a value is of, the most particular one first; none for a Python value."""
    if value is None:
        return ["null"]
    if isinstance(value, bool):
        return ["boolean"]
    if isinstance(value, int):
        return ["integer", "number"]
    if isinstance(value, float):
        return ["number", *(["integer"] if value.is_integer() else [])]
    for type_, kind in ((str, "string"), (Mapping, "object"), (Sequence | AbstractSet, "array")):
        if isinstance(value, type_):
            return [kind] if not isinstance(value, bytes | bytearray) else []
    return []


def _generality(member: Field) -> int:
    if isinstance(member, Choice):
        return 0
    order = ("boolean", "integer", "number", "array", "object")
    found = [i for i, kind in enumerate(order, 1) if kind in member.kinds]
    if "string" in member.kinds:
        return len(order) + 1
    return found[0] if found else len(order) + 2
