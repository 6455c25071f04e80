"""What can be wrong with a workflow is told when it is registered, with the place and the way out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import attrs
import pytest

import nexus
from nexus import BlockingRun, Group, Input, RegistrationError, Run, Workflow
from nexus.workflows.fits import fits

pytestmark = pytest.mark.anyio

UserId = NewType("UserId", int)


@attrs.frozen
class Flight:
    number: str


def refusal(make: Callable[[Workflow], object], **options: Any) -> str:
    """Register a workflow of the steps that *make* adds, and return why it is refused."""
    workflow = Workflow("report", **options)

    def register() -> None:
        make(workflow)
        nexus.create_nexus(nexus.NexusConfig()).register(workflow)

    with pytest.raises(RegistrationError) as caught:
        register()
    return str(caught.value)


def test_a_cycle_is_shown_as_the_path_that_comes_back() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def first(second: int) -> int:
            return second

        @workflow.step
        def second(first: int) -> int:
            return first

    assert "first -> second -> first" in refusal(steps)


def test_a_chain_may_be_longer_than_the_stack() -> None:
    workflow = Workflow("long")
    for number in reversed(range(1100)):
        scope: dict[str, Any] = {}
        exec(f"async def s{number}({f's{number - 1}: int' if number else ''}) -> int: return 1", scope)  # noqa: S102 - made names
        workflow.step(scope[f"s{number}"])
    assert workflow.graph().output == "s1099"


def test_a_step_that_needs_itself_is_a_cycle() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def flights(flights: Path) -> int:
            return 1

    assert "flights -> flights" in refusal(steps)


def test_an_output_that_is_no_step_names_the_nearest() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def ranking() -> int:
            return 1

    assert "did you mean 'ranking'" in refusal(steps, output="rankng")


def test_an_output_that_is_like_no_step_lists_the_steps() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def ranking() -> int:
            return 1

    assert "steps: ranking" in refusal(steps, output="elsewhere")


def test_a_parameter_that_is_nearly_a_step_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def rank() -> int:
            return 1

        @workflow.step
        def shown(rnak: int) -> int:
            return rnak

    told = refusal(steps)
    assert "'rnak' is nearly the step 'rank'" in told
    assert "nexus.Input()" in told


def test_long_names_may_differ_in_two_letters_and_still_be_near() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def departures() -> int:
            return 1

        @workflow.step
        def shown(depatrues: int) -> int:
            return depatrues

    assert "nearly the step 'departures'" in refusal(steps)


async def test_a_declared_input_may_be_nearly_a_step() -> None:
    workflow = Workflow("report")

    @workflow.step
    async def rank() -> int:
        return 1

    @workflow.step
    async def shown(rank: int, ranks: Annotated[int, Input()]) -> int:
        return rank + ranks

    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(workflow)
    assert (await app.execute_workflow("report", {"ranks": 2})).results == 3


def test_two_leaves_need_an_output() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def left() -> int:
            return 1

        @workflow.step
        def right() -> int:
            return 1

    told = refusal(steps)
    assert "left, right" in told
    assert "output=" in told


def test_a_result_that_does_not_fit_its_parameter_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def flights() -> list[str]:
            return []

        @workflow.step
        def counted(flights: dict[str, int]) -> int:
            return len(flights)

    told = refusal(steps)
    assert "dict[str, int]" in told
    assert "list[str]" in told


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (int, int),
        (bool, int),
        (int, float),
        (int, Any),
        (Any, int),
        (int, object),
        (int, int | None),
        (int, int | str),
        (int | str, int | str | None),
        (list[int], Sequence[int]),
        (list, list[int]),
        (dict[str, int], Mapping[str, int]),
        (tuple[int, ...], Sequence[int]),
        (Annotated[int, "metres"], int),
        (UserId, int),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (None, int | None),
    ],
)
def test_these_results_fit(result: Any, wanted: Any) -> None:
    assert fits(result, wanted)


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (int, str),
        (float, int),
        (int | None, int),
        (int | str, int),
        (list[int], list[str]),
        (list[int], set[int]),
        (Literal["a", "c"], Literal["a", "b"]),
        (str, Literal["a"]),
    ],
)
def test_these_results_do_not_fit(result: Any, wanted: Any) -> None:
    assert not fits(result, wanted)


def test_each_over_what_is_not_iterable_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def total() -> int:
            return 1

        @workflow.step(each={"item": "total"})
        def one(item: int) -> int:
            return item

    told = refusal(steps)
    assert "returns int" in told
    assert "return a list" in told


def test_each_over_a_list_of_other_items_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def names() -> list[str]:
            return []

        @workflow.step(each={"flight": "names"})
        def one(flight: Flight) -> int:
            return 1

    assert "an item of step 'names' is str" in refusal(steps)


def test_each_over_a_step_that_is_not_there_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step(each={"item": "elsewhere"})
        def one(item: int) -> int:
            return item

    told = refusal(steps)
    assert "'elsewhere'" in told
    assert "each='item'" in told


def test_each_names_a_parameter_of_the_step() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def names() -> list[str]:
            return []

        @workflow.step(each={"nobody": "names"})
        def one(flight: str) -> int:
            return 1

    assert "parameter 'nobody'" in refusal(steps)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"each": {"a": "x", "b": "y"}}, "one parameter, not 2"),
        ({"limit": 3}, "give each= too"),
        ({"each": "a", "limit": 0}, "use 1 or more"),
        ({"timeout": 0}, "positive number of seconds"),
        ({"timeout": "soon"}, "positive number of seconds"),
        ({"name": "Not A Name"}, "can't be a name"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: Any, told: str) -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step(**options)
        def one(a: int) -> int:
            return a

    assert told in refusal(steps)


def test_run_on_a_def_step_is_refused_with_the_way_out() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def one(run: Run) -> int:
            return 1

    assert "take `BlockingRun`" in refusal(steps)


def test_a_blocking_run_on_an_async_step_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        async def one(run: BlockingRun) -> int:
            return 1

    assert "take `Run`" in refusal(steps)


def test_two_runs_on_one_step_are_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        async def one(run: Run, again: Run) -> int:
            return 1

    assert "one is enough" in refusal(steps)


def test_a_plain_generator_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def one() -> Any:
            yield 1

    assert "make it `async def`, or return a list" in refusal(steps)


def test_a_step_that_yields_says_what() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        async def one() -> Any:
            yield 1

    assert "its result is AsyncIterator[…] of what it yields, not Any" in refusal(steps)


def test_an_item_can_not_yield() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step(each="name")
        async def one(name: str) -> AsyncIterator[int]:
            yield 1

    assert "a step with each= can't yield" in refusal(steps)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"after": "other"}, "after='other' is not a step; steps: one"),
        ({"when": lambda rows: True}, "when= takes 'rows', which is neither a step nor an input; there are: name, one"),
        ({"run_in": "process"}, "run_in='process' is for `def`; an `async def` step runs on the event loop"),
    ],
)
def test_an_option_that_can_not_be_is_refused(options: dict[str, Any], told: str) -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step(**options)
        async def one(name: str) -> int:
            return 1

    assert told in refusal(steps)


def test_a_condition_can_not_be_awaited() -> None:
    async def later(name: str) -> bool:
        return bool(name)

    def steps(workflow: Workflow) -> None:
        @workflow.step(when=later)  # type: ignore[arg-type]  # that is what is wrong
        async def one(name: str) -> int:
            return 1

    assert "when= can't be `async def`" in refusal(steps)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"on_error": "skip"}, "give each= too"),
        ({"each": "name", "on_error": "ignore"}, "use one of 'fail', 'skip', 'collect'"),
        ({"run_in": "fork"}, "use one of 'thread', 'inline', 'process'"),
        ({"retry": 3}, "give nexus.Retry(attempts=…)"),
        ({"when": True}, "give a function"),
    ],
)
def test_a_wrong_option_is_told_where_it_is_written(options: dict[str, Any], told: str) -> None:
    with pytest.raises(RegistrationError) as caught:

        @Workflow("wrong").step(**options)
        def one(name: str) -> int:
            return 1

    assert told in caught.value.message


@pytest.mark.parametrize("run_in", ["process", "inline"])
def test_a_step_without_a_thread_can_not_take_the_run(run_in: Any) -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step(run_in=run_in)
        def one(run: BlockingRun) -> int:
            return 1

    assert "can't take BlockingRun" in refusal(steps)


def test_a_function_that_another_process_can_not_find_is_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step(run_in="process")
        def one() -> int:
            return 1

    assert "move it to the top of a module" in refusal(steps)


def test_a_parameter_that_may_be_missing_says_so_in_the_result() -> None:
    workflow = Workflow("maybe")

    @workflow.step
    async def number() -> int:
        return 1

    @workflow.step(when=lambda number: number > 0)
    async def text(number: int) -> str:
        return str(number)

    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(workflow)
    operation = app.operation("maybe")
    assert operation is not None
    assert operation.output_schema == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert operation.graph is not None
    assert [step["conditional"] for step in operation.graph["steps"]] == [False, True]


def test_an_unsupported_hint_names_place_and_parameter() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def one(handle: Callable[[], int]) -> int:
            return 1

    told = refusal(steps)
    assert "one" in told
    assert "handle" in told


def test_one_input_of_two_steps_has_one_type() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def left(size: int) -> int:
            return size

        @workflow.step
        def right(size: str, left: int) -> int:
            return left

    assert "use one type for both" in refusal(steps)


def test_one_input_of_two_steps_has_one_default() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def left(size: int = 1) -> int:
            return size

        @workflow.step
        def right(left: int, size: int = 2) -> int:
            return left

    assert "use one for both" in refusal(steps)


async def test_a_default_in_one_step_serves_the_other() -> None:
    workflow = Workflow("report")

    @workflow.step
    async def left(size: int) -> int:
        return size

    @workflow.step
    async def right(left: int, size: int = 2) -> int:
        return left + size

    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(workflow)
    assert (await app.execute_workflow("report")).results == 4


def test_a_workflow_without_steps_is_refused() -> None:
    assert "without steps" in refusal(lambda _: None)


def test_two_steps_of_one_name_are_refused() -> None:
    def steps(workflow: Workflow) -> None:
        @workflow.step
        def one() -> int:
            return 1

        @workflow.step(name="one")
        def other() -> int:
            return 1

    assert "already" in refusal(steps)


def test_a_class_is_not_a_step() -> None:
    assert "a step is a function" in refusal(lambda workflow: workflow.step(Flight))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"version": "a b"}, "version='a b'"),
        ({"tags": "one"}, "take several names"),
        ({"channels": "api"}, "take several names"),
    ],
)
def test_a_workflow_option_that_makes_no_sense_is_refused(options: Any, told: str) -> None:
    with pytest.raises(RegistrationError, match=told):
        Workflow("report", **options)


def test_a_name_is_lower_case() -> None:
    with pytest.raises(RegistrationError, match="can't be a name"):
        Workflow("Report")


def test_mermaid_shows_inputs_steps_and_fan_outs() -> None:
    workflow = Workflow("busiest")

    @workflow.step
    def flights(file: Path) -> list[Flight]:
        return []

    @workflow.step(each={"flight": "flights"})
    def weather(flight: Flight) -> str:
        return ""

    assert workflow.mermaid() == (
        "flowchart LR\n"
        "    in_file([file])\n"
        "    flights[flights]\n"
        "    weather[[weather over flights]]\n"
        "    in_file --> flights\n"
        "    flights --> weather\n"
        "    weather --> out((result))\n"
    )


def test_a_group_puts_its_prefix_tags_and_channels_on_its_members() -> None:
    inner = Group("daily", tags=["day"])

    @inner.workflow
    async def report() -> int:
        """Say something."""
        return 1

    outer = Group("sales", channels=["api"])
    outer.register(inner)
    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(outer)
    operation = app.operation("sales.daily.report")
    assert operation is not None
    assert (operation.summary, operation.tags, operation.channels) == ("Say something.", ("day",), frozenset({"api"}))


def test_what_is_no_workflow_can_not_be_registered() -> None:
    with pytest.raises(RegistrationError, match="give a function, a Workflow, a Group or a module"):
        nexus.create_nexus(nexus.NexusConfig()).register(3)  # type: ignore[arg-type]


def test_a_module_without_workflows_can_not_be_registered() -> None:
    with pytest.raises(RegistrationError, match=r"mark functions with @nexus\.workflow"):
        nexus.create_nexus(nexus.NexusConfig()).register(json)
