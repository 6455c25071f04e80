"""Every kind of hint as JSON Schema."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from nexus.workflows.codecs import Codecs
from tests.signature_types import Color, Converted, Family, Stop, Tree, numbered, signature_of

SCHEMAS: list[tuple[Any, dict[str, Any]]] = [
    (datetime, {"type": "string", "format": "date-time"}),
    (Path, {"type": "string", "format": "path"}),
    (bytes, {"type": "string", "contentEncoding": "base64"}),
    (Color, {"type": "string", "enum": ["red", "green"]}),
    (Literal[1, "a", None], {"type": ["integer", "null", "string"], "enum": [1, "a", None]}),  # noqa: PYI061 - null is a literal too
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2, "maxItems": 2},
    ),
    (dict[int, str], {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"pattern": "^-?[0-9]+$"}}),
    (
        dict[Color, Any],
        {"type": "object", "additionalProperties": {}, "propertyNames": {"type": "string", "enum": ["red", "green"]}},
    ),
    (
        Annotated[int, at.Interval(ge=1, lt=5), at.MultipleOf(2)],
        {"type": "integer", "minimum": 1, "exclusiveMaximum": 5, "multipleOf": 2},
    ),
    (
        Annotated[str, msgspec.Meta(min_length=1, pattern="^a", title="A", examples=["a"])],
        {"type": "string", "minLength": 1, "pattern": "^a", "title": "A", "examples": ["a"]},
    ),
    (Annotated[list[int], at.Len(1, 2)], {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}),
    (
        Annotated[dict[str, int], at.MinLen(1)],
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    ),
    (Annotated[bytes, at.MinLen(1)], {"type": "string", "contentEncoding": "base64"}),
    (Annotated[int, at.doc("How many.")], {"type": "integer", "description": "How many."}),
    (Annotated[int, pydantic.Field(description="How many.")], {"type": "integer", "description": "How many."}),
    (
        Annotated[int | None, msgspec.Meta(description="How many.")],
        {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "How many."},
    ),
    (Annotated[Color, msgspec.Meta(description="Which.")], {"type": "string", "enum": ["red", "green"], "description": "Which."}),
]


@pytest.mark.parametrize(("hint", "expected"), SCHEMAS, ids=numbered(SCHEMAS))
def test_the_schema_says_what_the_hint_says(hint: Any, expected: dict[str, Any]) -> None:
    assert signature_of(hint).schema["properties"]["it"] == expected


def test_a_class_is_defined_once_and_may_hold_itself() -> None:
    schema = signature_of(dict[str, Tree]).schema

    assert schema["properties"]["it"] == {"type": "object", "additionalProperties": {"$ref": "#/$defs/Tree"}}
    assert schema["$defs"]["Tree"] == {
        "title": "Tree",
        "description": "A tree.",
        "type": "object",
        "properties": {
            "value": {"type": "integer", "description": "What it holds."},
            "left": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}], "default": None},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}, "default": []},
        },
        "required": ["value"],
    }


def test_two_classes_of_one_name_have_two_definitions() -> None:
    other: Any = attrs.make_class("Stop", {"line": attrs.field(type=int)})

    schema = signature_of(tuple[Stop, other]).schema

    assert set(schema["$defs"]) == {"Stop", "Stop2"}


def test_models_of_pydantic_bring_their_own_definitions() -> None:
    schema = signature_of(Family).schema

    assert set(schema["$defs"]) == {"Family", "Person"}
    assert schema["$defs"]["Family"]["properties"]["members"] == {
        "items": {"$ref": "#/$defs/Person"},
        "title": "Members",
        "type": "array",
    }


def test_what_a_converter_takes_is_what_comes_in_and_what_it_makes_goes_out() -> None:
    codecs = Codecs()

    assert signature_of(Converted, codecs).schema["$defs"]["Converted"]["properties"]["length"] == {"type": "string"}
    assert codecs.output_schema(Converted)["properties"]["length"] == {"type": "string", "format": "duration"}
    assert codecs.to_builtins(Converted("3 min")) == {"length": "PT180S", "twice": 360}
