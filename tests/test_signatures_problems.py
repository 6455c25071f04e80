"""Every kind of hint: what it says to what does not fit."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import annotated_types as at
import msgspec
import pytest

from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from tests.signature_types import (
    JSON,
    Bounded,
    Box,
    Careful,
    Cat,
    Color,
    Converted,
    Dog,
    Family,
    Forgiving,
    Level,
    Pair,
    Person,
    Point,
    Row,
    Stop,
    Tree,
    Weighted,
    Where,
    numbered,
    problems_of,
    signature_of,
)

BAD: list[tuple[Any, Any, list[tuple[str, str]]]] = [
    (str, 3, [("/it", "expected a string, got 3")]),
    (int, "x", [("/it", "expected an integer, got 'x'")]),
    (int, "3", [("/it", "expected an integer, got '3'")]),
    (int, 2.5, [("/it", "expected an integer, got 2.5")]),
    (int, True, [("/it", "expected an integer, got true")]),
    (int, None, [("/it", "expected an integer, got null")]),
    (float, float("nan"), [("/it", "expected a number, got nan")]),
    (float, float("-inf"), [("/it", "expected a number, got -inf")]),
    (float, 10**400, [("/it", f"expected a number, got 1{'0' * 27}...{'0' * 29}")]),
    (bool, 1, [("/it", "expected true or false, got 1")]),
    (bytes, "?", [("/it", "expected base64 text, got '?'")]),
    (date, "tomorrow", [("/it", "expected a date like '2026-11-23', got 'tomorrow'")]),
    (
        date,
        datetime(2026, 1, 1, tzinfo=UTC),
        [("/it", "expected a date like '2026-11-23', got datetime.datetime(2026, 1, 1...tzinfo=datetime.timezone.utc)")],
    ),
    (datetime, 5, [("/it", "expected a date and time like '2026-11-23T14:30:00Z', got 5")]),
    (UUID, "x", [("/it", "expected a UUID, got 'x'")]),
    (Decimal, "NaN", [("/it", "expected a decimal number, got 'NaN'")]),
    (Path, 3, [("/it", "expected a path, got 3")]),
    (Path, "a\0b", [("/it", "a path can't have a NUL character in it; got 'a\\x00b'")]),
    (None, 3, [("/it", "expected null, got 3")]),
    (Color, "blue", [("/it", "expected one of 'red', 'green', got 'blue'")]),
    (Color, [], [("/it", "expected one of 'red', 'green', got []")]),
    (Color, Level.LOW, [("/it", "expected one of 'red', 'green', got <Level.LOW: 1>")]),
    (Forgiving, "two", [("/it", "expected 'one', got 'two'")]),
    (Literal[1, "a"], True, [("/it", "expected one of 1, 'a', got true")]),
    (Literal[1, "a"], 1.5, [("/it", "expected one of 1, 'a', got 1.5")]),
    (int | None, "x", [("/it", "expected an integer or null, got 'x'")]),
    (int | str | None, [], [("/it", "expected an integer, a string or null, got []")]),
    (Literal["a"] | int, "b", [("/it", "expected 'a', got 'b'")]),
    (Color | Literal["blue"], "pink", [("/it", "expected one of 'red', 'green' or 'blue', got 'pink'")]),
    (list[int] | None, [1, "x"], [("/it/1", "expected an integer, got 'x'")]),
    (list[int], "ab", [("/it", "expected a list, got 'ab'")]),
    (list[int], b"ab", [("/it", "expected a list, got b'ab'")]),
    (list[int], {"a": 1}, [("/it", "expected a list, got {'a': 1}")]),
    (list[int], ["x", 1, None], [("/it/0", "expected an integer, got 'x'"), ("/it/2", "expected an integer, got null")]),
    (tuple[int, str], [1], [("/it", "expected a list of 2 items, got [1]")]),
    (tuple[int, str], ["a", 1], [("/it/0", "expected an integer, got 'a'"), ("/it/1", "expected a string, got 1")]),
    (dict[str, int], [], [("/it", "expected an object, got []")]),
    (
        dict[str, int],
        {"a/b": "x", "c~d": "y"},
        [("/it/a~1b", "expected an integer, got 'x'"), ("/it/c~0d", "expected an integer, got 'y'")],
    ),
    (dict[int, int], {"x": 1}, [("/it/x", "the key: expected an integer, got 'x'")]),
    (dict[str, int], {1: 1}, [("/it/1", "the key: expected a string, got 1")]),
    (Stop, 3, [("/it", "expected an object with city, nights, got 3")]),
    (Stop, {}, [("/it/city", "missing; expected a string")]),
    (Weighted, {"kilos": -1}, [("/it", "kilos can't be negative")]),
    (Weighted, {"kilos": float("nan")}, [("/it/kilos", "expected a number, got nan")]),
    (Careful, {"howMany": "x"}, [("/it/name", "missing; expected a string"), ("/it/howMany", "expected an integer, got 'x'")]),
    (Careful, {"name": "x", "howMany": 9}, [("/it/howMany", "'size' must be in [1, 2, 3] (got 9)")]),
    (Converted, {"length": "soon"}, [("/it", "invalid literal for int() with base 10: 'soon'")]),
    (Converted, {"length": 3}, [("/it/length", "expected a string, got 3")]),
    (
        Bounded,
        {"count": 0, "names": ["ab", "c"]},
        [
            ("/it/count", "expected an integer >= 1, got 0"),
            ("/it/names/1", "expected a string of at least 2 characters, got 'c'"),
        ],
    ),
    (Tree, {"value": 1, "left": {"value": "x"}}, [("/it/left/value", "expected an integer, got 'x'")]),
    (JSON, {"a": [1, {"b": "x"}]}, [("/it/a/1/b", "expected an integer, a list or an object, got 'x'")]),
    (
        Tree,
        {"value": 1, "children": [3, {}]},
        [
            ("/it/children/0", "expected an object with value, left, children, got 3"),
            ("/it/children/1/value", "missing; expected an integer"),
        ],
    ),
    (tuple[Tree], {}, [("/it", "expected a list of 1 item, got {}")]),
    (int | str, b"x", [("/it", "expected an integer or a string, got b'x'")]),
    (int | Stop, Point(1), [("/it", "expected an integer or an object with city, nights, got Point(x=1, y=0)")]),
    (Where, {"city": "a", "street": "too long"}, [("/it/street", "expected a string of at most 5 characters, got 'too long'")]),
    (Pair, [1, "x", 3], [("/it", "expected a list of first, second, got [1, 'x', 3]")]),
    (Pair, ["x", 1], [("/it/first", "expected an integer, got 'x'"), ("/it/second", "expected a string, got 1")]),
    (
        Row,
        {"firstNam": "a"},
        [("/it/firstName", "missing; expected a string"), ("/it/firstNam", "unknown name; did you mean 'firstName'?")],
    ),
    (Cat, {"type": "Dog", "lives": 1}, [("/it/type", "expected 'Cat', got 'Dog'")]),
    (Cat | Dog, {"type": "Cow"}, [("/it/type", "expected one of 'Cat', 'Dog', got 'Cow'")]),
    (Cat | Dog, {"name": "a"}, [("/it/type", "missing; expected one of 'Cat', 'Dog'")]),
    (Cat | Dog, {"type": []}, [("/it/type", "expected one of 'Cat', 'Dog', got []")]),
    (Cat | Dog, 3, [("/it", "expected an object whose 'type' is 'Cat' or 'Dog', got 3")]),
    (Cat | Dog, {"type": "Cat", "lives": "x"}, [("/it/lives", "expected an integer, got 'x'")]),
    (Box[int], {"content": "x"}, [("/it/content", "expected an integer, got 'x'")]),
    (
        Person,
        {"name": "x", "years": "y"},
        [
            ("/it/name", "string should have at least 2 characters, got 'x'"),
            ("/it/years", "input should be a valid integer, unable to parse string as an integer, got 'y'"),
        ],
    ),
    (Family, {"members": [{}]}, [("/it/members/0/name", "field required")]),
    (Family, 3, [("/it", "expected an object with members, got 3")]),
    (Annotated[int, at.Ge(1), at.Le(100)], 500, [("/it", "expected an integer between 1 and 100, got 500")]),
    (Annotated[int, at.Le(100)], 500, [("/it", "expected an integer <= 100, got 500")]),
    (Annotated[int, at.Gt(1), at.Lt(5)], 5, [("/it", "expected an integer > 1 and < 5, got 5")]),
    (Annotated[int, at.MultipleOf(5)], 6, [("/it", "expected an integer that is a multiple of 5, got 6")]),
    (Annotated[int, at.Ge(2**70)], 1, [("/it", f"expected an integer >= {2**70}, got 1")]),
    (Annotated[int, at.Ge(0.5)], 0, [("/it", "expected an integer >= 0.5, got 0")]),
    (Annotated[float, at.Ge(1)], float("nan"), [("/it", "expected a number >= 1, got nan")]),
    (Annotated[float, at.Ge(1)], float("inf"), [("/it", "expected a number >= 1, got inf")]),
    (Annotated[float, at.Ge(1), at.Gt(1)], 1.0, [("/it", "expected a number >= 1 and > 1, got 1.0")]),
    (Annotated[float, at.MultipleOf(0.1)], 0.35, [("/it", "expected a number that is a multiple of 0.1, got 0.35")]),
    (Annotated[str, at.Len(2, 2)], "abc", [("/it", "expected a string of 2 characters, got 'abc'")]),
    (Annotated[str, at.Len(1, 2)], "abc", [("/it", "expected a string of 1 to 2 characters, got 'abc'")]),
    (Annotated[str, msgspec.Meta(pattern="^a+$")], "b", [("/it", "expected a string matching '^a+$', got 'b'")]),
    (Annotated[str, at.Predicate(str.islower)], "ABC", [("/it", "expected a string for which islower() holds, got 'ABC'")]),
    (
        Annotated[Color, at.Predicate(lambda color: color is Color.RED)],
        "green",
        [
            ("/it", "expected one of 'red', 'green' for which a condition of the workflow holds, got 'green'"),
        ],
    ),
    (
        Annotated[str, at.Predicate(lambda text: int(text) > 0)],
        "x",
        [("/it", "expected a string for which a condition of the workflow holds, got 'x'")],
    ),
    (Annotated[bytes, at.MinLen(3)], "aGk=", [("/it", "expected base64 text of at least 3 bytes, got 'aGk='")]),
    (Annotated[list[int], at.MinLen(1)], [], [("/it", "expected a list of at least 1 item, got []")]),
    (Annotated[set[int], at.MinLen(2)], [1, 1], [("/it", "expected a list of at least 2 items, got [1, 1]")]),
    (
        Annotated[dict[str, int], at.MaxLen(1)],
        {"a": 1, "b": 2},
        [("/it", "expected an object of at most 1 entry, got {'a': 1, 'b': 2}")],
    ),
    (Annotated[dict[int, int], at.MinLen(2)], {}, [("/it", "expected an object of at least 2 entries, got {}")]),
    (Annotated[Path, at.Predicate(lambda path: path.suffix == ".csv")], "a.txt", [("/it", "expected a path, got 'a.txt'")]),
    (
        Annotated[datetime, msgspec.Meta(tz=True)],
        "2026-01-02T00:00:00",
        [
            ("/it", "expected a date and time like '2026-11-23T14:30:00Z' with a time zone, got '2026-01-02T00:00:00'"),
        ],
    ),
    (
        Annotated[datetime, at.Timezone(None)],
        "2026-01-02T00:00:00Z",
        [
            ("/it", "expected a date and time like '2026-11-23T14:30:00Z' without a time zone, got '2026-01-02T00:00:00Z'"),
        ],
    ),
    (
        Annotated[datetime, at.Ge(datetime(2026, 1, 1, tzinfo=UTC))],
        "2026-01-02T00:00:00",
        [
            (
                "/it",
                "expected a date and time like '2026-11-23T14:30:00Z' >= 2026-01-01 00:00:00+00:00, got '2026-01-02T00:00:00'",
            ),
        ],
    ),
    (Annotated[int | None, at.Ge(1)], 0, [("/it", "expected an integer >= 1, got 0")]),
    (
        Annotated[Annotated[int, at.Ge(1), at.Le(9)], at.Ge(2), at.Le(12)],
        1,
        [("/it", "expected an integer between 2 and 9, got 1")],
    ),
    (list[Annotated[int, at.Ge(1)]], [1, 0], [("/it/1", "expected an integer >= 1, got 0")]),
]


@pytest.mark.parametrize(("hint", "value", "expected"), BAD, ids=numbered(BAD))
def test_a_value_that_does_not_fit_is_told_with_its_place(hint: Any, value: Any, expected: list[tuple[str, str]]) -> None:
    problems = [(pointer, message[:160]) for pointer, message in problems_of(hint, value)]

    assert problems == expected


def test_a_message_shows_at_most_sixty_characters_of_a_value() -> None:
    [(_, message)] = problems_of(int, "x" * 10_000)

    assert len(message.removeprefix("expected an integer, got ")) <= 60


def test_a_number_of_too_many_digits_is_still_told() -> None:
    assert problems_of(str, 10**5000) == [("/it", "expected a string, got a very large number")]


def test_a_choice_of_many_shows_the_first_ten() -> None:
    many = enum.Enum("many", {f"m{i}": i for i in range(12)})  # type: ignore[misc]

    assert problems_of(many, 99)[0][1] == "expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 or 2 others, got 99"


def test_a_problem_is_a_value() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        signature_of(int).check({"it": "x"})

    assert caught.value.problems == (ArgumentProblem("/it", "expected an integer, got 'x'"),)
