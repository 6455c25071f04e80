"""Text of a caller that has nothing but text."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any, Literal

import pytest

from tests.signature_types import Cat, Color, Dog, Level, Pair, Person, Stop, numbered, problems_of, signature_of

LENIENT: list[tuple[Any, str, Any]] = [
    (int, "3", 3),
    (int, " 3 ", 3),
    (float, "1.5", 1.5),
    (float, "1e3", 1000.0),
    (bool, "yes", True),
    (bool, "Off", False),
    (str, "3", "3"),
    (None, "null", None),
    (date, "2026-11-23", date(2026, 11, 23)),
    (datetime, "2026-11-23", datetime(2026, 11, 23)),  # noqa: DTZ001 - as it was written
    (datetime, "2026-11-23 14:30", datetime(2026, 11, 23, 14, 30)),  # noqa: DTZ001 - as it was written
    (time, "14:30", time(14, 30)),
    (timedelta, "90", timedelta(seconds=90)),
    (Level, "2", Level.HIGH),
    (Color, " red ", Color.RED),
    (Literal[1, True, None], "yes", True),  # noqa: PYI061 - null is a literal too
    (Literal[1, True, None], "null", None),  # noqa: PYI061 - null is a literal too
    (int | str, "3", 3),
    (int | str, "x", "x"),
    (str | None, "null", "null"),
    (int | None, "null", None),
    (int | bool, "true", True),
    (list[int], "[1, 2]", [1, 2]),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (dict[int, bool], '{"1": "yes"}', {1: True}),
    (Stop, '{"city": "a"}', Stop("a")),
    (Stop | None, '{"city": "a"}', Stop("a")),
    (Pair, '[1, "x"]', Pair(1, "x")),
    (Cat | Dog, '{"type": "Cat", "lives": 1}', Cat(1)),
    (Person, '{"name": "Ann"}', Person(name="Ann")),
    (tuple[int, str], '["1", "a"]', (1, "a")),
]


@pytest.mark.parametrize(("hint", "text", "expected"), LENIENT, ids=numbered(LENIENT))
def test_text_is_good_enough_for_a_lenient_caller(hint: Any, text: str, expected: Any) -> None:
    assert signature_of(hint).check({"it": text}, lenient=True)["it"] == expected


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (int, "x", "expected an integer, got 'x'"),
        (int, "9" * 5000, "expected an integer, got '"),
        (bool, "maybe", "expected true or false, got 'maybe'"),
        (float, "nan", "expected a number, got 'nan'"),
        (date, "soon", "expected a date like '2026-11-23', got 'soon'"),
        (list[int], "[1, 2", "expected a list, got '[1, 2'"),
        (list[int], "3", "expected a list, got '3'"),
        (Level, "9", "expected one of 1, 2, got '9'"),
        (int | bool, "x", "expected true or false or an integer, got 'x'"),
    ],
)
def test_not_every_text_is(hint: Any, text: str, expected: str) -> None:
    assert problems_of(hint, text, lenient=True)[0][1].startswith(expected)
