"""What must hold for all hints and values: both ways of checking agree with each other and with the JSON Schema."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Union

import annotated_types as at
import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nexus.exceptions import InvalidArgumentError
from nexus.workflows.codecs import Codecs
from nexus.workflows.fields import Check
from nexus.workflows.files import FilesRoot
from nexus.workflows.signatures import Parameter, Signature


class Color(enum.Enum):
    RED = "red"
    TWO = 2


@attrs.frozen
class Bounded:
    count: Annotated[int, at.Ge(0)]
    names: list[str] = attrs.field(factory=list)
    ratio: float = 0.5


@attrs.frozen
class Plain:
    x: int
    y: str | None = None


@attrs.frozen
class Stripped:
    name: str = attrs.field(converter=str.strip)  # type: ignore[misc]  # a method of a builtin type says nothing of its types


class Where(TypedDict):
    city: str
    zip: int | None


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, -3.0, 2.5]),
    st.sampled_from(["red", "a", "b", "", "3", "true"]),
    st.text(max_size=5),
)
names = st.sampled_from(["count", "names", "ratio", "x", "y", "name", "city", "zip", "a/b", "c~d"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)

leaves = st.sampled_from(
    [
        str,
        int,
        float,
        bool,
        None,
        Any,
        Color,
        Literal["a", "b", 3, True],
        Annotated[int, at.Interval(ge=0, lt=10)],
        Annotated[int, at.MultipleOf(2)],
        Annotated[int, at.Gt(0.5)],
        Annotated[float, at.Gt(0)],
        Annotated[float, at.Interval(ge=-1, le=2.5)],
        Annotated[str, at.Len(1, 3)],
        Bounded,
        Plain,
        Stripped,
        Where,
    ]
)


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda hint: list[hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: dict[str, hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: tuple[hint, ...]),  # type: ignore[valid-type]
        inner.map(lambda hint: Annotated[list[hint], at.MaxLen(2)]),  # type: ignore[valid-type]
        inner.map(lambda hint: Annotated[dict[str, hint], at.MinLen(1)]),  # type: ignore[valid-type]
        inner.map(lambda hint: Union[hint, None]),  # noqa: UP007 - made at run time
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),  # type: ignore[valid-type]
    )


hints = st.recursive(leaves, nest, max_leaves=4)


def signature_of(hint: Any) -> Signature:
    return Signature("test", [Parameter(name="it", hint=hint)], codecs=Codecs(), place="here")


def outcome(check: Any) -> tuple[bool, Any]:
    try:
        return True, check()
    except InvalidArgumentError as error:
        return False, error.problems


@settings(max_examples=400, deadline=None)
@given(hint=hints, value=values)
def test_a_value_fits_exactly_if_it_fits_the_schema(hint: Any, value: Any) -> None:
    signature = signature_of(hint)

    fits, _ = outcome(lambda: signature.check({"it": value}))

    assert fits == Draft202012Validator(signature.schema).is_valid({"it": value})


@settings(max_examples=400, deadline=None)
@given(hint=hints, value=values)
def test_the_fast_and_the_slow_way_agree(hint: Any, value: Any) -> None:
    signature = signature_of(hint)

    fast = outcome(lambda: signature.check({"it": value}))
    slow = outcome(lambda: signature._check_each({"it": value}, Check()))  # noqa: SLF001 - the way that is taken after a failure

    assert repr(fast) == repr(slow)


@settings(max_examples=300, deadline=None)
@given(hint=hints, value=values)
def test_what_came_in_goes_out_and_in_again(hint: Any, value: Any) -> None:
    codecs = Codecs()
    signature = signature_of(hint)
    fits, taken = outcome(lambda: signature.check({"it": value}))

    if fits:
        shown = codecs.to_builtins(taken["it"])
        Draft202012Validator(codecs.output_schema(hint)).validate(shown)
        assert signature.check({"it": shown}) == taken


@settings(max_examples=200, deadline=None)
@given(hint=hints, value=values)
def test_every_problem_points_into_the_arguments(hint: Any, value: Any) -> None:
    fits, problems = outcome(lambda: signature_of(hint).check({"it": value}))

    assert fits or all(problem.pointer.startswith("/it") and problem.message for problem in problems)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("./ab\\~\0é"), max_size=12))
def test_no_text_leads_out_of_the_root(text: str) -> None:
    root = Path("/srv/nowhere/files")

    try:
        resolved = FilesRoot(root).resolve(text)
    except ValueError:
        return
    assert resolved.is_relative_to(root)
