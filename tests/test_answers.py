from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import annotated_types as at
import attrs
import msgspec
import pytest
from jsonschema import Draft202012Validator

from nexus.exceptions import InvalidArgumentError
from nexus.workflows.answers import answer_schema, check_answer, to_python
from nexus.workflows.codecs import Codecs


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


@attrs.frozen
class Form:
    """
    A form.

    Attributes:
        name: Who.
    """

    name: str
    age: Annotated[int, at.Ge(0)] = 18
    color: Color = Color.RED
    colors: list[Color] = attrs.field(factory=list)
    note: str | None = None
    mail: Annotated[str, msgspec.Meta(pattern="@")] | None = attrs.field(default=None, alias="e_mail")


@dataclass
class Optionally:
    size: int | None


class Pair(NamedTuple):
    first: int
    second: str = "b"


class Where(TypedDict):
    city: str


class Row(msgspec.Struct, rename="camel"):
    first_name: str


@attrs.frozen
class Even:
    number: int = attrs.field()

    @number.validator
    def _is_even(self, attribute: Any, value: int) -> None:
        if value % 2:
            raise ValueError("it must be even")


UUID_TEXT = "6f1b1d2e-0000-4000-8000-000000000000"

GOOD: list[tuple[Any, Any, Any, Any]] = [
    (str, "x", "x", "x"),
    (bool, True, True, True),
    (bool, "yes", True, True),
    (bool, "N", False, False),
    (bool, "1", True, True),
    (int, 3, 3, 3),
    (int, "3", 3, 3),
    (int, 3.0, 3, 3),
    (float, "1.5", 1.5, 1.5),
    (Decimal, "1.50", "1.50", Decimal("1.50")),
    (Decimal, 2, "2", Decimal(2)),
    (date, "2026-11-23", "2026-11-23", date(2026, 11, 23)),
    (time, "14:30", "14:30:00", time(14, 30)),
    (datetime, "2026-11-23T14:30", "2026-11-23T14:30:00", datetime(2026, 11, 23, 14, 30)),  # noqa: DTZ001 - as written
    (timedelta, "90", "PT90S", timedelta(seconds=90)),
    (UUID, UUID_TEXT.upper(), UUID_TEXT, UUID(UUID_TEXT)),
    (Color, "red", "red", Color.RED),
    (Literal["a", 1], "1", 1, 1),
    (list[Color], ["red", "red"], ["red", "red"], [Color.RED, Color.RED]),
    (list[Color], "red, green", ["red", "green"], [Color.RED, Color.GREEN]),
    (list[Color], '["red"]', ["red"], [Color.RED]),
    (list[Color], "", [], []),
    (set[Color], ["red", "red"], ["red"], {Color.RED}),
    (Annotated[int, at.Interval(ge=1, lt=5), at.MultipleOf(2)], "4", 4, 4),
    (Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern="a")], "a", "a", "a"),
    (Annotated[list[Literal["a", "b"]], at.Len(1, 2)], "b", ["b"], ["b"]),
    (Annotated[Color, msgspec.Meta(description="Which.")], "red", "red", Color.RED),
    (Form, {"name": "Ann"}, {"name": "Ann"}, Form("Ann")),
    (Form, '{"name": "Ann", "age": "3"}', {"name": "Ann", "age": 3}, Form("Ann", 3)),
    (
        Form,
        {"name": "Ann", "age": 3, "color": "green", "colors": ["red"], "note": None, "e_mail": "a@b"},
        {"name": "Ann", "age": 3, "color": "green", "colors": ["red"], "e_mail": "a@b"},
        Form("Ann", 3, Color.GREEN, [Color.RED], e_mail="a@b"),
    ),
    (Optionally, {}, {}, Optionally(None)),
    (Optionally, {"size": None}, {}, Optionally(None)),
    (Optionally, {"size": "3"}, {"size": 3}, Optionally(3)),
    (Pair, {"first": 1}, {"first": 1}, Pair(1)),
    (Where, {"city": "Bern"}, {"city": "Bern"}, {"city": "Bern"}),
    (Row, {"firstName": "Ann"}, {"firstName": "Ann"}, Row("Ann")),
]


@pytest.mark.parametrize(("type_", "given", "shown", "python"), GOOD, ids=[str(i) for i in range(len(GOOD))])
def test_an_answer_is_checked_by_its_schema_alone_and_becomes_a_python_value(
    type_: Any, given: Any, shown: Any, python: Any
) -> None:
    schema = msgspec.json.decode(msgspec.json.encode(answer_schema(type_)))

    checked = check_answer(schema, given)

    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(checked)
    assert checked == shown
    assert type(checked) is type(shown)
    assert check_answer(schema, checked) == checked
    assert to_python(type_, checked, Codecs()) == python


