"""The application of the parity table."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as day_time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
from annotated_types import Ge, Le, MaxLen

from nexus import Nexus, NexusConfig, PermissionDeniedError, Problem, Run, UnauthenticatedError, Workflow, create_nexus
from nexus.abc import Guard
from nexus.models import Call

SECRET = "the password is hunter2"  # noqa: S105 - what must not leave the process


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Stop(TypedDict):
    city: str
    nights: int


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Plane:
    seats: int
    name: str = "plane"


@attrs.frozen
class Airport:
    iata: str
    runways: list[int]
    hub: bool = False


@attrs.frozen
class Tree:
    name: str
    branches: list[Tree] = attrs.field(factory=list)


class Leg(msgspec.Struct):
    origin: Airport
    departs: datetime


HINTS: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "bytes": bytes,
    "date": date,
    "datetime": datetime,
    "time": day_time,
    "timedelta": timedelta,
    "uuid": UUID,
    "decimal": Decimal,
    "enum": Colour,
    "literal": Literal["a", 1],
    "optional": int | None,
    "union": int | list[str],
    "list": list[int],
    "set": set[int],
    "tuple": tuple[int, str],
    "dict": dict[str, float],
    "typed_dict": Stop,
    "named_tuple": Point,
    "dataclass": Plane,
    "attrs": Airport,
    "struct": Leg,
    "recursive": Tree,
    "nested": dict[str, list[Airport]],
    "constrained": Annotated[list[Annotated[int, Ge(1)]], MaxLen(2)],
}


class Doorkeeper(Guard):
    """Knows two people whom it does not let in."""

    async def check(self, call: Call) -> None:
        if call.principal.id == "mallory":
            raise PermissionDeniedError("mallory may not come in")
        if call.principal.id == "nobody":
            raise UnauthenticatedError("who are you?")
        if call.principal.id == "crash":
            raise ZeroDivisionError(SECRET)


def parity_desk(files_root: Path | None = None) -> Nexus:
    """Make the application."""
    app = create_nexus(NexusConfig(files_root=files_root), guards=[Doorkeeper()])
    for name, hint in HINTS.items():
        app.register(echo_of(name, hint))
    app.register(graph())
    add_functions(app)
    add_failures(app)
    add_questions(app)
    return app


def echo_of(name: str, hint: Any) -> Workflow:
    """Return a workflow that gives back what it is given."""
    flow = Workflow(f"echo_{name}")

    async def echo(value: Any) -> Any:
        return value

    echo.__annotations__ = {"value": hint, "return": hint}
    flow.step(echo)
    return flow


def graph() -> Workflow:
    """Return two steps beside each other, a third after them, and a fan-out."""
    flow = Workflow("graph", output="labels")

    @flow.step
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @flow.step
    async def prefix(word: str = "n") -> str:
        return word.upper()

    @flow.step(each={"number": "numbers"}, limit=2)
    async def labels(number: int, prefix: str) -> str:
        return f"{prefix}{number}"

    return flow


def add_functions(app: Nexus) -> None:
    """Add what tells one caller from another, and one version from another."""

    @app.workflow
    async def who(*, run: Run) -> str:
        return run.principal.id

    @app.workflow(channels={"api"})
    async def only_on_api() -> str:
        return "here"

    @app.workflow(name="dotted.name", version="1")
    async def first() -> str:
        return "one"

    @app.workflow(name="dotted.name", version="2")
    async def second() -> str:
        return "two"

    @app.workflow
    def read(file: Path) -> str:
        return file.read_text(encoding="utf-8")


def add_failures(app: Nexus) -> None:
    """Add what does not always succeed."""

    @app.workflow
    async def strict(count: Annotated[int, Ge(1), Le(9)], ratio: float, name: str, colour: Colour = Colour.RED) -> str:
        return f"{name}: {count} {ratio} {colour.value}"

    @app.workflow
    async def fails() -> None:
        raise ValueError(SECRET)

    @app.workflow
    async def refuses(code: str) -> None:
        raise Problem(code, f"no, because of {code}", by="bob", seats=[1, 2])

    @app.workflow(timeout=0.05)
    def slow() -> str:
        time.sleep(0.2)
        return "too late"

    @app.workflow
    async def nothing() -> None:
        pass


def add_questions(app: Nexus) -> None:
    """Add what asks."""

    @app.workflow
    async def keep(*, run: Run) -> bool:
        return await run.ask("Keep the outliers?", bool, name="outliers")

    @app.workflow
    async def guess(*, run: Run) -> int:
        return await run.ask("Which number?", int, default=7)

    @app.workflow
    async def interview(*, run: Run) -> list[str]:
        name = await run.ask("Your name?", str)
        colour = await run.ask("Which colour?", Colour, name="colour")
        others = await run.ask("Which others?", list[Colour], name="others")
        plane = await run.ask("Which plane?", Plane, name="plane")
        return [name, colour.value, *(other.value for other in others), f"{plane.name} {plane.seats}"]

    @app.workflow
    async def asks_and_fails(*, run: Run) -> None:
        await run.ask("Go on?", bool, name="go")
        raise ValueError(SECRET)

    @app.workflow
    async def asks_and_refuses(*, run: Run) -> None:
        await run.ask("Go on?", bool, name="go")
        raise Problem("conflict", "somebody else went on", by="bob")

    @app.workflow
    async def asks_and_complains(*, run: Run) -> None:
        await run.ask("Go on?", bool, name="go")
        raise Problem("invalid_argument", "one can't go on from here", by="bob")
