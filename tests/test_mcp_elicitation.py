"""A run's question as an MCP form, and a filled-in form as an answer."""

from __future__ import annotations

from typing import Any

import pytest

from nexus.models import MISSING, Question
from nexus_mcp._elicitation import answer, form


def question(schema: dict[str, Any], *, default: Any = MISSING, problem: str | None = None) -> Question:
    return Question(name="check.1", text="Go on?", schema=schema, step="check", default=default, problem=problem)


def field(schema: dict[str, Any], default: Any = MISSING) -> Any:
    return form(question(schema, default=default))[1]["properties"]["answer"]


def test_a_scalar_is_asked_for_as_the_one_required_field_answer() -> None:
    message, schema = form(question({"type": "boolean"}))

    assert message == "Go on?"
    assert schema == {"type": "object", "properties": {"answer": {"type": "boolean"}}, "required": ["answer"]}


def test_what_was_wrong_with_the_last_answer_is_in_the_message() -> None:
    message, _ = form(question({"type": "boolean"}, problem="expected true or false"))

    assert message == "Go on?\n\nThe last answer was not taken: expected true or false"


def test_a_problem_given_beside_the_question_is_in_the_message() -> None:
    message, _ = form(question({"type": "boolean"}), "not that")

    assert message.endswith("not that")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2}, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "number", "description": "in mm"}, {"type": "number", "description": "in mm"}),
        ({"type": "string", "maxLength": 3, "pattern": "^a"}, {"type": "string", "maxLength": 3}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "string", "format": "uuid"}, {"type": "string"}),
        ({"enum": ["low", "high"]}, {"type": "string", "enum": ["low", "high"]}),
        ({"enum": [1, 2]}, {"type": "string", "enum": ["1", "2"]}),
        ({"const": "only"}, {"type": "string", "enum": ["only"]}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer"}),
        ({"type": ["string", "null"]}, {"type": "string"}),
        ({"type": ["string", "integer"]}, {"type": "string"}),
        ({}, {"type": "string"}),
        (
            {"type": "array", "items": {"$ref": "#/$defs/Size"}, "minItems": 1, "$defs": {"Size": {"enum": ["s", "m"]}}},
            {"type": "array", "minItems": 1, "items": {"type": "string", "enum": ["s", "m"]}},
        ),
        (
            {"$ref": "#/$defs/Size", "$defs": {"Size": {"title": "Size", "enum": ["s"]}}},
            {"type": "string", "title": "Size", "enum": ["s"]},
        ),
    ],
)
def test_a_field_says_only_what_forms_can_say(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert field(schema) == expected


def test_the_default_is_proposed() -> None:
    assert field({"type": "boolean"}, default=True) == {"type": "boolean", "default": True}


def test_the_default_of_a_choice_is_proposed_as_text() -> None:
    assert field({"enum": [1, 2]}, default=2) == {"type": "string", "enum": ["1", "2"], "default": "2"}


FLAT = {
    "$ref": "#/$defs/Order",
    "$defs": {
        "Order": {
            "type": "object",
            "properties": {"count": {"type": "integer"}, "size": {"enum": [1, 2]}},
            "required": ["count"],
        }
    },
}


def test_a_flat_class_is_asked_for_by_its_fields() -> None:
    _, schema = form(question(FLAT, default={"size": 2}))

    assert schema == {
        "type": "object",
        "properties": {"count": {"type": "integer"}, "size": {"type": "string", "enum": ["1", "2"], "default": "2"}},
        "required": ["count"],
    }


def test_a_class_without_required_fields_requires_none() -> None:
    _, schema = form(question({"type": "object", "properties": {"count": {"type": "integer", "default": 3}}}))

    assert schema == {"type": "object", "properties": {"count": {"type": "integer", "default": 3}}}


def test_the_answer_is_taken_out_of_its_field() -> None:
    assert answer(question({"type": "boolean"}), {"answer": False}) is False


def test_a_choice_comes_back_as_the_value_it_stands_for() -> None:
    assert answer(question({"enum": [1, 2]}), {"answer": "2"}) == 2


def test_a_choice_that_there_is_not_comes_back_as_it_is() -> None:
    assert answer(question({"enum": [1, 2]}), {"answer": "7"}) == "7"


def test_choices_come_back_as_the_values_they_stand_for() -> None:
    assert answer(question({"type": "array", "items": {"enum": [1, 2]}}), {"answer": ["2", "1"]}) == [2, 1]


def test_the_answer_of_a_class_is_its_fields() -> None:
    assert answer(question(FLAT), {"count": 3, "size": "1", "more": "x"}) == {"count": 3, "size": 1, "more": "x"}


@pytest.mark.parametrize("content", [None, {}])
def test_an_empty_form_answers_nothing(content: dict[str, Any] | None) -> None:
    assert answer(question({"type": "boolean"}), content) is None
