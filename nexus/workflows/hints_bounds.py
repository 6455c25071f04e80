"""Constraints out of `Annotated`: annotated-types, msgspec.Meta, pydantic's Field."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from msgspec import Meta

from nexus.exceptions import RegistrationError
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.secret_values import Secret

__all__ = ["bounds_of", "unfit"]

ORDERS = ("ge", "gt", "le", "lt")
SIMPLE = (*ORDERS, "multiple_of", "min_length", "max_length")
CONSTRAINTS = (*SIMPLE, "pattern", "tz")
LENGTHS = ("min_length", "max_length")
FITTING: Final[Mapping[Any, tuple[str, ...]]] = {
    **dict.fromkeys((int, float, Decimal), (*ORDERS, "multiple_of")),
    **dict.fromkeys((date, timedelta), ORDERS),
    **dict.fromkeys((time, datetime), (*ORDERS, "tz")),
    **dict.fromkeys((bytes, list, set, frozenset, tuple, dict), LENGTHS),
    str: (*LENGTHS, "pattern"),
}


def bounds_of(metadata: Iterable[Any], place: str) -> Bounds:
    """Return what the metadata says together."""
    said: dict[str, Any] = {}
    predicates: list[Any] = []
    extra: dict[str, Any] = {}
    secret = False
    for item in _flat(metadata):
        secret = secret or item is Secret or isinstance(item, Secret) or (isinstance(item, Bounds) and item.secret)
        if isinstance(item, Meta | Bounds):
            found = {name: getattr(item, name) for name in CONSTRAINTS}
            extra |= item.extra if isinstance(item, Bounds) else _extra(item)
            predicates += item.predicates if isinstance(item, Bounds) else ()
        else:
            found = _from_annotated_types(item, predicates, place)
        for name, bound in found.items():
            if bound is not None:
                said[name] = _tighter(name, said.get(name), bound, place)
    return Bounds(**said, predicates=tuple(predicates), secret=secret, extra=extra)


def _extra(meta: Meta) -> dict[str, Any]:
    shown = {"title": meta.title, "description": meta.description, "examples": meta.examples}
    return {**{name: value for name, value in shown.items() if value is not None}, **(meta.extra_json_schema or {})}


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        if type(item).__module__.startswith("pydantic."):
            # pydantic.Field(ge=1) carries annotated-types.
            yield from _flat(getattr(item, "metadata", ()))
            if getattr(item, "description", None):
                yield Meta(description=item.description)
        elif isinstance(getattr(item, "documentation", None), str):
            yield Meta(description=item.documentation)
        elif _is_known(item, "GroupedMetadata"):
            yield from _flat(item)
        else:
            yield item


def _is_known(item: Any, name: str) -> bool:
    # Only who uses annotated-types has it imported.
    module = sys.modules.get("annotated_types")
    return module is not None and isinstance(item, getattr(module, name))


def _from_annotated_types(item: Any, predicates: list[Any], place: str) -> dict[str, Any]:
    for name in SIMPLE:
        kind = {"multiple_of": "MultipleOf", "min_length": "MinLen", "max_length": "MaxLen"}.get(name, name.capitalize())
        if _is_known(item, kind):
            return {name: getattr(item, name)}
    if _is_known(item, "Predicate"):
        predicates.append(item.func)
    elif _is_known(item, "Timezone"):
        if item.tz not in (None, ...):
            raise RegistrationError(f"{place}: Timezone({item.tz!r}) can't be checked; use Timezone(...) for any, None for none")
        return {"tz": item.tz is not None}
    elif type(item).__module__.startswith("annotated_types"):
        raise RegistrationError(f"{place}: {item!r} is not a constraint that can be checked; use Predicate(function)")
    return {}


def _tighter(name: str, old: Any, new: Any, place: str) -> Any:
    if old is None or old == new:
        return new
    if name in ("ge", "gt", "min_length"):
        return max(old, new)
    if name in ("le", "lt", "max_length"):
        return min(old, new)
    raise RegistrationError(f"{place}: {name} is said twice: {old!r} and {new!r}; say it once")


def unfit(bounds: Bounds, type_: Any) -> str | None:
    """Return the name of a constraint that says nothing about values of that type, or None if all do."""
    fitting = FITTING.get(type_, ())
    return next((name for name in CONSTRAINTS if getattr(bounds, name) is not None and name not in fitting), None)
