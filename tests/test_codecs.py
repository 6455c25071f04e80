from __future__ import annotations

import enum
from collections import ChainMap, OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from nexus.exceptions import InvalidArgumentError, RegistrationError
from nexus.workflows.codecs import Codecs
from nexus.workflows.signatures import Parameter, Signature

if TYPE_CHECKING:
    from typing import SupportsInt as Gone


class Color(enum.Enum):
    RED = "red"


class Box(enum.Enum):
    HALF = (Fraction(1, 2), "half")


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Part(float):
    pass


@attrs.frozen
class Aliased:
    _secret: int
    name: str = attrs.field(default="n", alias="calledName")


@attrs.frozen
class Holder:
    inner: Aliased
    others: list[Aliased]


@attrs.frozen
class Plain:
    x: int
    when: date | None = None
    kind: Literal["a"] = "a"
    where: Path = Path("p")
    color: Color = Color.RED


@attrs.frozen
class Sorted:
    color: Color = Color.RED
    kind: Literal["a"] = "a"
    when: date | None = None
    where: dict[str, tuple[Path, ...]] = attrs.field(factory=dict)


class Moment(datetime):
    pass


class Day(date):
    pass


class Hour(time):
    pass


class Span(timedelta):
    pass


class Key(UUID):
    pass


class Money(Decimal):
    pass


@attrs.frozen
class Anything:
    value: Any


@attrs.frozen(slots=False)
class Lazy:
    x: int

    @cached_property
    def big(self) -> int:
        return 1


@dataclass
class Record:
    ratio: Fraction


@dataclass
class Unresolved:
    x: Gone


@dataclass
class Node:
    name: str
    below: list[Node]


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(alias="calledName")
    when: date = date(2026, 1, 1)


class Cat(msgspec.Struct, tag="cat", rename="camel"):
    the_name: str
    more: Any = None


class Sparse(msgspec.Struct, omit_defaults=True):
    x: int
    y: int | msgspec.UnsetType = msgspec.UNSET
    z: Any = None


class Pair(NamedTuple):
    a: int
    b: Any


UUID_TEXT = "6f1b1d2e-0000-4000-8000-000000000000"

OUT: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (3, 3),
    (10**40, 10**40),
    (1.5, 1.5),
    (float("nan"), None),
    ("ä", "ä"),
    (b"hi", "aGk="),
    (bytearray(b"hi"), "aGk="),
    (date(2026, 11, 23), "2026-11-23"),
    (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23T00:00:00Z"),
    (timedelta(minutes=90), "PT5400S"),
    (UUID(UUID_TEXT), UUID_TEXT),
    (Decimal("1.50"), "1.50"),
    (Path("a/b"), "a/b"),
    ({"p": PurePosixPath("a")}, {"p": "a"}),
    (Color.RED, "red"),
    ({Color.RED: 1}, {"red": 1}),
    ({Path("a"): 1, 2: 3}, {"a": 1, "2": 3}),
    (Text("x"), "x"),
    ([Whole(3), Part(1.5)], [3, 1.5]),
    ([1, (2, 3), {4}], [1, [2, 3], [4]]),
    (frozenset({1}), [1]),
    (deque([1, Path("a")]), [1, "a"]),
    (range(2), [0, 1]),
    (OrderedDict(a=1), {"a": 1}),
    (ChainMap({"a": 1}), {"a": 1}),
    (MappingProxyType({"a": Path("b")}), {"a": "b"}),
    ({"a": 1}.keys(), ["a"]),
    (Aliased(1), {"secret": 1, "calledName": "n"}),
    ([Aliased(1)], [{"secret": 1, "calledName": "n"}]),
    ({"x": (Aliased(1),)}, {"x": [{"secret": 1, "calledName": "n"}]}),
    (Holder(Aliased(1), [Aliased(2)]), {"inner": {"secret": 1, "calledName": "n"}, "others": [{"secret": 2, "calledName": "n"}]}),
    (Plain(1), {"x": 1, "when": None, "kind": "a", "where": "p", "color": "red"}),
    (Sorted(where={"a": (Path("b"),)}), {"color": "red", "kind": "a", "when": None, "where": {"a": ["b"]}}),
    ([Moment(2026, 11, 23, tzinfo=UTC), Day(2026, 11, 23), Hour(14)], ["2026-11-23T00:00:00Z", "2026-11-23", "14:00:00"]),
    ({"a": Span(minutes=1), "b": Key(UUID_TEXT), "c": Money("-1.50")}, {"a": "PT60S", "b": UUID_TEXT, "c": "-1.50"}),
    (Anything(Aliased(1)), {"value": {"secret": 1, "calledName": "n"}}),
    (Anything([1]), {"value": [1]}),
    (Node("a", [Node("b", [])]), {"name": "a", "below": [{"name": "b", "below": []}]}),
    (Unresolved(3), {"x": 3}),
    (Model(calledName="n"), {"calledName": "n", "when": "2026-01-01"}),
    (Anything(Model(calledName="n")), {"value": {"calledName": "n", "when": "2026-01-01"}}),
    (Cat("Tom"), {"type": "cat", "theName": "Tom", "more": None}),
    (Cat("Tom", Aliased(1)), {"type": "cat", "theName": "Tom", "more": {"secret": 1, "calledName": "n"}}),
    (Sparse(1), {"x": 1}),
    (Sparse(1, z=Aliased(1)), {"x": 1, "z": {"secret": 1, "calledName": "n"}}),
    (Pair(1, Aliased(1)), [1, {"secret": 1, "calledName": "n"}]),
    (Pair(1, 2), [1, 2]),
]


