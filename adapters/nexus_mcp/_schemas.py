"""JSON Schemas as MCP wants them: an object at the root of a tool's input and output, flat forms for questions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["either", "is_object", "object_at_root", "resolved", "wrapped"]

DEFINITIONS: Final = "#/$defs/"


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what *schema* refers to in the `$defs` of *root*, with what stands beside the reference on top."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference.startswith(DEFINITIONS) and reference not in seen:
        seen.add(reference)
        target = root.get("$defs", {}).get(reference.removeprefix(DEFINITIONS), {})
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def is_object(schema: Mapping[str, Any]) -> bool:
    """Whether every value of the schema is a JSON object, as far as its root says."""
    return resolved(schema, schema).get("type") == "object"


def object_at_root(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of an object with `type: object` at its root, where MCP 2025-11-25 requires it."""
    return {**resolved(schema, schema), "type": "object"}


def wrapped(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of `{"result": …}` around a value of *schema*; references keep working."""
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    outer: dict[str, Any] = {"type": "object", "properties": {"result": inner}, "required": ["result"]}
    if "$defs" in schema:
        outer["$defs"] = schema["$defs"]
    return outer


def either(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that fits one of the two; references of the second keep working."""
    inner = {key: value for key, value in second.items() if key != "$defs"}
    outer: dict[str, Any] = {"type": "object", "anyOf": [dict(first), inner]}
    if "$defs" in second:
        outer["$defs"] = second["$defs"]
    return outer
