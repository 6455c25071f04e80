"""Types of every kind, and what tests of signatures share."""

from __future__ import annotations

import enum
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Generic, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from nexus.exceptions import InvalidArgumentError
from nexus.workflows.codecs import Codecs
from nexus.workflows.signatures import Parameter, Signature

T = TypeVar("T")
Item = TypeVar("Item")


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
    name: str = attrs.field(converter=str.strip)  # type: ignore[misc]  # a method of a builtin type says nothing of its types
    size: int = attrs.field(default=1, validator=attrs.validators.in_([1, 2, 3]), alias="howMany")
    _hidden: list[str] = attrs.field(factory=list)
    made: int = attrs.field(init=False, default=7)


def _minutes(text: str) -> timedelta:
    return timedelta(minutes=int(text.removesuffix(" min")))


@attrs.define
class Converted:
    length: timedelta = attrs.field(converter=_minutes)
    twice: int = attrs.field(default=attrs.Factory(lambda self: 2 * int(self.length.total_seconds()), takes_self=True))


def _doubled(number: Nowhere) -> int:  # type: ignore[name-defined]  # noqa: F821 - a hint that nobody can find
    return 2 * int(number)


@attrs.frozen
class Unsaid:
    size: int = attrs.field(converter=_doubled)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unsaid)

    def __hash__(self) -> int:
        return 0


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


class Link(NamedTuple):
    value: int
    rest: Link | None = None


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


class TypeAliasType:
    """What the statement `type Json = dict[str, Json] | int` of a later Python makes."""

    def __init__(self, name: str, value: Any = None) -> None:
        self.__name__ = name
        self.__value__ = value

    def __getitem__(self, arguments: Any) -> types.GenericAlias:
        return types.GenericAlias(self, arguments)  # type: ignore[arg-type]

    def __call__(self) -> None:
        """Typing takes only what can be called for a type."""


JSON: Any = TypeAliasType("Json")
JSON.__value__ = dict[str, JSON] | list[JSON] | int
Listed: Any = TypeAliasType("Listed", list[Item])  # type: ignore[valid-type]
Alias: Any = TypeAliasType("Alias", list[int])
UserId = NewType("UserId", int)
UUID_TEXT = "6f1b1d2e-0000-4000-8000-000000000000"


def numbered(cases: Sequence[tuple[Any, ...]]) -> list[str]:
    return [f"{i}" for i in range(len(cases))]


def signature_of(hint: Any, codecs: Codecs | None = None) -> Signature:
    return Signature("test", [Parameter(name="it", hint=hint)], codecs=codecs or Codecs(), place="here:test")


def problems_of(hint: Any, value: Any, *, lenient: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(InvalidArgumentError) as caught:
        signature_of(hint).check({"it": value}, lenient=lenient)
    return [(problem.pointer, problem.message) for problem in caught.value.problems]
