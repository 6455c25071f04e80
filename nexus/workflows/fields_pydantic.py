"""What a value must be: models of pydantic, where the application has brought it. This module never imports it."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from nexus.exceptions import RegistrationError
from nexus.workflows.fields import Check, Field, token
from nexus.workflows.fields_nested import parsed
from nexus.workflows.fields_text import shorten
from nexus.workflows.schema import Definitions, has_format
from nexus.workflows.secret_values import SECRET, holds_secrets, without_secrets

__all__ = ["ModelField", "dump_model", "is_model"]

LOOKS_AT_FILES = frozenset({"file-path", "directory-path"})


def is_model(type_: Any) -> bool:
    """Whether it is a class of pydantic's models."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(type_, type) and issubclass(type_, pydantic.BaseModel)


def dump_model(value: Any, path: Callable[[PurePath], Any] = str) -> Any:
    """Return the model as JSON values, with what *path* makes of each path in it."""
    shown = value.model_dump(mode="json", by_alias=True)
    return shown if path is str else _with_paths(shown, value.model_dump(by_alias=True), path)


def _with_paths(shown: Any, value: Any, path: Callable[[PurePath], Any]) -> Any:
    """Return the JSON value *shown* of *value*, in which pydantic has written each path as it is."""
    if isinstance(value, PurePath):
        return path(value)
    if isinstance(value, Mapping) and isinstance(shown, dict) and len(value) == len(shown):
        return {name: _with_paths(item, held, path) for (name, item), held in zip(shown.items(), value.values(), strict=True)}
    if isinstance(value, Iterable) and isinstance(shown, list):
        return [_with_paths(item, held, path) for item, held in zip(shown, value, strict=False)]
    return shown


class ModelField(Field):
    """
    A model, which pydantic checks.

    Raises:
        RegistrationError: It holds a `FilePath` or `DirectoryPath`.
    """

    kinds = frozenset({"object"})
    hashable = False
    holds_paths = True

    def __init__(self, type_: Any, place: str) -> None:
        self.type = type_
        self.name = type_.__name__
        schema = type_.model_json_schema()
        self.holds_secrets = holds_secrets(schema)
        if has_format(schema, LOOKS_AT_FILES):
            raise RegistrationError(
                f"{place}: {self.name} has a FilePath or DirectoryPath, which looks at the file system before the path is known "
                f"to be below files_root; use pathlib.Path"
            )

    @property
    def expected(self) -> str:
        """The noun phrase with the names."""
        return f"an object with {', '.join(field.alias or name for name, field in self.type.model_fields.items())}"

    def take(self, value: Any, at: str, check: Check) -> Any:
        """Let pydantic take it."""
        entries = parsed(value, check, dict)
        if not isinstance(entries, Mapping | self.type):
            return self.wrong(value, at, check)
        before = check.refused
        try:
            model = self.type.model_validate(entries)
        except ValueError as error:  # pydantic's ValidationError is one
            for problem in error.errors(include_url=False):  # type: ignore[attr-defined]
                where = "".join(token(part) for part in problem["loc"])
                check.refuse(at + where, self._said(problem, entries, check))
            return None
        if check.files is not None:
            model = _held(model, at, check)
        return None if check.refused > before else model

    def _said(self, problem: Mapping[str, Any], entries: Any, check: Check) -> str:
        text = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}"
        came = "" if problem["type"] == "missing" else f", got {shorten(problem['input'])}"
        if not (check.discreet and self.holds_secrets):
            return text + came
        schema = self.type.model_json_schema()
        member = schema.get("properties", {}).get(next(iter(problem["loc"]), ""))
        if came and (member is None or holds_secrets(member, schema)):
            came = f", got {SECRET}"
        return without_secrets(text, schema, entries) + came

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Return a reference to the definition."""
        return defs.refer(self)

    def definition(self, defs: Definitions) -> dict[str, Any]:
        """Return pydantic's schema."""
        mode = "serialization" if defs.side == "output" else "validation"
        shown: dict[str, Any] = self.type.model_json_schema(mode=mode)
        for name, schema in shown.pop("$defs", {}).items():
            defs.adopt(name, schema)
        return shown

    def holds(self, value: Any) -> bool:
        """Whether it is such a model already."""
        return isinstance(value, self.type)


def _held(value: Any, at: str, check: Check) -> Any:
    """Return the value with every path in it held below the root."""
    if isinstance(value, PurePath) and check.files is not None:
        try:
            return check.files.resolve(str(value))
        except ValueError as error:
            return check.refuse(at, f"{error}; got {shorten(str(value))}")
    if isinstance(value, Mapping):
        return {_held(key, at, check): _held(item, at + token(key), check) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        held = [_held(item, f"{at}/{i}", check) for i, item in enumerate(value)]
        return type(value)(*held) if hasattr(value, "_fields") else type(value)(held)
    if is_model(type(value)):
        held_fields = {name: _held(item, at + token(name), check) for name, item in value if name in value.model_fields_set}
        return value.model_copy(update=held_fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = copy.copy(value)
        for field in dataclasses.fields(value):
            # Not through its constructor: that has run, and the class may be frozen.
            object.__setattr__(value, field.name, _held(getattr(value, field.name), at + token(field.name), check))
    return value
