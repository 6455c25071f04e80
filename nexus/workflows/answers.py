"""
Answers to questions: a scalar, an enum, a list of enums, or a flat class of those.

A question carries the JSON Schema of its answer, and whoever receives the answer checks it by that alone: it may be a process
that has never seen the workflow's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

from nexus.exceptions import InvalidArgumentError, RegistrationError
from nexus.models import MISSING
from nexus.workflows.codecs import Codecs
from nexus.workflows.fields import SCALARS, AnyField, Check, Field, NullField, Scalar, scalar
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.fields_choice import Choice
from nexus.workflows.fields_nested import ListField, UnionField
from nexus.workflows.fields_objects import Member, ObjectField
from nexus.workflows.fields_wrapped import GuardedField
from nexus.workflows.fits import named
from nexus.workflows.hints import Translator
from nexus.workflows.hints_bounds import CONSTRAINTS
from nexus.workflows.schema import Definitions
from nexus.workflows.secret_values import holds_secrets, is_secret

__all__ = ["answer_schema", "check_answer", "to_python"]

NOTHING: Final = Bounds()
POINTER: Final = "/answer"
FORMATS: Final = {shown.get("format"): type_ for type_, (_, _, shown) in SCALARS.items() if "format" in shown}
TYPES: Final[Mapping[str, type[Any]]] = {"string": str, "integer": int, "number": float, "boolean": bool}
ORDERS: Final = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
LENGTHS: Final = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
COUNTS: Final = {"minItems": "min_length", "maxItems": "max_length"}


def answer_schema(type_: Any) -> dict[str, Any]:
    """
    Return the JSON Schema (2020-12) of an answer of that type, without references.

    Raises:
        TypeError: An answer can't be of that type.
    """
    try:
        field = Translator({}, f"run.ask(…, {named(type_)})").field(type_)
    except RegistrationError as error:
        raise TypeError(error.message) from None
    if isinstance(field, ObjectField) and field.arguments:
        return _form(field, type_)
    return _simple(field, type_)


def _form(field: ObjectField, type_: Any) -> dict[str, Any]:
    shown = field.object_schema(Definitions())
    for member in field.arguments:
        described = {key: text for key, text in shown["properties"][member.shown].items() if key in ("description", "default")}
        simple = _simple(_unless_null(member.field), type_)
        if described.get("default", MISSING) is None or is_secret(simple):
            described.pop("default", None)
        shown["properties"][member.shown] = {**simple, **described}
    required = [member.shown for member in field.arguments if _is_needed(member)]
    return {**{key: value for key, value in shown.items() if key != "required"}, **({"required": required} if required else {})}


def _unless_null(field: Field) -> Field:
    """Return what an optional member is if it is there."""
    if isinstance(field, UnionField):
        members = [member for member in field.members if not isinstance(member, NullField)]
        return members[0] if len(members) == 1 else field
    return field


def _is_needed(member: Member) -> bool:
    return member.required and _unless_null(member.field) is member.field


def _simple(field: Field, type_: Any) -> dict[str, Any]:
    inner = field.inner if isinstance(field, GuardedField) else field
    listed = isinstance(inner, ListField) and isinstance(inner.item, Choice)
    if not listed and not isinstance(inner, Choice) and not (isinstance(inner, Scalar) and inner.type is not bytes):
        raise TypeError(
            f"run.ask(…, {named(type_)}): an answer is a str, int, float, bool, date, time, datetime, timedelta, Decimal, UUID, "
            f"Enum or Literal, a list of Enum or Literal, or a flat class of those; ask several questions instead"
        )
    if not _is_sayable(field):
        raise TypeError(
            f"run.ask(…, {named(type_)}): JSON Schema can't say all of these constraints; check the answer in the step"
        )
    return field.schema(Definitions())


def _is_sayable(field: Field) -> bool:
    """Whether the schema says all that the hint says."""
    bounds: Bounds = getattr(field, "bounds", NOTHING)
    keywords: Mapping[Any, Mapping[str, str]] = {int: ORDERS, float: ORDERS, str: LENGTHS}
    said = COUNTS if isinstance(field, ListField) else keywords.get(getattr(field, "type", None), {})
    names = set(said.values())
    return not bounds.predicates and all(getattr(bounds, name) is None or name in names for name in CONSTRAINTS)


def check_answer(schema: Mapping[str, Any], value: Any) -> Any:
    """
    Return the answer as a JSON value in its one form; text is good enough ("yes" for true, "3" for 3).

    Args:
        schema: What `answer_schema` returned, here or in another process.
        value: What somebody answered.

    Raises:
        InvalidArgumentError: It does not fit; pointers are `/answer` or `/answer/field`.
    """
    field = _field_of(schema)
    check = Check(lenient=True, discreet=holds_secrets(schema))
    taken = field.take(_tidied(schema, value), POINTER, check)
    if check.problems:
        raise InvalidArgumentError(f"the answer does not fit: {check.problems[0].message}", check.outcome())
    return msgspec.json.decode(msgspec.json.encode(taken))


def _tidied(schema: Mapping[str, Any], value: Any) -> Any:
    """Take the members of a form that were left empty for absent, and `a, b` for a list."""
    if schema.get("type") == "array" and isinstance(value, str) and not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",") if part.strip()]
    if schema.get("type") == "object" and isinstance(value, Mapping):
        required = schema.get("required", ())
        return {name: item for name, item in value.items() if item is not None or name in required}
    return value


def _field_of(schema: Mapping[str, Any]) -> Field:
    kind = schema.get("type")
    if "enum" in schema:
        return Choice([(value, value) for value in schema["enum"]])
    if kind == "array":
        return ListField(Distinct if schema.get("uniqueItems") else list, _field_of(schema["items"]), _bounds(schema, COUNTS))
    if kind == "object":
        return _object_of(schema)
    type_ = FORMATS.get(schema.get("format"), TYPES[str(kind)])
    bounds = _bounds(schema, LENGTHS if type_ is str else ORDERS)
    made = scalar(type_, attrs.evolve(bounds, secret=True) if type_ is str and is_secret(schema) else bounds)
    return made if made is not None else AnyField()


def _object_of(schema: Mapping[str, Any]) -> ObjectField:
    required = schema.get("required", ())
    fields = {name: _field_of(part) for name, part in schema["properties"].items()}
    members = [
        Member(name=name, argument=name, shown=name, field=field, output=field, required=name in required)
        for name, field in fields.items()
    ]
    return ObjectField(type=dict, members=members, build=dict, instances=False, strict=True)


def _bounds(schema: Mapping[str, Any], names: Mapping[str, str]) -> Bounds:
    return Bounds(**{ours: schema[theirs] for theirs, ours in names.items() if theirs in schema})


class Distinct(list[Any]):
    """A list without its repetitions, which keeps the order where a set would not."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(dict.fromkeys(items))


def to_python(type_: Any, value: Any, codecs: Codecs) -> Any:
    """
    Return what the step gets.

    Args:
        type_: What the step asked for.
        value: What `check_answer` returned.
        codecs: The application's.

    Raises:
        InvalidArgumentError: The class itself refuses it.
    """
    field = codecs.field(type_, place=f"run.ask(…, {named(type_)})")
    if isinstance(field, ObjectField) and isinstance(value, Mapping):
        absent = [member.shown for member in field.arguments if member.required and not _is_needed(member)]
        value = {**dict.fromkeys(absent), **value}
    check = Check(discreet=field.holds_secrets)
    taken = field.take(value, POINTER, check)
    if check.problems:
        raise InvalidArgumentError(f"the answer does not fit: {check.problems[0].message}", check.outcome())
    return taken
