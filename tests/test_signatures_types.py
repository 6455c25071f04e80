"""Every kind of hint: what it takes, what it makes of it, what it says to what does not fit, and its JSON Schema."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
import typing_extensions
from jsonschema import Draft202012Validator

from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from nexus.workflows.codecs import Codecs
from nexus.workflows.signatures import Parameter, Signature

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Ratio(enum.Enum):
    HALF = 0.5
    NONE = None


class Forgiving(enum.Enum):
    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> Forgiving | None:
        return cls.ONE if value == "ONE" else None


@dataclass
class Stop:
    city: str
    nights: int = 1


@dataclass
class Weighted:
    kilos: float
    tags: list[str] = field(default_factory=list)
    total: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.kilos < 0:
            raise ValueError("kilos can't be negative")


@attrs.frozen
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Careful:
    name: str = attrs.field(converter=str.strip)
    size: int = attrs.field(default=1, validator=attrs.validators.in_([1, 2, 3]), alias="howMany")
    _hidden: list[str] = attrs.field(factory=list)
    made: int = attrs.field(init=False, default=7)


def _minutes(text: str) -> timedelta:
    return timedelta(minutes=int(text.removesuffix(" min")))


@attrs.define
class Converted:
    length: timedelta = attrs.field(converter=_minutes)
    twice: int = attrs.field(default=attrs.Factory(lambda self: 2 * int(self.length.total_seconds()), takes_self=True))


@attrs.frozen
class Bounded:
    count: Annotated[int, at.Ge(1)]
    names: list[Annotated[str, at.MinLen(2)]] = attrs.field(factory=list)


@attrs.frozen
class Tree:
    """
    A tree.

    Attributes:
        value: What it holds.
    """

    value: int
    left: Tree | None = None
    children: list[Tree] = attrs.field(factory=list)


class Where(TypedDict):
    city: str
    street: NotRequired[Annotated[str, at.MaxLen(5)]]


class Pair(NamedTuple):
    first: int
    second: str = "b"


class Row(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    first_name: str
    shoe_size: float = 42.0
    labels: list[str] = msgspec.field(default_factory=list)


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


@dataclass
class Box(Generic[T]):
    content: T
    spare: list[T] = field(default_factory=list)


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2)
    age: int = pydantic.Field(alias="years", default=3)


class Family(pydantic.BaseModel):
    members: list[Person]


UserId = NewType("UserId", int)
Alias = typing_extensions.TypeAliasType("Alias", list[int])
UUID_TEXT = "6f1b1d2e-0000-4000-8000-000000000000"


def numbered(cases: Sequence[tuple[Any, ...]]) -> list[str]:
    return [f"{i}" for i in range(len(cases))]


def signature_of(hint: Any, codecs: Codecs | None = None) -> Signature:
    return Signature("test", [Parameter(name="it", hint=hint)], codecs=codecs or Codecs(), place="here:test")


def problems_of(hint: Any, value: Any, *, lenient: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(InvalidArgumentError) as caught:
        signature_of(hint).check({"it": value}, lenient=lenient)
    return [(problem.pointer, problem.message) for problem in caught.value.problems]


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
    (Literal["a", 1, True, None], 1, 1),
    (Literal["a", 1, True, None], True, True),
    (Literal["a", 1, True, None], None, None),
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
    (Literal["a"] | str, "b", "b"),
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
    (date, datetime(2026, 1, 1, tzinfo=UTC), [("/it", "expected a date like '2026-11-23', got datetime.datetime(2026, 1, 1...tzinfo=datetime.timezone.utc)")]),
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
    (dict[str, int], {"a/b": "x", "c~d": "y"}, [("/it/a~1b", "expected an integer, got 'x'"), ("/it/c~0d", "expected an integer, got 'y'")]),
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
    (Bounded, {"count": 0, "names": ["ab", "c"]}, [("/it/count", "expected an integer >= 1, got 0"), ("/it/names/1", "expected a string of at least 2 characters, got 'c'")]),
    (Tree, {"value": 1, "left": {"value": "x"}}, [("/it/left/value", "expected an integer, got 'x'")]),
    (Where, {"city": "a", "street": "too long"}, [("/it/street", "expected a string of at most 5 characters, got 'too long'")]),
    (Pair, [1, "x", 3], [("/it", "expected a list of first, second, got [1, 'x', 3]")]),
    (Pair, ["x", 1], [("/it/first", "expected an integer, got 'x'"), ("/it/second", "expected a string, got 1")]),
    (Row, {"firstNam": "a"}, [("/it/firstName", "missing; expected a string"), ("/it/firstNam", "unknown name; did you mean 'firstName'?")]),
    (Cat, {"type": "Dog", "lives": 1}, [("/it/type", "expected 'Cat', got 'Dog'")]),
    (Cat | Dog, {"type": "Cow"}, [("/it/type", "expected one of 'Cat', 'Dog', got 'Cow'")]),
    (Cat | Dog, {"name": "a"}, [("/it/type", "missing; expected one of 'Cat', 'Dog'")]),
    (Cat | Dog, {"type": []}, [("/it/type", "expected one of 'Cat', 'Dog', got []")]),
    (Cat | Dog, 3, [("/it", "expected an object whose 'type' is 'Cat' or 'Dog', got 3")]),
    (Cat | Dog, {"type": "Cat", "lives": "x"}, [("/it/lives", "expected an integer, got 'x'")]),
    (Box[int], {"content": "x"}, [("/it/content", "expected an integer, got 'x'")]),
    (Person, {"name": "x", "years": "y"}, [
        ("/it/name", "string should have at least 2 characters, got 'x'"),
        ("/it/years", "input should be a valid integer, unable to parse string as an integer, got 'y'"),
    ]),
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
    (Annotated[Color, at.Predicate(lambda color: color is Color.RED)], "green", [
        ("/it", "expected one of 'red', 'green' for which a condition of the workflow holds, got 'green'"),
    ]),
    (Annotated[str, at.Predicate(lambda text: int(text) > 0)], "x", [("/it", "expected a string for which a condition of the workflow holds, got 'x'")]),
    (Annotated[bytes, at.MinLen(3)], "aGk=", [("/it", "expected base64 text of at least 3 bytes, got 'aGk='")]),
    (Annotated[list[int], at.MinLen(1)], [], [("/it", "expected a list of at least 1 item, got []")]),
    (Annotated[set[int], at.MinLen(2)], [1, 1], [("/it", "expected a list of at least 2 items, got [1, 1]")]),
    (Annotated[dict[str, int], at.MaxLen(1)], {"a": 1, "b": 2}, [("/it", "expected an object of at most 1 entry, got {'a': 1, 'b': 2}")]),
    (Annotated[dict[int, int], at.MinLen(2)], {}, [("/it", "expected an object of at least 2 entries, got {}")]),
    (Annotated[Path, at.Predicate(lambda path: path.suffix == ".csv")], "a.txt", [("/it", "expected a path, got 'a.txt'")]),
    (Annotated[datetime, msgspec.Meta(tz=True)], "2026-01-02T00:00:00", [
        ("/it", "expected a date and time like '2026-11-23T14:30:00Z' with a time zone, got '2026-01-02T00:00:00'"),
    ]),
    (Annotated[datetime, at.Timezone(None)], "2026-01-02T00:00:00Z", [
        ("/it", "expected a date and time like '2026-11-23T14:30:00Z' without a time zone, got '2026-01-02T00:00:00Z'"),
    ]),
    (Annotated[datetime, at.Ge(datetime(2026, 1, 1, tzinfo=UTC))], "2026-01-02T00:00:00", [
        (
            "/it",
            "expected a date and time like '2026-11-23T14:30:00Z' >= 2026-01-01 00:00:00+00:00, got '2026-01-02T00:00:00'",
        ),
    ]),
    (Annotated[int | None, at.Ge(1)], 0, [("/it", "expected an integer >= 1, got 0")]),
    (list[Annotated[int, at.Ge(1)]], [1, 0], [("/it/1", "expected an integer >= 1, got 0")]),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value", "expected"), BAD, ids=numbered(BAD))
def test_a_value_that_does_not_fit_is_told_with_its_place(hint: Any, value: Any, expected: list[tuple[str, str]]) -> None:
    problems = [(pointer, message[:160]) for pointer, message in problems_of(hint, value)]

    assert problems == expected


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
    (Literal[1, True, None], "yes", True),
    (Literal[1, True, None], "null", None),
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


SCHEMAS: list[tuple[Any, dict[str, Any]]] = [
    (datetime, {"type": "string", "format": "date-time"}),
    (Path, {"type": "string", "format": "path"}),
    (bytes, {"type": "string", "contentEncoding": "base64"}),
    (Color, {"type": "string", "enum": ["red", "green"]}),
    (Literal[1, "a", None], {"type": ["integer", "null", "string"], "enum": [1, "a", None]}),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (tuple[int, str], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2, "maxItems": 2}),
    (dict[int, str], {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"pattern": "^-?[0-9]+$"}}),
    (dict[Color, Any], {"type": "object", "additionalProperties": {}, "propertyNames": {"type": "string", "enum": ["red", "green"]}}),
    (Annotated[int, at.Interval(ge=1, lt=5), at.MultipleOf(2)], {"type": "integer", "minimum": 1, "exclusiveMaximum": 5, "multipleOf": 2}),
    (Annotated[str, msgspec.Meta(min_length=1, pattern="^a", title="A", examples=["a"])], {"type": "string", "minLength": 1, "pattern": "^a", "title": "A", "examples": ["a"]}),
    (Annotated[list[int], at.Len(1, 2)], {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}),
    (Annotated[dict[str, int], at.MinLen(1)], {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}),
    (Annotated[bytes, at.MinLen(1)], {"type": "string", "contentEncoding": "base64"}),
    (Annotated[int, typing_extensions.Doc("How many.")], {"type": "integer", "description": "How many."}),
    (Annotated[int, pydantic.Field(description="How many.")], {"type": "integer", "description": "How many."}),
    (Annotated[int | None, msgspec.Meta(description="How many.")], {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "How many."}),
    (Annotated[Color, msgspec.Meta(description="Which.")], {"type": "string", "enum": ["red", "green"], "description": "Which."}),
]  # fmt: skip


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
    other = attrs.make_class("Stop", {"line": attrs.field(type=int)})

    schema = signature_of(tuple[Stop, other]).schema

    assert set(schema["$defs"]) == {"Stop", "Stop2"}


def test_models_of_pydantic_bring_their_own_definitions() -> None:
    schema = signature_of(Family).schema

    assert set(schema["$defs"]) == {"Family", "Person"}
    assert schema["$defs"]["Family"]["properties"]["members"] == {"items": {"$ref": "#/$defs/Person"}, "title": "Members", "type": "array"}


def test_three_tenths_are_a_multiple_of_a_tenth() -> None:
    assert signature_of(Annotated[float, at.MultipleOf(0.1)]).check({"it": 0.3}) == {"it": 0.3}


def test_what_a_converter_takes_is_what_comes_in_and_what_it_makes_goes_out() -> None:
    codecs = Codecs()

    assert signature_of(Converted, codecs).schema["$defs"]["Converted"]["properties"]["length"] == {"type": "string"}
    assert codecs.output_schema(Converted)["properties"]["length"] == {"type": "string", "format": "duration"}
    assert codecs.to_builtins(Converted("3 min")) == {"length": "PT180S", "twice": 360}


def test_a_message_shows_at_most_sixty_characters_of_a_value() -> None:
    [(_, message)] = problems_of(int, "x" * 10_000)

    assert len(message.removeprefix("expected an integer, got ")) <= 60


def test_a_number_of_too_many_digits_is_still_told() -> None:
    assert problems_of(str, 10**5000) == [("/it", "expected a string, got a very large number")]


def test_a_choice_of_many_shows_the_first_ten() -> None:
    many = enum.Enum("many", {f"m{i}": i for i in range(12)})  # type: ignore[misc]

    assert problems_of(many, 99)[0][1] == "expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 or 2 others, got 99"


def test_an_instance_of_a_subclass_is_taken_as_it_is() -> None:
    @attrs.frozen
    class Further(Point):
        z: int = 0

    given = Further(1, 2, 3)

    assert signature_of(Point).check({"it": given})["it"] is given


def test_a_problem_is_a_value() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        signature_of(int).check({"it": "x"})

    assert caught.value.problems == (ArgumentProblem("/it", "expected an integer, got 'x'"),)
