"""Inputs that hypothesis generates fit the workflow they are for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union
from uuid import UUID

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import nexus
from nexus import BlockingRun, Workflow, WorkflowNotFoundError
from nexus.testing import Client, inputs
from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import definition_of
from nexus.workflows.signatures import Signature
from tests.signature_types import (
    JSON,
    Alias,
    Bounded,
    Box,
    Careful,
    Cat,
    Color,
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
    Tree,
    UserId,
    Weighted,
    Where,
)
from tests.test_signatures_properties import hints

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@attrs.define
class Coordinate:
    latitude: float


@attrs.frozen
class Ticket:
    number: str = attrs.field(validator=attrs.validators.matches_re("ticket/[0-9]+"))


class Shape(NamedTuple):
    corners: Annotated[list[Point], at.MinLen(3)]
    name: str = "?"


class Account(pydantic.BaseModel):
    """Every way in which pydantic keeps a constraint."""

    name: str = pydantic.Field(pattern="^[a-z]+$")
    balance: Decimal = pydantic.Field(ge=0, lt=100)
    shares: int = pydantic.Field(multiple_of=5, alias="n")
    owners: Annotated[list[Person], at.Len(1, 2)]
    above: Account | None = None
    since: date | None = None


ADDRESS = re.compile(r" at 0x\w+")
"""Of what a name of a test has no use for, since it differs from one process to the next."""

HINTS: Sequence[Any] = [
    str,
    int,
    float,
    bool,
    bytes,
    date,
    time,
    datetime,
    timedelta,
    UUID,
    Decimal,
    Path,
    None,
    Any,
    Color,
    Level,
    Ratio,
    Forgiving,
    Literal["a", 3, Color.RED] | None,
    UserId,
    Alias,
    Listed[int],
    JSON,
    int | None,
    int | str | None,
    int | float | bool | list[str] | dict[str, int] | None,
    Point | list[int],
    Cat | Dog | None,
    Union[Color, int],  # noqa: UP007
    bytes | int,
    datetime | int,
    list[int],
    set[str],
    frozenset[date],
    tuple[int, ...],
    tuple[int, str, Point],
    tuple[()],
    dict[str, Point],
    dict[int, str],
    dict[float, str],
    dict[Color, int],
    dict[date, int],
    dict[UUID, int],
    Sequence[Point],
    Mapping[str, list[Stop]],
    Stop,
    Weighted,
    Point,
    Careful,
    Bounded,
    Tree,
    Where,
    Pair,
    Link,
    Shape,
    Row,
    Box[int],
    Box[Box[str]],
    Person,
    Family,
    Account,
    set[Point],
    Annotated[int, at.Ge(1)],
    Annotated[int, at.Interval(gt=0.5, lt=3.5)],
    Annotated[int, at.Gt(2**60)],
    Annotated[int, at.Lt(-(2**60))],
    Annotated[int, at.MultipleOf(7), at.Interval(gt=10, le=100)],
    Annotated[int, at.MultipleOf(7)],
    Annotated[int, at.MultipleOf(7), at.Lt(-7_000_007)],
    Annotated[float, at.Interval(gt=0, lt=1)],
    Annotated[float, at.MultipleOf(0.1), at.Interval(ge=0, le=5)],
    Annotated[float, msgspec.Meta(ge=0.1, le=0.2)],
    Annotated[Decimal, at.Interval(gt=Decimal("0.1"), le=5)],
    Annotated[Decimal, at.MultipleOf(Decimal("0.25"))],
    Annotated[str, at.Len(2, 5)],
    Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")],
    Annotated[str, msgspec.Meta(pattern="a+", max_length=4)],
    Annotated[str, at.LowerCase],
    Annotated[str, at.Predicate(str.isidentifier)],
    Annotated[str, at.IsAscii, at.Len(3, 3)],
    Annotated[bytes, at.Len(1, 3)],
    Annotated[date, at.Interval(gt=date(2026, 1, 1), lt=date(2026, 1, 4))],
    Annotated[datetime, at.Ge(NOON), at.Lt(NOON + timedelta(days=1))],
    Annotated[datetime, at.Gt(datetime(2026, 1, 1))],  # noqa: DTZ001
    Annotated[datetime, at.Timezone(...)],
    Annotated[datetime, at.Timezone(None)],
    Annotated[time, at.Ge(time(9)), at.Le(time(17))],
    Annotated[time, at.Timezone(...)],
    Annotated[timedelta, at.Interval(ge=timedelta(0), le=timedelta(hours=1))],
    Annotated[list[int], at.Len(2, 3)],
    Annotated[set[int], at.MinLen(2)],
    Annotated[frozenset[Color], at.MaxLen(1)],
    Annotated[tuple[int, ...], at.MinLen(1)],
    Annotated[dict[str, int], at.Len(1, 2)],
    Annotated[list[int], at.Predicate(lambda items: sum(items) >= 0)],
    Annotated[int | None, at.Ge(1)],
    Annotated[Path, at.Predicate(lambda path: path.suffix)],
    Annotated[Point, at.Predicate(lambda point: point.x > point.y)],
]


def one_of_type(hint: Any) -> Callable[..., Any]:
    def workflow(it: Any) -> None:
        """Take one thing."""

    workflow.__annotations__["it"] = hint
    return workflow


def signature_of(function: Callable[..., Any]) -> Signature:
    return Signature("test", definition_of(function).graph().inputs, codecs=Codecs(), place="here")


def check_both(workflow: Callable[..., Any], given: Mapping[str, Any]) -> None:
    signature, codecs = signature_of(workflow), Codecs()
    taken = signature.check(given)
    assert signature.check(json.loads(codecs.encode(taken))).keys() == taken.keys()


@pytest.mark.parametrize("hint", HINTS, ids=[f"{number} {ADDRESS.sub('', str(hint))}" for number, hint in enumerate(HINTS)])
def test_what_is_generated_fits_as_it_is_and_as_json(hint: Any) -> None:
    workflow = one_of_type(hint)

    @settings(max_examples=50, deadline=None, database=None)
    @given(inputs(workflow))
    def fits(generated: dict[str, Any]) -> None:
        check_both(workflow, generated)

    fits()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hint=hints, data=st.data())
def test_any_nesting_of_hints_is_generated(hint: Any, data: st.DataObject) -> None:
    workflow = one_of_type(hint)

    check_both(workflow, data.draw(inputs(workflow)))


def desk() -> nexus.Nexus:
    app = nexus.create_nexus(nexus.NexusConfig())
    app.codec(
        Coordinate,
        encode=lambda place: f"{place.latitude:.1f}N",
        decode=lambda text: Coordinate(float(text.removesuffix("N"))),
        schema={"type": "string", "pattern": r"^[0-9]\.[0-9]N$"},
    )
    stops = Workflow("stops", output="shown")

    @stops.step
    def stop(city: str, nights: Annotated[int, at.Ge(1)] = 3) -> Stop:
        return Stop(city, nights)

    @stops.step(each="guest")
    def shown(stop: Stop, guest: Color, run: BlockingRun) -> str:
        return f"{guest.value} in {stop.city}"

    @app.workflow
    def locate(at: Coordinate, file: Path = Path("map.csv")) -> float:
        return at.latitude

    app.register(stops)
    return app


def sometimes(strategy: st.SearchStrategy[dict[str, Any]], condition: Callable[[dict[str, Any]], bool]) -> bool:
    return bool(condition(find(strategy, condition, settings=settings(database=None))))


@settings(max_examples=30, deadline=None)
@given(inputs("stops", app=desk()))
def test_a_workflow_of_steps_takes_what_is_generated_by_its_name(generated: dict[str, Any]) -> None:
    with nexus.sync(desk()) as app:
        result = app.execute_workflow("stops", generated)

    assert result.results == [f"{guest.value} in {generated['city']}" for guest in generated["guest"]]


@pytest.mark.anyio
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(generated=inputs("stops", app=desk()))
async def test_what_is_generated_goes_over_a_channel(generated: dict[str, Any]) -> None:
    async with Client(desk(), channel="api") as client:
        shown = await client.execute("stops", **generated)

    assert shown == [f"{guest.value} in {generated['city']}" for guest in generated["guest"]]


def test_what_has_a_default_is_given_now_and_then() -> None:
    strategy = inputs("stops", app=desk())

    assert sometimes(strategy, lambda generated: "nights" in generated)
    assert sometimes(strategy, lambda generated: "nights" not in generated)


def test_a_function_is_called_with_what_is_generated() -> None:
    def distance(here: Point, there: Point = Point(0)) -> int:  # noqa: B008
        return abs(here.x - there.x)

    @settings(max_examples=20, deadline=None, database=None)
    @given(inputs(distance))
    def holds(generated: dict[str, Any]) -> None:
        assert distance(**generated) >= 0

    holds()


def test_a_taught_type_is_made_by_its_schema_and_its_decode() -> None:
    app = desk()

    @settings(max_examples=30, deadline=None, database=None)
    @given(inputs("locate", app=app))
    def holds(generated: dict[str, Any]) -> None:
        assert 0 <= generated["at"].latitude < 10

    holds()


def test_paths_are_relative_names_of_files() -> None:
    @settings(max_examples=30, deadline=None, database=None)
    @given(inputs("locate", app=desk()))
    def holds(generated: dict[str, Any]) -> None:
        path = generated.get("file", Path("map.csv"))
        assert not path.is_absolute()
        assert path.suffix

    holds()


def test_paths_are_chosen_from_the_files_that_are_given() -> None:
    seen = set()

    @settings(max_examples=50, deadline=None, database=None)
    @given(inputs("locate", app=desk(), files=["a.csv", Path("b.csv")]))
    def notes(generated: dict[str, Any]) -> None:
        seen.add(generated.get("file"))

    notes()
    assert seen == {None, Path("a.csv"), Path("b.csv")}


def test_a_strategy_of_ones_own_counts_for_an_input_or_for_a_type_anywhere() -> None:
    def tour(stops: list[Stop], leader: str) -> None:
        pass

    strategies: Mapping[Any, Any] = {"leader": st.just("Ada"), Stop: st.just(Stop("Rome"))}

    @settings(max_examples=20, deadline=None, database=None)
    @given(inputs(tour, strategies=strategies))
    def holds(generated: dict[str, Any]) -> None:
        assert generated["leader"] == "Ada"
        assert set(map(repr, generated["stops"])) <= {repr(Stop("Rome"))}

    holds()


def test_what_a_strategy_of_ones_own_gives_too_much_is_left_out() -> None:
    def age(years: Annotated[int, at.Interval(ge=0, le=9)]) -> None:
        pass

    @settings(max_examples=30, deadline=None, database=None)
    @given(inputs(age, strategies={int: st.integers(-9, 30)}))
    def holds(generated: dict[str, Any]) -> None:
        assert 0 <= generated["years"] <= 9

    holds()


def test_a_class_that_refuses_all_says_where_and_what_to_give() -> None:
    with pytest.raises(TypeError, match=r"parameter 'it': of 40 generated values none is good; .*strategies=\{Ticket: …\}"):
        find(inputs(one_of_type(Ticket)), lambda _: True)

    strategies: Mapping[Any, Any] = {Ticket: st.integers(0, 90).map(lambda number: Ticket(f"ticket/{number}"))}
    assert sometimes(inputs(one_of_type(Ticket), strategies=strategies), lambda generated: generated["it"].number != "")


def test_a_condition_that_nothing_satisfies_says_where_and_what_to_give() -> None:
    hint = Annotated[str, at.Predicate(lambda text: text == "the one word")]

    with pytest.raises(TypeError, match=r"parameter 'it': .*strategies=\{str: …\}"):
        find(inputs(one_of_type(hint)), lambda _: True)


def test_a_taught_type_whose_schema_says_too_little_needs_a_strategy() -> None:
    app = nexus.create_nexus(nexus.NexusConfig())
    app.codec(Coordinate, encode=str, decode=Coordinate, schema={})
    workflow = app.workflow(one_of_type(Coordinate))

    with pytest.raises(TypeError, match=r"the schema of Coordinate says too little; .*strategies=\{Coordinate: …\}"):
        inputs(workflow, app=app)
    strategies: Mapping[Any, Any] = {Coordinate: st.just(Coordinate(1.0))}
    assert sometimes(inputs(workflow, app=app, strategies=strategies), lambda generated: generated["it"].latitude == 1)


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"const": 3}, lambda value: value == 3),
        ({"enum": ["a", "b"]}, lambda value: value in {"a", "b"}),
        ({"type": ["integer", "null"], "minimum": 1, "maximum": 4}, lambda value: value is None or 1 <= value <= 4),
        (
            {"anyOf": [{"type": "boolean"}, {"type": "number", "exclusiveMinimum": 0}]},
            lambda value: value in {True, False} or value > 0,
        ),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, lambda value: len(value) <= 2),
        ({"type": "array"}, lambda value: isinstance(value, list)),
        (
            {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}, "required": ["x"]},
            lambda value: isinstance(value["x"], int) and set(value) <= {"x", "y"},
        ),
    ],
)
def test_the_schema_of_a_taught_type_is_kept_to(schema: Mapping[str, Any], good: Callable[[Any], bool]) -> None:
    @attrs.frozen(eq=False)
    class Held:
        value: Any

    app = nexus.create_nexus(nexus.NexusConfig())
    app.codec(Held, encode=lambda held: held.value, decode=Held, schema=schema)

    @settings(max_examples=30, deadline=None, database=None)
    @given(inputs(app.workflow(one_of_type(Held)), app=app))
    def holds(generated: dict[str, Any]) -> None:
        assert good(generated["it"].value)

    holds()


def test_a_name_needs_an_application_that_has_it() -> None:
    with pytest.raises(TypeError, match="give app=…"):
        inputs("stops")
    with pytest.raises(WorkflowNotFoundError, match="no workflow 'stop' "):
        inputs("stop", app=desk())


def test_a_strategy_for_an_input_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="names city, but the inputs are: it"):
        inputs(one_of_type(int), strategies={"city": st.just(1)})
