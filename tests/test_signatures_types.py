"""Every kind of hint: what it takes, and what it makes of it."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
from jsonschema import Draft202012Validator

from nexus.workflows.codecs import Codecs
from tests.signature_types import (
    JSON,
    UUID_TEXT,
    Alias,
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
    Link,
    Listed,
    Pair,
    Person,
    Point,
    Ratio,
    Row,
    Stop,
    T,
    Tree,
    Unsaid,
    UserId,
    Weighted,
    Where,
    numbered,
    signature_of,
)

GOOD: list[tuple[Any, Any, Any]] = [
    (str, "x", "x"),
    (int, 3, 3),
    (int, 2980.0, 2980),
    (int, 10**40, 10**40),
    (int, Level.HIGH, 2),
    (float, 3, 3.0),
    (float, 3.5, 3.5),
    (bool, True, True),
    (bytes, "aGk=", b"hi"),
    (bytes, b"hi", b"hi"),
    (date, "2026-11-23", date(2026, 11, 23)),
    (time, "14:30:00", time(14, 30)),
    (datetime, "2026-11-23T14:30:00Z", datetime(2026, 11, 23, 14, 30, tzinfo=UTC)),
    (datetime, "2026-11-23T14:30:00", datetime(2026, 11, 23, 14, 30)),  # noqa: DTZ001 - both kinds are taken
    (timedelta, "PT90M", timedelta(minutes=90)),
    (timedelta, timedelta(1), timedelta(1)),
    (UUID, UUID_TEXT, UUID(UUID_TEXT)),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, 3, Decimal(3)),
    (Decimal, 1.5, Decimal("1.5")),
    (Path, "a/b", Path("a/b")),
    (Path, Path("a/b"), Path("a/b")),
    (None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, 3, 3),
    (Color, "red", Color.RED),
    (Color, Color.RED, Color.RED),
    (Level, 2, Level.HIGH),
    (Level, 2.0, Level.HIGH),
    (Ratio, 0.5, Ratio.HALF),
    (Ratio, None, Ratio.NONE),
    (Forgiving, "ONE", Forgiving.ONE),
    (Literal["a", 1, True, None], 1, 1),  # noqa: PYI061 - null is a literal too
    (Literal["a", 1, True, None], True, True),  # noqa: PYI061 - null is a literal too
    (Literal["a", 1, True, None], None, None),  # noqa: PYI061 - null is a literal too
    (Literal[Color.RED], "red", Color.RED),
    (Literal[Color.RED], Color.RED, Color.RED),
    (int | None, None, None),
    (int | None, 3.0, 3),
    (typing.Optional[str], "x", "x"),  # noqa: UP045 - the old spelling counts too
    (int | str, 3, 3),
    (int | str, "3", "3"),
    (int | float, 3, 3),
    (int | float, 3.0, 3.0),
    (Literal["auto"] | int, "auto", "auto"),
    (Literal["auto"] | int, 3.0, 3),
    (Literal["a"] | str, "b", "b"),  # noqa: PYI051 - it is redundant, and good
    (Color | Literal["blue"], "blue", "blue"),
    (Color | Literal["blue"], "green", Color.GREEN),
    (datetime | int, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    (Path | None, "a", Path("a")),
    (Path | int, Path("a"), Path("a")),
    (Any | None, 3, 3),
    (list, [1, "a"], [1, "a"]),
    (list[int], [1, 2.0], [1, 2]),
    (list[int], (1, 2), [1, 2]),
    (Sequence[int], [1], [1]),
    (list[Path], ["a"], [Path("a")]),
    (set[int], [1, 1], {1}),
    (AbstractSet[str], ["a"], {"a"}),
    (frozenset[int], {1}, frozenset({1})),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple, [1, "a"], (1, "a")),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (set[tuple[int, str]], [[1, "a"]], {(1, "a")}),
    (dict, {"a": 1}, {"a": 1}),
    (dict[str, int], {"a": 1.0}, {"a": 1}),
    (Mapping[Any, int], {"a": 1}, {"a": 1}),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (dict[int, str], {1: "a"}, {1: "a"}),
    (dict[Color, int], {"red": 1}, {Color.RED: 1}),
    (dict[date, int], {"2026-11-23": 1}, {date(2026, 11, 23): 1}),
    (Stop, {"city": "Bern", "nights": 2.0}, Stop("Bern", 2)),
    (Stop, Stop("Bern"), Stop("Bern")),
    (Stop, {"city": "Bern", "more": 1}, Stop("Bern")),
    (Stop | int | None, {"city": "Bern"}, Stop("Bern")),
    (list[Stop], [Stop("a"), {"city": "b"}], [Stop("a"), Stop("b")]),
    (Weighted, {"kilos": 2}, Weighted(2.0)),
    (Point, {"x": 1}, Point(1)),
    (Careful, {"name": " x ", "howMany": 2}, Careful("x", howMany=2)),
    (Careful, {"name": "x", "hidden": ["a"]}, Careful("x", hidden=["a"])),
    (Converted, {"length": "3 min"}, Converted("3 min")),
    (Bounded, {"count": 1, "names": ["ab"]}, Bounded(1, ["ab"])),
    (Tree, {"value": 1, "left": {"value": 2}, "children": [{"value": 3}]}, Tree(1, Tree(2), [Tree(3)])),
    (Where, {"city": "a", "street": "b"}, {"city": "a", "street": "b"}),
    (Where, {"city": "a"}, {"city": "a"}),
    (Pair, [1, "x"], Pair(1, "x")),
    (Pair, [1], Pair(1)),
    (Pair, {"first": 1}, Pair(1)),
    (Pair, Pair(1), Pair(1)),
    (Row, {"firstName": "a", "shoeSize": 40}, Row("a", 40.0)),
    (Cat, {"type": "Cat", "lives": 9}, Cat(9)),
    (Cat | Dog, {"type": "Dog", "name": "a"}, Dog("a")),
    (Cat | Dog | None, Cat(9), Cat(9)),
    (Cat | Dog | None, None, None),
    (Box[int], {"content": 1, "spare": [2]}, Box(1, [2])),
    (Box, {"content": "a"}, Box("a")),
    (Person, {"name": "Ann", "years": 4}, Person(name="Ann", years=4)),
    (Person | None, None, None),
    (Family, {"members": [{"name": "Ann"}]}, Family(members=[Person(name="Ann")])),
    (Family, Family(members=[]), Family(members=[])),
    (UserId, 3, 3),
    (Alias, [1], [1]),
    (Annotated[int, pydantic.Field(gt=0)], 1, 1),
    (Annotated[int | Color, msgspec.Meta(description="Which.")] | Stop | None, Color.RED, Color.RED),
    (Unsaid, {"size": 3}, Unsaid(3)),
    (Listed[int], [1.0], [1]),
    (Link, [1, [2]], Link(1, Link(2))),
    (JSON, {"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2}]}),
    (list[JSON], [{"a": 1}, 3], [{"a": 1}, 3]),
    (Annotated[Stop, msgspec.Meta(description="Where.")] | int, Stop("a"), Stop("a")),
    (Annotated[Stop, msgspec.Meta(description="Where.")] | int, {"city": "a"}, Stop("a")),
    (datetime | Annotated[Cat | Dog, msgspec.Meta(description="Which.")] | None, Cat(9), Cat(9)),
    (list[int | Color | None] | bool, [Color.RED], [Color.RED]),
    (T, "anything", "anything"),
    (Annotated[int, at.Interval(ge=1, lt=5)], 4, 4),
    (Annotated[int, msgspec.Meta(ge=1)], 1.0, 1),
    (Annotated[int, pydantic.Field(ge=1, description="How many.")], 1, 1),
    (Annotated[int | None, at.Ge(1)], None, None),
    (Annotated[int, at.Ge(2**70)], 2**70, 2**70),
    (Annotated[float, at.MultipleOf(0.5)], 1.5, 1.5),
    (Annotated[float, at.Gt(0), at.Le(1)], 1, 1.0),
    (Annotated[Decimal, at.Ge(Decimal("0.5"))], "0.5", Decimal("0.5")),
    (Annotated[date, at.Gt(date(2026, 1, 1))], "2026-01-02", date(2026, 1, 2)),
    (Annotated[datetime, msgspec.Meta(tz=True)], "2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
    (Annotated[datetime, at.Timezone(None)], "2026-01-02T00:00:00", datetime(2026, 1, 2)),  # noqa: DTZ001 - asked for
    (Annotated[str, at.Predicate(str.islower)], "abc", "abc"),
    (Annotated[Color, at.Predicate(lambda color: color is Color.RED)], "red", Color.RED),
    (Annotated[list[int], at.Len(1, 2)], [1], [1]),
    (Annotated[set[int], at.MaxLen(1)], [1, 1], {1}),
    (Annotated[dict[str, int], at.MinLen(1)], {"a": 1}, {"a": 1}),
    (Annotated[Path, at.Predicate(lambda path: path.suffix == ".csv")], "a.csv", Path("a.csv")),
    (Annotated[Annotated[int, at.Ge(1)], at.Le(5)], 5, 5),
    (Annotated[int, "a note"], 5, 5),
]


@pytest.mark.parametrize(("hint", "value", "expected"), GOOD, ids=numbered(GOOD))
def test_a_value_that_fits_becomes_a_python_value(hint: Any, value: Any, expected: Any) -> None:
    taken = signature_of(hint).check({"it": value})["it"]

    assert (taken, type(taken)) == (expected, type(expected))


@pytest.mark.parametrize(("hint", "value", "expected"), GOOD, ids=numbered(GOOD))
def test_the_slow_way_makes_the_same_of_it(hint: Any, value: Any, expected: Any) -> None:
    taken = signature_of(hint).check({"it": value}, lenient=True)["it"]

    if hint == (int | str):
        expected = int(value)  # text of a lenient caller is a number first
    assert (taken, type(taken)) == (expected, type(expected))


SYMMETRIC = [case for case in GOOD if case[0] is not Converted]


@pytest.mark.parametrize(("hint", "value", "expected"), SYMMETRIC, ids=numbered(SYMMETRIC))
def test_what_it_makes_can_be_written_and_read_again(hint: Any, value: Any, expected: Any) -> None:
    codecs = Codecs()
    signature = signature_of(hint, codecs)
    written = codecs.to_builtins(expected)

    Draft202012Validator.check_schema(signature.schema)
    assert signature.check({"it": written})["it"] == expected


@pytest.mark.parametrize(("hint", "value", "expected"), GOOD, ids=numbered(GOOD))
def test_what_it_makes_fits_the_schema_of_results(hint: Any, value: Any, expected: Any) -> None:
    codecs = Codecs()

    Draft202012Validator(codecs.output_schema(hint)).validate(codecs.to_builtins(expected))


def test_three_tenths_are_a_multiple_of_a_tenth() -> None:
    assert signature_of(Annotated[float, at.MultipleOf(0.1)]).check({"it": 0.3}) == {"it": 0.3}


def test_an_instance_of_a_subclass_is_taken_as_it_is() -> None:
    @attrs.frozen
    class Further(Point):
        z: int = 0

    given = Further(1, 2, 3)

    assert signature_of(Point).check({"it": given})["it"] is given
