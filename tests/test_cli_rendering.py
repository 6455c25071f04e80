"""Results and errors, as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from nexus.exceptions import CODES, ArgumentProblem, InvalidArgumentError, NotFoundError
from nexus.models import MISSING
from nexus_click._interaction import log_line, prompt_text, read_answer
from nexus_click._parsing import Invocation
from nexus_click._rendering import EXIT_STATUS, as_text, clean, error_lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        ("two\nlines", "two\nlines"),
        ([], "(empty)"),
        ({}, "(empty)"),
        ([1, "a", None, [2]], "1\na\n-\n[2]"),
        ([{"a": 1}, {}], '{"a": 1}\n-'),
    ],
)
def test_a_scalar_is_a_line_and_a_list_is_a_line_each(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_keys_are_aligned() -> None:
    assert as_text({"rows": 1461, "wettest": "2015-03-15", "note": None}).splitlines() == [
        "rows:    1461",
        "wettest: 2015-03-15",
        "note:    -",
    ]


def test_what_is_nested_is_indented() -> None:
    assert as_text({"a": {"b": 1}, "rows": [1, 2], "none": []}).splitlines() == ["a:", "  b: 1", "rows:", "  1", "  2", "none: -"]


def test_further_lines_of_a_value_stand_below_the_first() -> None:
    assert as_text({"key": "one\ntwo"}).splitlines() == ["key: one", "     two"]


def test_records_are_a_table_with_numbers_to_the_right() -> None:
    assert as_text([{"code": "ATL", "n": 414_513}, {"code": "ORD", "n": 7, "note": "a\nb"}]).splitlines() == [
        "code       n  note",
        "ATL   414513  -",
        "ORD        7  a b",
    ]


def test_wide_and_combining_characters_take_the_columns_they_take() -> None:
    assert as_text([{"a": "東京", "b": 1}, {"a": "e\u0301t", "b": 2}]).splitlines() == ["a     b", "東京  1", "e\u0301t    2"]


def test_what_a_terminal_would_obey_is_left_out() -> None:
    assert clean("a\x1b[31mb\x9b\u202ec\td\ne\r") == "a[31mbc\td\ne"
    assert as_text({"k\x1b": "v\x07"}) == "k: v"


def test_each_wrong_argument_has_a_line_with_its_name_on_the_command_line() -> None:
    error = InvalidArgumentError(
        "2 arguments are wrong", [ArgumentProblem("/limit/0", "expected an integer"), ArgumentProblem("", "odd")]
    )
    assert error_lines(error, Invocation(operation="x", spellings={"limit": "--limit"})) == [
        "Error: the arguments of 'x' don't fit:",
        "  --limit (/limit/0): expected an integer",
        "  odd",
    ]


def test_another_error_is_one_line() -> None:
    assert error_lines(NotFoundError("there is no \x1bx"), Invocation(operation="x")) == ["Error: there is no x"]


def test_every_error_code_has_an_exit_status() -> None:
    assert set(EXIT_STATUS) == CODES


def test_a_log_line_has_level_message_and_fields() -> None:
    data = {"level": "info", "message": "read\nall", "fields": {"rows": 3, "file": "a.csv"}, "step": "read"}
    assert log_line(data) == "info: read all  rows=3  file=a.csv"


@pytest.mark.parametrize(
    ("schema", "default", "shown"),
    [
        ({"type": "boolean"}, MISSING, "Sure? [y/n] "),
        ({"type": "boolean"}, True, "Sure? [Y/n] "),
        ({"type": "boolean"}, False, "Sure? [y/N] "),
        ({"enum": ["red", 2]}, MISSING, "Sure? (red, 2): "),
        ({"enum": ["red", "green"]}, "red", "Sure? (red, green) [red]: "),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, ["a"], "Sure? (a, b, separated by commas) [a]: "),
        ({"type": "integer"}, 3, "Sure? [3]: "),
    ],
)
def test_a_prompt_shows_choices_and_default(schema: dict[str, Any], default: Any, shown: str) -> None:
    assert prompt_text("Sure?", schema, default) == shown


@pytest.mark.parametrize(
    ("schema", "line", "answer"),
    [
        ({"type": "boolean"}, " Yes ", True),
        ({"type": "boolean"}, "n", False),
        ({"type": "boolean"}, "maybe", "maybe"),
        ({"type": "array"}, "a, b,", ["a", "b"]),
        ({"type": "integer"}, "3", "3"),
    ],
)
def test_a_line_is_read_as_the_answer_it_stands_for(schema: dict[str, Any], line: str, answer: Any) -> None:
    assert read_answer(schema, line) == answer