@pytest.mark.parametrize(("value", "expected"), OUT, ids=[str(i) for i in range(len(OUT))])
def test_a_result_looks_like_this_outside(value: Any, expected: Any) -> None:
    codecs = Codecs()

    assert codecs.to_builtins(value) == expected
    assert msgspec.json.decode(codecs.encode(value)) == expected


def test_what_an_instance_holds_by_the_way_is_not_shown() -> None:
    lazy = Lazy(1)
    assert lazy.big == 1

    assert Codecs().to_builtins(lazy) == {"x": 1}


def test_an_enum_of_other_values_shows_its_value() -> None:
    codecs = Codecs()
    codecs.add(Fraction, encode=str, decode=Fraction, schema={"type": "string"})

    assert codecs.to_builtins(Box.HALF) == ["1/2", "half"]


@pytest.mark.parametrize("value", [1j, [1j], Record(Fraction(1, 2)), {"a": object()}, iter([1])])
def test_what_nobody_taught_is_an_error_that_says_what_to_do(value: Any) -> None:
    with pytest.raises(TypeError, match=r"a value of type \w+ can't be written in JSON; return something that can, or teach it"):
        Codecs().encode(value)


class TestTaught:
    @pytest.fixture
    def codecs(self) -> Codecs:
        codecs = Codecs()
        codecs.add(Fraction, encode=str, decode=Fraction, schema={"type": "string", "pattern": "^[0-9]+/[0-9]+$"})
        return codecs

    def check(self, codecs: Codecs, hint: Any, value: Any, **options: Any) -> Any:
        return Signature("f", [Parameter(name="it", hint=hint)], codecs=codecs, place="here").check({"it": value}, **options)[
            "it"
        ]

    def test_a_taught_type_comes_in_and_goes_out(self, codecs: Codecs) -> None:
        assert self.check(codecs, Fraction, "1/2") == Fraction(1, 2)
        assert self.check(codecs, Fraction, Fraction(1, 2)) == Fraction(1, 2)
        assert self.check(codecs, Record | None, {"ratio": "1/2"}) == Record(Fraction(1, 2))
        assert codecs.to_builtins([Fraction(1, 2), Record(Fraction(1, 3))]) == ["1/2", {"ratio": "1/3"}]

    def test_its_schema_is_the_one_that_was_given(self, codecs: Codecs) -> None:
        assert codecs.output_schema(list[Fraction]) == {
            "type": "array",
            "items": {"type": "string", "pattern": "^[0-9]+/[0-9]+$"},
        }

    @pytest.mark.parametrize("lenient", [True, False])
    def test_what_it_refuses_is_a_problem_with_its_text(self, codecs: Codecs, lenient: bool) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            self.check(codecs, list[Fraction], ["x"], lenient=lenient)

        [problem] = caught.value.problems
        assert (problem.pointer, problem.message) == (
            "/it/0",
            "expected a value for Fraction, got 'x': Invalid literal for Fraction: 'x'",
        )

    def test_an_error_without_words_is_told_without(self) -> None:
        def refuse(value: Any) -> Fraction:
            raise ValueError

        codecs = Codecs()
        codecs.add(Fraction, encode=str, decode=refuse, schema={})

        with pytest.raises(InvalidArgumentError) as caught:
            self.check(codecs, Fraction, 3)
        assert caught.value.problems[0].message == "expected a value for Fraction, got 3"

    def test_it_is_part_of_a_union_by_its_schema(self, codecs: Codecs) -> None:
        assert self.check(codecs, Fraction | int, 3) == 3
        assert self.check(codecs, Fraction | int, "1/2") == Fraction(1, 2)
        assert self.check(codecs, Fraction | int, Fraction(1, 2)) == Fraction(1, 2)
        with pytest.raises(RegistrationError, match="JSON can't tell these apart"):
            self.check(codecs, Fraction | str, "1/2")

    def test_one_that_takes_a_list_is_given_the_list_that_text_holds(self) -> None:
        codecs = Codecs()
        codecs.add(
            Fraction,
            encode=lambda f: [f.numerator, f.denominator],
            decode=lambda pair: Fraction(*pair),
            schema={"type": ["array", "number"]},
        )

        assert self.check(codecs, Fraction, "[1, 2]", lenient=True) == Fraction(1, 2)

    def test_a_class_that_msgspec_would_write_by_itself_can_be_taught_too(self) -> None:
        codecs = Codecs()
        assert codecs.to_builtins(Holder(Aliased(1), []))["others"] == []
        codecs.add(Plain, encode=lambda plain: plain.x, decode=Plain, schema={"type": "integer"})

        assert codecs.to_builtins([Plain(1), Anything(Plain(2))]) == [1, {"value": 2}]
        assert self.check(codecs, list[Plain], [1, Plain(2)]) == [Plain(1), Plain(2)]

    def test_subclasses_go_out_the_same_way(self, codecs: Codecs) -> None:
        class Half(Fraction):
            pass

        assert codecs.to_builtins({"a": Half(1, 2)}) == {"a": "1/2"}

    def test_only_a_class_can_be_taught(self) -> None:
        with pytest.raises(RegistrationError, match="give the class itself"):
            Codecs().add("Fraction", encode=str, decode=Fraction, schema={})  # type: ignore[arg-type]


