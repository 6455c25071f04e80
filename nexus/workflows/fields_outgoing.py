"""
What goes out: values made ready for msgspec, which writes most of them by itself.

msgspec asks nobody how to write a class of attrs, a dataclass or a Struct. Where one of these has aliases, or somebody taught it,
the value is looked through beforehand; a class that can hold nothing of the kind is not looked into.
"""

from __future__ import annotations

import dataclasses
import operator
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Final
from uuid import UUID

import attrs
import msgspec

from nexus.workflows.fields_pydantic import dump_model, is_model

__all__ = ["Preparer"]

Way = Callable[[Any], Any]

ATOMS: Final = frozenset({str, int, float, bool, type(None), bytes, date, datetime, time, timedelta, UUID, Decimal})
READY: Final = ATOMS | {Path, type(msgspec.UNSET)}
BASES: Final[tuple[tuple[Any, Way], ...]] = (
    (str, str.__str__),
    (bool, bool),
    (int, int.__int__),
    (float, float.__float__),
    (bytes | bytearray | memoryview, bytes),
    (datetime, lambda v: datetime(v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold)),
    (date, lambda v: date(v.year, v.month, v.day)),
    (time, lambda v: time(v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold)),
    (timedelta, lambda v: timedelta(v.days, v.seconds, v.microseconds)),
    (UUID, lambda v: UUID(int=v.int)),
    (Decimal, lambda v: Decimal(v.as_tuple())),
)


class Preparer:
    """
    Makes values ready.

    Args:
        codecs: Types that somebody taught; may still grow, see `forget`.
        path: What is written for a path.
    """

    def __init__(self, codecs: Mapping[Any, Any], path: Callable[[PurePath], Any] = str) -> None:
        self._codecs = codecs
        self._path = path
        self._ways: dict[type[Any], Way | None] = {}

    def forget(self) -> None:
        """Forget what was worked out: another type was taught."""
        self._ways.clear()

    def prepare(self, value: Any) -> Any:
        """Return the value itself if msgspec writes it as it should be, else what to write instead."""
        type_ = type(value)
        if type_ in ATOMS:
            return value
        try:
            way = self._ways[type_]
        except KeyError:
            way = self._way(type_)
        return value if way is None else way(value)

    def hook(self, value: Any) -> Any:
        """
        Return what msgspec shall write for a value that it does not know.

        Raises:
            TypeError: Nobody taught it.
        """
        way = self._way(type(value))
        if way is None:
            name = type(value).__qualname__
            raise TypeError(
                f"a value of type {name} can't be written in JSON; return something that can, or teach it: app.codec({name}, …)"
            )
        return way(value)

    def _way(self, type_: type[Any], pending: frozenset[Any] = frozenset()) -> Way | None:
        try:
            return self._ways[type_]
        except KeyError:
            way = self._find_way(type_, pending)
            if not pending:
                self._ways[type_] = way
            return way

    def _find_way(self, type_: type[Any], pending: frozenset[Any]) -> Way | None:
        codec = next((self._codecs[base] for base in type_.__mro__ if base in self._codecs), None)
        if codec is not None:
            return lambda value: self.prepare(codec.encode(value))
        if issubclass(type_, Enum):
            native = all(type(member.value) in (str, int) for member in type_)
            return None if native else lambda value: self.prepare(value.value)
        if issubclass(type_, PurePath):
            return self._path
        if is_model(type_):
            return lambda value: self.prepare(dump_model(value, self._path))
        if issubclass(type_, msgspec.Struct) or attrs.has(type_) or dataclasses.is_dataclass(type_):
            return self._class_way(type_, pending)
        return self._container_way(type_)

    def _container_way(self, type_: type[Any]) -> Way | None:
        if type_ in ATOMS:
            return None
        for base, way in BASES:
            if issubclass(type_, base):
                return way
        if issubclass(type_, Mapping):
            return self._mapping
        return self._items if issubclass(type_, Sequence | AbstractSet) or hasattr(type_, "popleft") else None

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        changed = {}
        for key, item in value.items():
            if type(item) not in ATOMS:
                ready = self.prepare(item)
                if ready is not item:
                    changed[key] = ready
        if changed:
            return {**value, **changed}
        return value if isinstance(value, dict) else dict(value)

    def _items(self, value: Iterable[Any]) -> Any:
        items = [item if type(item) in ATOMS else self.prepare(item) for item in value]
        same = isinstance(value, list | tuple | set | frozenset) and all(map(operator.is_, items, value))
        return value if same else items

    def _class_way(self, type_: Any, pending: frozenset[Any]) -> Way | None:
        if issubclass(type_, msgspec.Struct):
            fields = msgspec.structs.fields(type_)
            names = [(field.name, field.encode_name) for field in fields]
            as_written = True
        elif attrs.has(type_):
            names = [(a.name, a.alias if a.init and a.alias else a.name) for a in attrs.fields(type_)]
            same_names = all(name == shown and not name.startswith("_") for name, shown in names)
            as_written = same_names and _is_slotted(type_, names) and names == sorted(names)
        else:
            names = [(field.name, field.name) for field in dataclasses.fields(type_)]
            # What the constructor does not set may be the class's, where msgspec does not look.
            as_written = all(field.init for field in dataclasses.fields(type_))
        if as_written and self._is_closed_class(type_, [name for name, _ in names], pending | {type_}):
            return None
        config = getattr(type_, "__struct_config__", None)
        tag = {} if config is None or config.tag is None else {config.tag_field: config.tag}
        return lambda value: self._instance(value, names, tag, as_written=as_written)

    def _instance(self, value: Any, names: Sequence[tuple[str, str]], tag: Mapping[str, Any], *, as_written: bool) -> Any:
        same, shown = as_written, dict(tag)
        for name, key in names:
            item = getattr(value, name)
            ready = self.prepare(item)
            same = same and ready is item
            if item is not msgspec.UNSET:
                shown[key] = ready
        return value if same else shown

    def _is_closed_class(self, type_: Any, names: Sequence[str], pending: frozenset[Any]) -> bool:
        try:
            hints = typing.get_type_hints(type_)
        except (NameError, AttributeError, TypeError):
            return False
        return all(self._is_closed(hints.get(name, Any), pending) for name in names)

    def _is_closed(self, hint: Any, pending: frozenset[Any]) -> bool:
        """Whether such values need no look inside."""
        arguments = typing.get_args(hint)
        origin = typing.get_origin(hint)
        if origin is typing.Literal:
            return True
        if arguments:
            return all(self._is_closed(item, pending) for item in arguments if item is not Ellipsis)
        if not isinstance(hint, type) or any(base in self._codecs for base in hint.__mro__):
            return False
        if hint in READY or hint in pending:
            return True
        known = issubclass(hint, Enum | msgspec.Struct) or attrs.has(hint) or dataclasses.is_dataclass(hint)
        return known and self._way(hint, pending) is None


def _is_slotted(type_: Any, names: Sequence[tuple[str, str]]) -> bool:
    """Whether its instances hold nothing but these; msgspec writes whatever they hold, in the order of the alphabet."""
    slots = [slot for base in type_.__mro__[:-1] for slot in vars(base).get("__slots__", ["__dict__"])]
    return set(slots) - {"__weakref__"} == {name for name, _ in names}
