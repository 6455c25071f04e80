"""JSON Schema 2020-12 of fields, self-contained."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, Protocol

from nexus.workflows.secret_values import without_secret_defaults

__all__ = ["Definitions", "Named", "Rendered", "has_format"]


class Named(Protocol):
    """A field that is described once, under its name."""

    name: str

    def definition(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema itself."""
        ...


class Rendered(Protocol):
    """A field."""

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema, or a reference to it."""
        ...


class Definitions:
    """
    Collects the `$defs` of one schema.

    Args:
        side: What is described: what may come in, or what goes out (where a default is always filled in).
    """

    def __init__(self, side: Literal["input", "output"] = "input") -> None:
        self.side = side
        self._names: dict[Named, str] = {}
        self._schemas: dict[str, dict[str, Any]] = {}

    def refer(self, field: Named) -> dict[str, Any]:
        """Return a reference to the field's definition, which is written once."""
        name = self._names.get(field)
        if name is None:
            name = self._free(field.name)
            self._names[field] = name
            self._schemas[name] = {}  # a class may hold itself
            self._schemas[name] = field.definition(self)
        return {"$ref": f"#/$defs/{name}"}

    def adopt(self, name: str, schema: dict[str, Any]) -> None:
        """Take in a definition that another library wrote, under the name that it refers to."""
        self._schemas.setdefault(name, schema)

    def standalone(self, root: dict[str, Any]) -> dict[str, Any]:
        """Return *root* with the definitions it needs; a bare reference is replaced by what it refers to."""
        schemas = dict(self._schemas)
        target = root.get("$ref", "").removeprefix("#/$defs/") if set(root) == {"$ref"} else ""
        if target:
            root = schemas[target]
            if not _refers(schemas, target):
                del schemas[target]
        return without_secret_defaults({**root, "$defs": schemas} if schemas else root)

    def _free(self, name: str) -> str:
        free, number = name, 2
        while free in self._schemas:
            free, number = f"{name}{number}", number + 1
        return free


def _refers(part: Any, target: str) -> bool:
    if isinstance(part, dict):
        return part.get("$ref") == f"#/$defs/{target}" or any(_refers(value, target) for value in part.values())
    return isinstance(part, list) and any(_refers(item, target) for item in part)


def has_format(part: Any, formats: Collection[str]) -> bool:
    """Whether a schema, or a part of it, is of one of these formats."""
    if isinstance(part, dict):
        return part.get("format") in formats or any(has_format(value, formats) for value in part.values())
    return isinstance(part, list) and any(has_format(item, formats) for item in part)
