"""
Values that are shown to nobody but the step: `Annotated[str, Secret()]`, and `***` in their place.

Which parts of a value are secret is read off its JSON Schema alone, for that is what a class of attrs, a model of pydantic, a
type that somebody taught, and a question that another process has asked have in common.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

__all__ = [
    "REDACTED",
    "SECRET",
    "Redactor",
    "Secret",
    "holds_secrets",
    "is_secret",
    "scrubbed",
    "secret_keywords",
    "without_secret_defaults",
    "without_secrets",
]

REDACTED: Final = "***"
"""What is shown in place of a secret; always as long, for the length of a secret is one, too."""

SECRET: Final = "a secret value"  # noqa: S105 - it is none
"""What messages say that came."""

NAMED: Final = ("properties", "patternProperties", "$defs")
LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE: Final = ("items", "additionalProperties", "propertyNames")
DEFINITIONS: Final = "#/$defs/"

Schema = Mapping[str, Any]


@attrs.frozen
class Secret:
    """
    `Annotated[str, Secret()]`: a secret, as an input, in an output, or as the answer to a question.

    The step gets it as it is. Wherever else Nexus shows the value, that is `***`: in the record of the run and so in its store,
    in messages, log lines and events. Schemas say `"format": "password"`, and never have its default. It marks `str` and
    `bytes`, anywhere in a type: `list[Annotated[str, Secret()]]`, a member of a class.
    """

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Say so in the schema of a model of pydantic."""
        return {**handler(schema), **secret_keywords("output" if handler.mode == "serialization" else "input")}


def secret_keywords(side: str) -> dict[str, Any]:
    """Return what the JSON Schema of a secret says; that it is never shown again, only of what may come in."""
    return {"format": "password"} if side == "output" else {"format": "password", "writeOnly": True}


def is_secret(schema: Schema) -> bool:
    """Whether the schema says that the value itself is a secret."""
    return schema.get("format") == "password" or schema.get("writeOnly") is True


def holds_secrets(schema: Schema, root: Schema | None = None) -> bool:
    """
    Whether a value of the schema may have a secret somewhere in it.

    Args:
        schema: What is looked at.
        root: The document with the `$defs` that it refers to; by default the schema itself.
    """
    defs = (schema if root is None else root).get("$defs", {})
    waiting, seen = [schema], set()
    while waiting:
        part = waiting.pop()
        if is_secret(part):
            return True
        name = _reference(part)
        if name not in seen:
            seen.add(name)
            waiting.append(defs.get(name, {}))
        waiting.extend(_parts(part))
    return False


def _reference(schema: Schema) -> str:
    return str(schema.get("$ref", "")).removeprefix(DEFINITIONS)


def _parts(schema: Schema) -> Iterator[Schema]:
    for key in NAMED[:2]:
        yield from _schemas(schema.get(key, {}).values())
    for key in LISTED:
        yield from _schemas(schema.get(key, ()))
    yield from _schemas(schema.get(key) for key in SINGLE)


def _schemas(found: Iterable[Any]) -> Iterator[Schema]:
    # `true` and `false` are schemas, too.
    return (part for part in found if isinstance(part, Mapping))


