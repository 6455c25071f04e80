"""Hints that can't be: each an error at registration, which names the place and says what to do."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from nexus.exceptions import RegistrationError
from nexus.workflows.codecs import Codecs
from nexus.workflows.signatures import Parameter, Signature, parameters_of, returns_of

if TYPE_CHECKING:
    from fractions import Fraction


@attrs.frozen
class A:
    x: int


@attrs.frozen
class B:
    y: int


@attrs.frozen
class Late:
    x: Fraction


@attrs.define(init=False)
class OwnInit:
    x: int

    def __init__(self, both: int) -> None:
        self.__attrs_init__(both)


@dataclass
class WithVariable:
    x: int
    y: InitVar[int]


@dataclass(init=False)
class WithoutInit:
    x: int


class InLine(msgspec.Struct, array_like=True):
    x: int


class Odd(enum.Enum):
    PAIR = (1, 2)


class Nobody(enum.Enum):
    pass


class LooksAtFiles(pydantic.BaseModel):
    file: list[pydantic.FilePath]


BAD: list[tuple[Any, str]] = [
    (
        complex,
        (
            "complex can't be written in JSON; use a type that can (a dataclass, attrs class, TypedDict, dict, list, str, …), or "
            "teach it: app.codec(complex, encode=…, decode=…, schema=…)"
        ),
    ),
    (list[complex], "complex can't be written in JSON"),
    (Callable[[], int], "can't be written in JSON"),
    ([int], "[<class 'int'>] can't be written in JSON"),
    (
        A | B,
        (
            "A | B: JSON can't tell these apart; use one of them, msgspec.Struct classes with tag=True, or teach a type of your "
            "own with app.codec(…)"
        ),
    ),
    (A | dict[str, int], "JSON can't tell these apart"),
    (str | Path, "JSON can't tell these apart"),
    (str | date, "JSON can't tell these apart"),
    (Decimal | int, "JSON can't tell these apart"),
    (list[int] | set[int], "JSON can't tell these apart"),
    (Literal["PAIR", "b"] | Path, "JSON can't tell these apart"),
    (set[list[int]], "list[int] can't be in a set; use list[list[int]]"),
    (set[dict[str, int]], "can't be in a set"),
    (dict[A, int], "the keys of a JSON object are text; use a list of pairs"),
    (dict[bool, int], "the keys of a JSON object are text"),
    (Odd, "Odd has the value (1, 2), which JSON can't write; use strings or integers, or teach it with app.codec(…)"),
    (Literal[b"x"], "has the value b'x', which JSON can't write"),
    (Nobody, "Nobody has no members"),
    (OwnInit, "OwnInit has an __init__ of its own; teach it with app.codec(…)"),
    (WithVariable, "WithVariable has an InitVar or an __init__ of its own; teach it with app.codec(…)"),
    (WithoutInit, "WithoutInit has an InitVar or an __init__ of its own"),
    (InLine, "InLine is array_like; take a NamedTuple, or a Struct without it"),
    (
        Late,
        (
            "a field of Late names 'Fraction', which can't be found at run time; import it outside of `if TYPE_CHECKING`, or "
            "move it to module level"
        ),
    ),
    (
        LooksAtFiles,
        (
            "LooksAtFiles has a FilePath or DirectoryPath, which looks at the file system before the path is known to be "
            "below files_root; use pathlib.Path"
        ),
    ),
    (Annotated[int, at.MinLen(3)], "min_length says nothing about int; take it out, or use Predicate(function)"),
    (Annotated[str, at.Ge(3)], "ge says nothing about str"),
    (Annotated[int | str, at.Ge(3)], "ge says nothing about str"),
    (Annotated[A, at.Ge(3)], "ge says nothing about an object with x"),
    (Annotated[Path, at.MinLen(3)], "min_length says nothing about Path"),
    (Annotated[list[int], msgspec.Meta(pattern="x")], "pattern says nothing about list"),
    (Annotated[Annotated[int, at.MultipleOf(2)], at.MultipleOf(3)], "multiple_of is said twice: 2 and 3; say it once"),
    (Annotated[int, at.Unit("km")], "is not a constraint that can be checked; use Predicate(function)"),
    (Annotated[Any, at.Timezone("CET")], "Timezone('CET') can't be checked; use Timezone(...) for any, None for none"),
]


@pytest.mark.parametrize(("hint", "said"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_an_unsupported_hint_is_told_with_its_place_and_the_way_out(hint: Any, said: str) -> None:
    parameter = Parameter(name="it", hint=hint, place="shop.flows:order")

    with pytest.raises(RegistrationError, match=re.escape(said)) as caught:
        Signature("order", [parameter], codecs=Codecs(), place="elsewhere")

    assert str(caught.value).startswith("shop.flows:order: parameter 'it': ")


def _star(*args: int) -> None: ...
def _stars(**options: int) -> None: ...
def _positional(a: int, /) -> None: ...
def _bare(a) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - what is tested
def _late(a: list[Fraction]) -> Fraction: ...  # type: ignore[empty-body]
def _wrong(a: at.Missing) -> None: ...  # type: ignore[name-defined]
def _syntax(a: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_star, "here: *args: 'int' can't be an input: name each parameter, or take one dict"),
        (_stars, "here: **options: 'int' can't be an input"),
        (_positional, "here: 'a' is positional-only, but inputs are given by name: remove the /"),
        (_bare, "here: parameter 'a' has no type: give it one, like `a: str`"),
        (
            _late,
            "here: parameter 'a': its type names 'Fraction', which can't be found at run time; import it outside of `if TYPE",
        ),
        (_wrong, "here: parameter 'a': 'at.Missing' is not a type: module 'annotated_types' has no attribute 'Missing'"),
    ],
)
def test_a_parameter_that_can_not_be_an_input_is_told(function: Any, said: str) -> None:
    with pytest.raises(RegistrationError, match=re.escape(said)):
        parameters_of(function, place="here")


def test_a_result_that_can_not_be_found_is_told() -> None:
    with pytest.raises(RegistrationError, match=re.escape("here: the result: its type names 'Fraction'")):
        returns_of(_late, place="here")


def test_text_that_is_no_type_is_told() -> None:
    _syntax.__annotations__["a"] = "int +"

    with pytest.raises(RegistrationError, match="here: parameter 'a': 'int \\+' is not a type"):
        parameters_of(_syntax, place="here")


def test_a_name_that_is_assigned_only_later_is_told() -> None:
    def take(it: Local) -> object:
        return Local

    with pytest.raises(RegistrationError, match="names 'Local'"):
        parameters_of(take, place="here")

    class Local: ...


def test_a_class_of_unions_that_is_taught_can_be_told_apart() -> None:
    codecs = Codecs()
    codecs.add(A, encode=lambda a: a.x, decode=A, schema={"type": "integer"})

    taken = Signature("f", [Parameter(name="it", hint=A | B)], codecs=codecs, place="here").check({"it": 3})

    assert taken == {"it": A(3)}
