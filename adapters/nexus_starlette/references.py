"""Moves the definitions of JSON Schemas into the components of an OpenAPI document, and their references with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import attrs

__all__ = ["Components", "reference_to"]

DEFINITIONS: Final = "#/$defs/"
# Where JSON Schema 2020-12 has names of its user's own, and where it has plain values: no keyword is to be looked for there.
NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
VALUES: Final = frozenset({"const", "enum", "default", "examples"})

Json = Mapping[str, Any]


def reference_to(kind: str, name: str) -> dict[str, str]:
    """Return a reference to a component of that kind, such as `schemas`."""
    return {"$ref": f"#/components/{kind}/{name}"}


@attrs.define(eq=False)
class Components:
    """
    The schemas that several operations share.

    Equal definitions of one name are one component; a different one of the same name gets a number.

    Attributes:
        schemas: By name.
    """

    schemas: dict[str, Any] = attrs.field(converter=dict)
    _names: dict[str, str] = attrs.field(factory=dict, init=False)

    def take(self, schema: Json) -> dict[str, Any]:
        """Return the schema without its definitions, which are components from now on."""
        definitions: Json = schema.get("$defs", {})
        names = {name: self._named(name, definitions) for name in definitions}

        def moved(reference: str) -> str:
            if not reference.startswith(DEFINITIONS):
                return reference
            name, slash, rest = reference.removeprefix(DEFINITIONS).partition("/")
            return f"#/components/schemas/{names[_unescaped(name)]}{slash}{rest}"

        for name, definition in definitions.items():
            if self.schemas[names[name]] is None:
                self.schemas[names[name]] = _rewritten(definition, moved)
        return _object({name: value for name, value in schema.items() if name not in {"$defs", "$schema"}}, moved)

    def _named(self, name: str, definitions: Json) -> str:
        needed = {each: definitions[each] for each in _reachable(name, definitions)}
        meaning = json.dumps([name, needed], sort_keys=True, default=str)
        if meaning not in self._names:
            plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_") or "Schema"
            free = plain
            number = 2
            while free in self.schemas:
                free, number = f"{plain}_{number}", number + 1
            self._names[meaning] = free
            self.schemas[free] = None
        return self._names[meaning]


def _reachable(name: str, definitions: Json) -> Iterable[str]:
    seen: set[str] = set()
    waiting = [name]

    def note(reference: str) -> str:
        if reference.startswith(DEFINITIONS):
            waiting.append(_unescaped(reference.removeprefix(DEFINITIONS).partition("/")[0]))
        return reference

    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            _rewritten(definitions[each], note)
    return seen


def _unescaped(token: str) -> str:
    """Return a name as it was before it went into a JSON pointer in a URI fragment (RFC 6901, section 6)."""
    return unquote(token).replace("~1", "/").replace("~0", "~")


def _rewritten(schema: Any, reference: Callable[[str], str]) -> Any:
    if isinstance(schema, Mapping):
        return _object(schema, reference)
    if isinstance(schema, list | tuple):
        return [_rewritten(each, reference) for each in schema]
    return schema


def _object(schema: Json, reference: Callable[[str], str]) -> dict[str, Any]:
    return {keyword: _value(keyword, value, reference) for keyword, value in schema.items()}


def _value(keyword: str, value: Any, reference: Callable[[str], str]) -> Any:
    if keyword == "$ref":
        return reference(value)
    if keyword in NAMED:
        return {name: _rewritten(each, reference) for name, each in value.items()}
    if keyword == "discriminator" and "mapping" in value:
        return {**value, "mapping": {tag: reference(target) for tag, target in value["mapping"].items()}}
    return value if keyword in VALUES else _rewritten(value, reference)
