"""What is registered, under which name and version."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

import nexus
from nexus import Group, Nexus, RegistrationError, Workflow
from nexus.catalogue import nearest

pytestmark = pytest.mark.anyio


def app_of(*what: Callable[..., Any] | Workflow | Group) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(*what)
    return app


def version(number: str, answer: int) -> Callable[..., Any]:
    async def report() -> int:
        return answer

    report.__qualname__ = f"report_{number}"
    return nexus.workflow(version=number)(report)


async def test_a_name_alone_means_the_newest_version() -> None:
    app = app_of(version("1.9", 19), version("1.10", 110), version("1.2", 12))
    assert (await app.execute_workflow("report")).results == 110
    assert (await app.execute_workflow("report@1.2")).results == 12
    assert [(o.version, o.newest) for o in app.operations() if o.name == "report"] == [
        ("1.10", True),
        ("1.9", False),
        ("1.2", False),
    ]


async def test_the_same_place_again_replaces() -> None:
    def make(answer: int) -> Callable[..., Any]:
        @nexus.workflow
        async def cell() -> int:
            return answer

        return cell

    app = app_of(make(1))
    app.register(make(2))
    assert (await app.execute_workflow("cell")).results == 2
    assert len([o for o in app.operations() if o.name == "cell"]) == 1


def test_the_same_place_under_another_name_replaces_too() -> None:
    def make(name: str) -> Callable[..., Any]:
        @nexus.workflow(name=name)
        async def cell() -> int:
            return 1

        return cell

    app = app_of(make("before"))
    app.register(make("after"))
    assert app.operation("before") is None
    assert app.operation("after") is not None


def test_another_place_with_the_same_name_and_version_is_refused() -> None:
    async def other() -> int:
        return 1

    app = app_of(version("1", 1))
    with pytest.raises(RegistrationError, match="there is an operation report@1 already"):
        app.register(nexus.workflow(name="report")(other))


def test_registering_is_all_or_nothing() -> None:
    async def fine() -> int:
        return 1

    async def bad(x) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001 - that is what is wrong with it
        return 1

    app = nexus.create_nexus(nexus.NexusConfig())
    with pytest.raises(RegistrationError):
        app.register(fine, bad)
    assert app.operation("fine") is None


def test_a_built_in_name_can_not_be_taken() -> None:
    group = Group("runs")

    @group.workflow(name="get")
    async def mine() -> int:
        return 1

    app = app_of(group)
    assert app.operation("runs.get@1") is not None


async def test_a_module_registers_what_it_defines() -> None:
    module = types.ModuleType("desk")
    source = """
import nexus
from nexus import Group, Workflow

helper = len

@nexus.workflow
async def greet(name: str) -> str:
    return f"hello {name}"

report = Workflow("report")

@report.step
async def rows() -> int:
    return 3

sales = Group("sales")

@sales.workflow
async def total() -> int:
    return 7
"""
    exec(compile(source, "desk.py", "exec"), module.__dict__)  # noqa: S102 - a module of the test's own
    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(module)
    assert sorted(o.name for o in app.operations() if o.kind == "workflow") == ["greet", "report", "sales.total"]
    assert (await app.execute_workflow("sales.total")).results == 7


async def test_a_decorated_function_is_still_that_function() -> None:
    app = nexus.create_nexus(nexus.NexusConfig())

    @app.workflow(tags=["sums"])
    async def double(number: int) -> int:
        return 2 * number

    assert await double(4) == 8
    assert (await app.execute_workflow(double, {"number": 4})).results == 8


def test_a_wrong_option_is_told_where_it_was_written() -> None:
    app = nexus.create_nexus(nexus.NexusConfig())
    with pytest.raises(TypeError, match="retry"):
        app.workflow(retry=3)(version("1", 1))  # type: ignore[call-overload]
    assert app.operation("report") is None


def test_a_codec_teaches_a_type() -> None:
    class Money:
        def __init__(self, pence: int) -> None:
            self.pence = pence

    app = nexus.create_nexus(nexus.NexusConfig())
    app.codec(Money, encode=lambda m: m.pence, decode=lambda v: Money(int(v)), schema={"type": "integer"})

    @app.workflow
    async def double(price: Money) -> Money:
        return Money(price.pence * 2)

    operation = app.operation("double")
    assert operation is not None
    assert operation.input_schema["properties"]["price"]["type"] == "integer"
    assert app.encode(Money(3)) == b"3"


def test_a_result_that_json_has_no_word_for_is_refused_at_registration() -> None:
    class Frame:
        pass

    async def frames() -> Frame:
        return Frame()

    with pytest.raises(RegistrationError, match="the result"):
        app_of(frames)


def test_a_very_long_unknown_name_is_not_compared_with_every_other() -> None:
    assert nearest("a" * 65, ["a" * 64]) is None
