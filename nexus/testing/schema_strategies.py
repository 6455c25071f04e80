"""Hypothesis strategies of the JSON values that a codec's schema describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from nexus.testing.scalar_strategies import json_values, scalar_strategy
from nexus.workflows.fields_bounds import Bounds

__all__ = ["schema_strategy"]

Strategy = st.SearchStrategy[Any]


def schema_strategy(schema: Mapping[str, Any]) -> Strategy | None:
    """Return a strategy for the plain keywords of JSON Schema, or None for others: the values are not all good ones then."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(list(schema["enum"]))
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return _one_of([schema_strategy(alternative) for alternative in alternatives])
    kinds = schema.get("type", ())
    return _one_of([_of_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _one_of(strategies: list[Strategy | None]) -> Strategy | None:
    known = [strategy for strategy in strategies if strategy is not None]
    return st.one_of(known) if known else None


def _of_kind(kind: str, schema: Mapping[str, Any]) -> Strategy | None:
    if kind == "null":
        return st.none()
    if kind == "array":
        items = schema.get("items")
        item = json_values() if items is None else schema_strategy(items)
        return None if item is None else st.lists(item, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems"))
    if kind == "object":
        return _objects(schema)
    type_ = {"string": str, "integer": int, "number": float, "boolean": bool}.get(kind)
    return None if type_ is None else scalar_strategy(type_, _bounds(schema))


def _objects(schema: Mapping[str, Any]) -> Strategy | None:
    members = {name: schema_strategy(member) for name, member in schema.get("properties", {}).items()}
    required = schema.get("required", ())
    if any(members.get(name) is None for name in required):
        return None
    known = {name: member for name, member in members.items() if member is not None}
    return st.fixed_dictionaries(
        {name: known[name] for name in required},
        optional={name: member for name, member in known.items() if name not in required},
    )


def _bounds(schema: Mapping[str, Any]) -> Bounds:
    return Bounds(
        ge=schema.get("minimum"),
        gt=schema.get("exclusiveMinimum"),
        le=schema.get("maximum"),
        lt=schema.get("exclusiveMaximum"),
        multiple_of=schema.get("multipleOf"),
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
        pattern=schema.get("pattern"),
    )
