"""Looks into JSON Schemas (2020-12) for paths: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["alternatives", "item_of", "may_be_path", "member_of", "says_path"]

Json = Mapping[str, Any]


def alternatives(part: Any, root: Json) -> list[Json]:
    """Return the schemas of which a value fits one, references followed and unions flattened."""
    if not isinstance(part, Mapping):
        return [{}]
    while "$ref" in part:
        target: Any = root
        for segment in part["$ref"].removeprefix("#").split("/")[1:]:
            target = target[segment.replace("~1", "/").replace("~0", "~")]
        part = target
    members = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
    return [part] if not members else [each for member in members for each in alternatives(member, root)]


def says_path(part: Any, root: Json) -> bool:
    """Whether a string there is a path."""
    return any(each.get("format") == "path" for each in alternatives(part, root))


def may_be_path(part: Any, root: Json) -> bool:
    """Whether a string there may be a path: it is said to be, or nothing is said."""
    return any(each.get("format") == "path" or not {"type", "enum", "const"} & set(each) for each in alternatives(part, root))


def member_of(part: Any, name: str, root: Json) -> Json:
    """Return the schema of a member of an object."""
    found = [each.get("properties", {}).get(name, each.get("additionalProperties")) for each in alternatives(part, root)]
    return _any_of(found)


def item_of(part: Any, number: int, root: Json) -> Json:
    """Return the schema of an item of a list."""
    found = []
    for each in alternatives(part, root):
        first: Sequence[Any] = each.get("prefixItems", ())
        found.append(first[number] if number < len(first) else each.get("items"))
    return _any_of(found)


def _any_of(found: Sequence[Any]) -> Json:
    said = [each for each in found if isinstance(each, Mapping)]
    return {"anyOf": said} if said else {}