BAD: list[tuple[Any, Any, dict[str, str]]] = [
    (bool, "maybe", {"/answer": "expected true or false, got 'maybe'"}),
    (int, "x", {"/answer": "expected an integer, got 'x'"}),
    (int, None, {"/answer": "expected an integer, got null"}),
    (Annotated[int, at.Le(5)], 6, {"/answer": "expected an integer <= 5, got 6"}),
    (date, "soon", {"/answer": "expected a date like '2026-11-23', got 'soon'"}),
    (Color, "blue", {"/answer": "expected one of 'red', 'green', got 'blue'"}),
    (list[Color], "red, blue", {"/answer/1": "expected one of 'red', 'green', got 'blue'"}),
    (Annotated[list[Color], at.MinLen(1)], "", {"/answer": "expected a list of at least 1 item, got []"}),
    (list[Color], 3, {"/answer": "expected a list, got 3"}),
    (
        Form,
        {"age": -1, "nam": "Ann", "e_mail": "x"},
        {
            "/answer/name": "missing; expected a string",
            "/answer/age": "expected an integer >= 0, got -1",
            "/answer/e_mail": "expected a string matching '@', got 'x'",
            "/answer/nam": "unknown name; did you mean 'name'?",
        },
    ),
    (Form, {"name": None}, {"/answer/name": "expected a string, got null"}),
    (Form, "Ann", {"/answer": "expected an object with name, age, color, colors, note, e_mail, got 'Ann'"}),
]


@pytest.mark.parametrize(("type_", "given", "expected"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_wrong_answer_is_told_with_its_place(type_: Any, given: Any, expected: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_answer(answer_schema(type_), given)

    assert {problem.pointer: problem.message for problem in caught.value.problems} == expected
    assert str(caught.value) == f"the answer does not fit: {caught.value.problems[0].message}"


def test_a_form_is_described_flat() -> None:
    assert answer_schema(Form) == {
        "title": "Form",
        "type": "object",
        "description": "A form.",
        "properties": {
            "name": {"type": "string", "description": "Who."},
            "age": {"type": "integer", "minimum": 0, "default": 18},
            "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
            "colors": {"type": "array", "items": {"type": "string", "enum": ["red", "green"]}, "default": []},
            "note": {"type": "string"},
            "e_mail": {"type": "string", "pattern": "@"},
        },
        "required": ["name"],
    }


def test_what_may_be_left_out_is_not_required() -> None:
    assert "required" not in answer_schema(Optionally)


@attrs.frozen
class Nested:
    form: Form


@attrs.frozen
class Several:
    value: int | str | None


@attrs.frozen
class Empty:
    pass


@pytest.mark.parametrize(
    "type_",
    [
        bytes,
        Path,
        Any,
        None,
        dict[str, int],
        list[int],
        list[Form],
        tuple[int, str],
        int | None,
        int | str,
        Nested,
        Several,
        Empty,
    ],
    ids=str,
)
def test_a_type_that_is_too_much_for_an_answer_is_told(type_: Any) -> None:
    with pytest.raises(
        TypeError, match=r"an answer is a str, int, float, bool, .* or a flat class of those; ask several questions"
    ):
        answer_schema(type_)


@pytest.mark.parametrize(
    "type_",
    [
        Annotated[str, at.Predicate(str.islower)],
        Annotated[Color, at.Predicate(bool)],
        Annotated[date, at.Ge(date(2026, 1, 1))],
        Annotated[Decimal, at.Ge(1)],
        Annotated[datetime, msgspec.Meta(tz=True)],
    ],
    ids=["predicate of text", "predicate of an enum", "date", "decimal", "time zone"],
)
def test_a_constraint_that_the_schema_can_not_say_is_told(type_: Any) -> None:
    with pytest.raises(TypeError, match="JSON Schema can't say all of these constraints; check the answer in the step"):
        answer_schema(type_)


def test_a_type_that_json_has_no_word_for_is_told() -> None:
    with pytest.raises(TypeError, match=r"run.ask\(…, complex\): complex can't be written in JSON"):
        answer_schema(complex)


def test_what_only_the_class_can_refuse_is_told_by_it() -> None:
    assert check_answer(answer_schema(Even), {"number": 3}) == {"number": 3}

    with pytest.raises(InvalidArgumentError, match="it must be even"):
        to_python(Even, {"number": 3}, Codecs())
