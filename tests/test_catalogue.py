"""What is registered, under which name and version."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

import nexus
from nexus import Group, Nexus, RegistrationError, Request, Workflow
from nexus.catalogue import nearest
from nexus.models import Caller

pytestmark = pytest.mark.anyio


def app_of(*what: Callable[..., Any] | Workflow | Group) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(*what)
    return app


def names_of(app: Nexus) -> list[str]:
    """Return the workflows, with their versions where a name has several."""
    found = [operation for operation in app.operations() if operation.kind == "workflow"]
    names = [operation.name for operation in found]
    return [
        operation.reference if names.count(operation.name) > 1 or operation.version != "1" else operation.name
        for operation in found
    ]


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


def cell(source: str, name: str) -> dict[str, Any]:
    """Carry out a notebook's cell."""
    namespace: dict[str, Any] = {"__name__": "notebook", "nexus": nexus}
    exec(compile(source, name, "exec"), namespace)  # noqa: S102 - that is what a notebook does
    return namespace


def test_a_cell_that_is_run_again_under_another_name_replaces_what_it_made() -> None:
    source = "@nexus.workflow(name={!r})\nasync def cell() -> int:\n    return 1\n"
    app = app_of(cell(source.format("before"), "<cell 1>")["cell"])
    app.register(cell(source.format("after"), "<cell 2>")["cell"])
    assert names_of(app) == ["after"]


def test_a_module_that_is_reloaded_under_another_name_replaces_what_it_made() -> None:
    source = "@nexus.workflow(version={!r})\nasync def report() -> int:\n    return 1\n"
    app = app_of(cell(source.format("1"), "desk.py")["report"])
    app.register(cell(source.format("2"), "desk.py")["report"])
    assert names_of(app) == ["report@2"]


async def test_a_factory_makes_as_many_workflows_as_it_gives_names() -> None:
    app = app_of()

    def make(name: str) -> None:
        @app.workflow(name=name)
        async def inner() -> str:
            return name

    make("first")
    make("second")
    assert names_of(app) == ["first", "second"]
    assert (await app.execute_workflow("first")).results == "first"


async def test_two_versions_of_one_function_in_one_file_are_side_by_side() -> None:
    source = """
@nexus.workflow(version="1")
async def report() -> int:
    return 1
first = report
@nexus.workflow(version="2")
async def report() -> int:
    return 2
"""
    module = cell(source, "desk.py")
    app = app_of(module["first"])
    app.register(module["report"])
    assert names_of(app) == ["report@2", "report@1"]
    assert (await app.execute_workflow(module["first"])).results == 1
    assert (await app.execute_workflow(module["report"])).results == 2


def test_one_name_twice_in_a_registration_is_an_error() -> None:
    def make(answer: int) -> Callable[..., Any]:
        async def inner() -> int:
            return answer

        return inner

    with pytest.raises(RegistrationError, match="there is an operation inner@1 already"):
        app_of(make(1), make(2))


async def test_a_function_in_two_groups_is_two_operations() -> None:
    async def total() -> int:
        return 1

    sales, stock = Group("sales"), Group("stock")
    sales.register(total)
    stock.register(total)
    app = app_of(sales, stock)
    assert names_of(app) == ["sales.total", "stock.total"]
    with pytest.raises(nexus.WorkflowNotFoundError, match=r"registered as sales\.total@1, stock\.total@1; call one of them by"):
        await app.execute_workflow(total)


async def test_a_workflow_in_a_group_may_be_executed_by_itself() -> None:
    report = Workflow("report")

    @report.step
    async def total() -> int:
        return 7

    sales = Group("sales")
    sales.register(report)
    assert (await app_of(sales).execute_workflow(report)).results == 7


async def test_a_name_alone_means_the_newest_version_that_shows_on_the_channel() -> None:
    async def older() -> int:
        return 1

    async def newer() -> int:
        return 2

    app = app_of(
        nexus.workflow(name="report", version="1")(older),
        nexus.workflow(name="report", version="2", channels={"cli"})(newer),
    )
    request = Request(operation="report", arguments={}, caller=Caller(channel="api"))
    assert (await app.dispatch(request)).data == 1
    assert [(o.version, o.newest) for o in app.operations(channel="api") if o.name == "report"] == [("1", True)]
    assert app.operation("report@2", channel="api") is None
    assert (await app.execute_workflow("report")).results == 2


def test_versions_are_ordered_as_people_do() -> None:
    ordered = ["beta", "1.0-rc1", "1.0-rc2", "1.0", "1.0.1", "1.9", "1.10", "2024-01-05", "2024-02"]
    app = app_of(*[version(number, 1) for number in reversed(ordered)])
    assert [o.version for o in app.operations() if o.name == "report"] == ordered[::-1]


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

    with pytest.raises(RegistrationError, match=r"'runs\.get' is the name of an operation that is built in"):
        app_of(group)


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
    with pytest.raises(TypeError, match="repeat"):
        app.workflow(repeat=3)(version("1", 1))  # type: ignore[call-overload]
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
