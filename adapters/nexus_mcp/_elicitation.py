"""A run's question as an MCP elicitation form, and the form's content as an answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nexus.models import MISSING, Question
from nexus_mcp._schemas import is_object, resolved

__all__ = ["NO_SECRETS", "answer", "asks_for_secret", "form"]

ANSWER: Final = "answer"

# MCP 2025-11-25, client/elicitation: a server must not ask for passwords or keys by a form.
NO_SECRETS: Final = (
    "an MCP client must not be asked for a secret; answer by runs.answer on another channel, or take it as an input"
)

# MCP 2025-11-25, client/elicitation: what the schema of a form's field may say.
COMMON: Final = ("title", "description")
KEYWORDS: Final[Mapping[str, Sequence[str]]] = {
    "string": ("minLength", "maxLength", "default"),
    "integer": ("minimum", "maximum", "default"),
    "number": ("minimum", "maximum", "default"),
    "boolean": ("default",),
    "array": ("minItems", "maxItems", "default"),
}
FORMATS: Final = frozenset({"date", "date-time", "email", "uri"})


def form(question: Question, problem: str | None = None) -> tuple[str, dict[str, Any]]:
    """
    Return the message and the requested schema; what is not an object is asked for as `answer`.

    Args:
        question: What to ask.
        problem: Why the last answer was not taken.
    """
    schema = question.schema
    problem = problem or question.problem
    message = question.text if problem is None else f"{question.text}\n\nThe last answer was not taken: {problem}"
    if not is_object(schema):
        return message, _object({ANSWER: _field(schema, schema, question.default)}, [ANSWER])
    root = resolved(schema, schema)
    defaults = question.default if isinstance(question.default, Mapping) else {}
    fields = {name: _field(field, schema, defaults.get(name, MISSING)) for name, field in root.get("properties", {}).items()}
    return message, _object(fields, root.get("required", ()))


def answer(question: Question, content: Mapping[str, Any] | None) -> Any:
    """Return the answer in a form's content, None where the form came back empty; whether it fits is not looked at here."""
    content = content or {}
    schema = question.schema
    if not is_object(schema):
        return _value(schema, schema, content.get(ANSWER))
    properties = resolved(schema, schema).get("properties", {})
    return {name: _value(properties.get(name, {}), schema, value) for name, value in content.items()}


def asks_for_secret(question: Question) -> bool:
    """Whether the answer, or a field of it, is a secret."""
    schema = resolved(question.schema, question.schema)
    fields = (_plain(field, question.schema) for field in schema.get("properties", {}).values())
    return any(part.get("writeOnly") is True or part.get("format") == "password" for part in (_plain(schema, schema), *fields))


def _object(fields: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(fields), **({"required": list(required)} if required else {})}


def _plain(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema without references and without null, for which a form has no field."""
    schema = resolved(schema, root)
    choices = [
        choice
        for choice in (resolved(choice, root) for choice in schema.get("anyOf", schema.get("oneOf", ())))
        if choice.get("type") != "null"
    ]
    if len(choices) == 1:
        schema = {**choices[0], **{key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}}
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [name for name in kind if name != "null"]
        schema = {**schema, "type": kinds[0] if len(kinds) == 1 else "string"}
    return schema


def _choices(schema: Mapping[str, Any]) -> Sequence[Any]:
    """Return the values of an enumeration; empty where it is none."""
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    return [value for value in values if value is not None]


def _field(schema: Mapping[str, Any], root: Mapping[str, Any], default: Any) -> dict[str, Any]:
    schema = _plain(schema, root)
    if default is not MISSING and default is not None:
        schema = {**schema, "default": default}
    common = {key: schema[key] for key in COMMON if key in schema}
    choices = _choices(schema)
    if choices:
        picked = {"default": _text(schema["default"])} if "default" in schema else {}
        return {"type": "string", **common, "enum": [_text(choice) for choice in choices], **picked}
    kind = str(schema.get("type"))
    if kind not in KEYWORDS:
        kind = "string"
    field = {"type": kind, **common, **{key: schema[key] for key in KEYWORDS[kind] if key in schema}}
    if kind == "array":
        field["items"] = {"type": "string", "enum": [_text(choice) for choice in _choices(_plain(schema.get("items", {}), root))]}
    if kind == "string" and schema.get("format") in FORMATS:
        field["format"] = schema["format"]
    return field


def _value(schema: Mapping[str, Any], root: Mapping[str, Any], value: Any) -> Any:
    """Return a form's value as the question knows it: forms have choices of text only."""
    schema = _plain(schema, root)
    if isinstance(value, list):
        return [_value(schema.get("items", {}), root, item) for item in value]
    return next((choice for choice in _choices(schema) if isinstance(value, str) and _text(choice) == value), value)


def _text(choice: Any) -> str:
    return choice if isinstance(choice, str) else str(choice)