class TestOutputSchema:
    def test_any_is_anything(self) -> None:
        assert Codecs().output_schema(Any) == {}

    def test_none_is_null(self) -> None:
        assert Codecs().output_schema(None) == {"type": "null"}

    def test_a_class_stands_at_the_root_and_has_all_its_members(self) -> None:
        assert Codecs().output_schema(Aliased) == {
            "title": "Aliased",
            "type": "object",
            "properties": {"secret": {"type": "integer"}, "calledName": {"type": "string", "default": "n"}},
            "required": ["secret", "calledName"],
        }

    def test_what_it_needs_is_inside(self) -> None:
        schema = Codecs().output_schema(Holder)

        assert schema["properties"]["inner"] == {"$ref": "#/$defs/Aliased"}
        assert set(schema["$defs"]) == {"Aliased"}

    def test_a_class_that_holds_itself_is_at_the_root_and_inside(self) -> None:
        schema = Codecs().output_schema(Node)

        assert schema["type"] == "object"
        assert schema["properties"]["below"] == {"type": "array", "items": {"$ref": "#/$defs/Node"}}
        assert set(schema["$defs"]) == {"Node"}

    def test_a_model_of_pydantic_is_described_as_it_goes_out(self) -> None:
        assert set(Codecs().output_schema(Model)["properties"]) == {"calledName", "when"}

    def test_a_result_that_json_has_no_word_for_is_told(self) -> None:
        with pytest.raises(RegistrationError, match="complex can't be written in JSON"):
            Codecs().output_schema(list[complex])


class TestDecode:
    def test_json_values_become_what_the_hint_says(self) -> None:
        assert Codecs().decode_builtins(list[Plain], [{"x": 1}]) == [Plain(1)]
        assert Codecs().decode_builtins(int, "3", lenient=True) == 3

    def test_what_does_not_fit_is_told(self) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            Codecs().decode_builtins(list[int], ["x"])

        assert caught.value.problems[0].pointer == "/0"