def without_secret_defaults(root: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the defaults and examples that have secrets in them; the very same one if there are none."""

    def cleaned(schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        shown: dict[str, Any] = {}
        for key, said in schema.items():
            if key in NAMED:
                shown[key] = {name: cleaned(part) for name, part in said.items()}
            elif key in LISTED:
                shown[key] = [cleaned(part) for part in said]
            elif key in SINGLE:
                shown[key] = cleaned(said)
            elif key not in ("default", "examples") or said is None or not holds_secrets(schema, root):
                shown[key] = said
        return shown

    return cleaned(root) if holds_secrets(root) else root


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return the text with `***` in place of each of the secrets, as it is and as `repr` writes it."""
    forms = {form for secret in secrets for form in (secret, repr(secret)[1:-1]) if form}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    return text


def without_secrets(text: str, schema: Schema, value: Any) -> str:
    """
    Return a text that may quote a value, with `***` in place of the value's secrets.

    Args:
        text: For a person.
        schema: JSON Schema of the value, as of what goes out.
        value: JSON values, or what msgspec makes such of.
    """
    found: list[str] = []
    try:
        Redactor(schema).redact(msgspec.to_builtins(value, enc_hook=str), found)
    except (TypeError, ValueError, RecursionError):
        return f"{SECRET} is not good here"
    return scrubbed(text, found)


@attrs.frozen(eq=False)
class Redactor:
    """
    Puts `***` where a schema has a secret.

    What does not have the shape that the schema says is hidden as a whole, down to where it has: a workflow may return what its
    hint does not say.

    Args:
        root: JSON Schema with its `$defs`, as of what goes out.
    """

    root: Schema

    def redact(self, value: Any, found: list[str] | None = None) -> Any:
        """
        Return a JSON value without its secrets.

        Args:
            value: As it was encoded.
            found: Gets the secrets that were there.
        """
        return self._redacted(self.root, value, [] if found is None else found)

    def _redacted(self, schema: Schema, value: Any, found: list[str]) -> Any:
        schema = self._resolved(schema)
        if is_secret(schema):
            return _hidden(value, found, encoded=schema.get("contentEncoding") == "base64")
        if value is None or not holds_secrets(schema, self.root):
            return value
        union = schema.get("anyOf") or schema.get("oneOf") or ()
        fitting = [branch for branch in union if self._may_be(branch, value)] or schema.get("allOf")
        return self._each(fitting, value, found) if fitting else self._parts_redacted(schema, value, found)

    def _parts_redacted(self, schema: Schema, value: Any, found: list[str]) -> Any:
        if isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
            return {name: self._member(schema, name, item, found) for name, item in value.items()}
        if isinstance(value, list) and ("prefixItems" in schema or "items" in schema):
            first = schema.get("prefixItems", ())
            rest = schema.get("items")
            return [self._part(first[i] if i < len(first) else rest, item, found) for i, item in enumerate(value)]
        return _hidden(value, found)

    def _each(self, schemas: Sequence[Schema], value: Any, found: list[str]) -> Any:
        """Hide what any of them says is to be hidden."""
        for schema in schemas:
            value = self._redacted(schema, value, found)
        return value

    def _member(self, schema: Schema, name: str, value: Any, found: list[str]) -> Any:
        properties = schema.get("properties", {})
        return self._part(properties[name] if name in properties else schema.get("additionalProperties"), value, found)

    def _part(self, schema: Any, value: Any, found: list[str]) -> Any:
        if schema is True:
            return value
        return self._redacted(schema, value, found) if isinstance(schema, Mapping) else _hidden(value, found)

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            rest = {key: said for key, said in schema.items() if key != "$ref"}
            target = self.root.get("$defs", {}).get(_reference(schema), {})
            schema = {**target, **rest} if rest else target
        return schema

    def _may_be(self, branch: Schema, value: Any) -> bool:
        schema = self._resolved(branch)
        said = schema.get("type")
        if said is not None and not _types(value) & ({said} if isinstance(said, str) else set(said)):
            return False
        if "const" in schema or "enum" in schema:
            return value in schema.get("enum", [schema.get("const")])
        if not isinstance(value, dict):
            return True
        tags = {name: part["const"] for name, part in schema.get("properties", {}).items() if "const" in part}
        return set(schema.get("required", ())) <= set(value) and all(value.get(name, tag) == tag for name, tag in tags.items())


def _types(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number", "integer"} if value.is_integer() else {"number"}
    return {"string"} if isinstance(value, str) else {"array"} if isinstance(value, list) else {"object"}


def _hidden(value: Any, found: list[str], *, encoded: bool = False) -> Any:
    """Return what is shown in place of a value that is one secret, or of another shape than was to be expected."""
    if value is None or value == REDACTED:
        return value
    for text in _texts(value):
        found.append(text)
        if encoded:
            try:
                found.append(base64.b64decode(text).decode("utf-8", "backslashreplace"))
            except (binascii.Error, ValueError):
                continue
    return REDACTED


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
