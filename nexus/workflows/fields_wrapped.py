"""What a value must be: what another field says, and more; or what somebody else says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from nexus.workflows.fields import ANY_KIND, Check, Field, held, marker
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.fields_nested import parsed
from nexus.workflows.schema import Definitions

__all__ = ["CodecField", "GuardedField", "LateField"]


class GuardedField(Field):
    """A field whose values must satisfy some functions too, or of which the hint says more for readers."""

    def __init__(self, inner: Field, bounds: Bounds) -> None:
        self.inner = inner
        self.bounds = bounds
        self.kinds = inner.kinds
        self.hashable = inner.hashable
        self.holds_paths = inner.holds_paths

    @property
    def expected(self) -> str:
        """The noun phrase."""
        return self.inner.expected + self.bounds.words(None)

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Return what the field makes of it, if the functions say yes."""
        before = check.refused
        taken = self.inner.take(value, at, check)
        if check.refused == before and not self.bounds.hold(taken):
            return self.wrong(value, at, check)
        return taken

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return the field's, and what the hint adds."""
        return {**self.inner.schema(defs), **self.bounds.extra}

    def holds(self, value: Any) -> bool:
        """Ask the field."""
        return self.inner.holds(value)

    @cached_property
    def native(self) -> Any:
        """The field's, where nothing is asked but what msgspec asks."""
        return marker(self) if self.bounds.any else self.inner.native


class LateField(Field):
    """
    A class or alias that is part of itself; `target` is set as soon as it is known.

    Args:
        kinds: What the target takes, as far as that is known.
        name: Of an alias, which has no definition but this.
    """

    holds_paths = True
    target: Field

    def __init__(self, kinds: frozenset[str], name: str = "") -> None:
        self.kinds = kinds
        self.name = name
        self.used = False

    @property
    def expected(self) -> str:
        """The target's."""
        return self.target.expected

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Ask the target."""
        return self.target.take(value, at, check)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return a reference to the definition."""
        return defs.refer(self) if self.name else self.target.schema(defs)

    def definition(self, defs: Definitions) -> dict[str, Any]:
        """Return the schema itself."""
        return self.target.schema(defs)

    def holds(self, value: Any) -> bool:
        """Ask the target."""
        return self.target.holds(value)


class CodecField(Field):
    """A type that somebody taught: `app.codec(Type, …)`."""

    holds_paths = True

    def __init__(self, type_: type[Any], decode: Callable[[Any], Any], schema: Mapping[str, Any]) -> None:
        self.type = type_
        self.decode = decode
        self.rendering = schema
        kind = schema.get("type")
        named = {kind} if isinstance(kind, str) else set(kind or ANY_KIND)
        self.kinds = frozenset(named | ({"integer"} if "number" in named else set()))

    @property
    def expected(self) -> str:
        """The class's name."""
        return f"a value for {self.type.__name__}"

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Decode it, unless it is one already."""
        given = parsed(value, check, dict | list | int | float | bool) if "string" not in self.kinds else value  # type: ignore[arg-type]
        try:
            made = given if isinstance(given, self.type) else self.decode(given)
            return held(made, check) if isinstance(made, Path) else made
        except (ValueError, TypeError) as error:
            text = f": {error}" if str(error) and not (check.discreet and self.holds_secrets) else ""
            return check.refuse(at, f"expected {self.expected}, got {self.came(value, check)}{text}")

    def schema(self, defs: Definitions) -> dict[str, Any]:  # noqa: ARG002 - it is the author's
        """Return the schema that was given."""
        return dict(self.rendering)

    def holds(self, value: Any) -> bool:
        """Whether it is one already."""
        return isinstance(value, self.type)
