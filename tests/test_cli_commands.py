"""The commands of an application, in its own event loop, on asyncio and trio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import attrs
import pytest

import nexus
import nexus_click
from nexus.models import Call, Principal

pytestmark = pytest.mark.anyio


@attrs.frozen
class Stop:
    city: str
    nights: int = 1


@pytest.fixture
def app() -> nexus.Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(title="Travel desk", description="Plans journeys."))

    @app.workflow
    def add(first: int, second: int = 10) -> int:
        """Add two numbers."""
        return first + second

    @app.workflow
    def plan_trip(  # noqa: PLR0917 - as users write them
        stops: list[Stop],
        limit: Annotated[int, annotated_types.Ge(1), annotated_types.Le(100)] = 10,
        colour: Literal["red", "green"] = "red",
        cheap: bool = False,
        tags: Sequence[str] = (),
        budget: float | None = 100.0,
    ) -> dict[str, Any]:
        """
        Plan a trip.

        Stops are visited in order:

        - the first one
        - the others

        Args:
            stops: Where to go.
            limit: Kilometres a day.
            cheap: Whether to sleep in barns.
        """
        return {"stops": stops, "limit": limit, "colour": colour, "cheap": cheap, "tags": tags, "budget": budget}

    @app.workflow
    def read(file: Path) -> str:
        return file.read_text(encoding="utf-8")

    @app.workflow
    def join(glue: str, words: list[str], confirm: bool) -> str:
        return glue.join(words) + "!" * confirm

    @nexus.workflow(channels={"api"})
    def hidden() -> None: ...

    @app.workflow
    async def clean_up(run: nexus.Run) -> list[Any]:
        await run.log.warning("dusty", rooms=3)
        await run.progress(1, 2)
        really = await run.ask("Really?", bool, name="really")
        room = await run.ask("Which room?", str, default="attic", name="room")
        return [really, room]

    @app.workflow
    async def who(run: nexus.Run) -> str:
        return run.principal.id

    @app.workflow
    def nothing() -> None: ...

    app.register(hidden)
    return app


async def run(app: nexus.Nexus, *argv: str, **options: Any) -> nexus_click.Result:
    async with app:
        return await nexus_click.invoke(app, argv, **options)


async def test_a_result_is_one_json_document_on_standard_output(app: nexus.Nexus) -> None:
    result = await run(app, "add", "1", "--second", "2")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "3\n", "")


async def test_a_result_is_text_where_text_is_asked_for(app: nexus.Nexus) -> None:
    result = await run(
        app, "--format", "text", "plan-trip", '[{"city": "Ulm"}]', "--no-budget", "--cheap", "--tags=a", "--tags=b"
    )
    assert result.stdout.splitlines() == [
        "stops:",
        "  city  nights",
        "  Ulm        1",
        "limit:  10",
        "colour: red",
        "cheap:  true",
        "tags:",
        "  a",
        "  b",
        "budget: -",
    ]


async def test_no_result_is_no_text(app: nexus.Nexus) -> None:
    assert (await run(app, "nothing", "--format=text")).stdout == ""
    assert (await run(app, "nothing", "--format=json")).stdout == "null\n"


@pytest.mark.parametrize("name", ["plan-trip", "plan_trip", "plan-trip@1"])
async def test_dashes_and_versions_name_a_workflow(app: nexus.Nexus, name: str) -> None:
    assert (await run(app, name, "[]")).exit_code == 0


async def test_built_in_operations_are_commands_too(app: nexus.Nexus) -> None:
    result = await run(app, "workflows.schema", "add")
    assert set(json.loads(result.stdout)) == {"input", "output"}


async def test_a_path_is_used_as_it_is(app: nexus.Nexus, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("hello", encoding="utf-8")
    assert (await run(app, "read", str(file))).stdout == '"hello"\n'


async def test_a_nested_value_comes_from_standard_input(app: nexus.Nexus) -> None:
    result = await run(app, "plan-trip", "@-", stdin='[{"city": "Ulm", "nights": 2}]')
    assert json.loads(result.stdout)["stops"] == [{"city": "Ulm", "nights": 2}]


async def test_the_last_list_takes_the_rest_and_a_required_boolean_is_a_flag(app: nexus.Nexus) -> None:
    assert (await run(app, "join", "-", "a", "b", "--confirm")).stdout == '"a-b!"\n'


async def test_all_that_is_wrong_is_told_at_once_with_the_names_of_the_command_line(app: nexus.Nexus) -> None:
    result = await run(app, "plan-trip", "--limit", "1000", "--cheap=perhaps", "--colur", "red", "--budget", "x")
    assert result.exit_code == 2
    assert result.stdout == ""
    first, *lines = result.stderr.splitlines()
    assert first.startswith("Error: ")
    assert sorted(line.split(":")[0].strip() for line in lines) == [
        "--budget (/budget)",
        "--cheap (/cheap)",
        "--colur (/colur)",
        "--limit (/limit)",
        "STOPS (/stops)",
    ]


async def test_faults_of_the_text_are_told_with_the_rest(app: nexus.Nexus) -> None:
    result = await run(app, "plan-trip", "[", "more", "--limit")
    assert sorted(result.stderr.splitlines()[1:]) == [
        "  --limit (/limit): --limit needs a value",
        "  STOPS (/stops): expected JSON, or @file with JSON in it: Expecting value: line 1 column 2 (char 1)",
        "  unexpected extra argument 'more'",
    ]


async def test_an_error_is_one_json_object_where_json_is_asked_for(app: nexus.Nexus) -> None:
    result = await run(app, "add", "--format", "json", "x")
    error = json.loads(result.stderr)
    assert set(error) == {"code", "message", "details"}
    assert [problem["pointer"] for problem in error["details"]["errors"]] == ["/first"]


async def test_an_unknown_workflow_has_its_nearest_suggested(app: nexus.Nexus) -> None:
    result = await run(app, "plan-trap", "--help")
    assert result.exit_code == 3
    assert "'plan_trip'" in result.stderr


async def test_a_workflow_of_another_channel_is_not_there(app: nexus.Nexus) -> None:
    assert (await run(app, "hidden")).exit_code == 3


async def test_help_comes_from_schema_and_docstring(app: nexus.Nexus) -> None:
    result = await run(app, "plan-trip", "--help")
    assert result.exit_code == 0
    lines = result.stdout.split("\n\n")
    assert lines[0] == "Usage: nexus run TARGET plan-trip [OPTIONS] STOPS"
    assert lines[1:4] == ["  Plan a trip.", "  Stops are visited in order:", "  - the first one\n  - the others"]
    assert lines[4] == "Arguments:\n  STOPS  Where to go.  [JSON]"
    options = " ".join(lines[5].split())
    assert "--limit INTEGER Kilometres a day. [default: 10; x>=1, x<=100]" in options
    assert "--colour [red|green] [default: red]" in options
    assert "--cheap / --no-cheap Whether to sleep in barns. [default: false]" in options
    assert "--tags TEXT [default: []; repeatable]" in options
    assert "--budget / --no-budget NUMBER [default: 100.0]" in options
    assert "--format [text|json]" in options
    assert lines[6] == "JSON: written as it is, or @FILE to read it from a file; @- is standard input.\n"


async def test_help_of_all_lists_the_workflows(app: nexus.Nexus) -> None:
    result = await run(app, "--help")
    assert "Plans journeys." in result.stdout
    assert "  add        Add two numbers.\n" in result.stdout
    assert "hidden" not in result.stdout


async def test_an_application_without_description_is_named_by_its_title() -> None:
    app = nexus.create_nexus(nexus.NexusConfig(title="Desk", version="3"))
    assert "Desk 3" in (await run(app, "--help")).stdout


async def test_a_wrong_option_before_the_workflow_is_a_usage_error(app: nexus.Nexus) -> None:
    result = await run(app, "--colour", "add", "1")
    assert result.exit_code == 2
    assert "--colour" in result.stderr


async def test_answers_are_those_given(app: nexus.Nexus) -> None:
    result = await run(app, "clean-up", answers={"really": False})
    assert (result.stdout, result.stderr) == ('[false,"attic"]\n', "warning: dusty  rooms=3\n")


async def test_a_question_without_an_answer_ends_the_run(app: nexus.Nexus) -> None:
    result = await run(app, "clean-up", answers={})
    assert result.exit_code == 6
    assert "'really'" in result.stderr


async def test_nobody_answers_a_pipe(app: nexus.Nexus) -> None:
    result = await run(app, "clean-up")
    assert result.exit_code == 6
    assert "give `default=`" in result.stderr


async def test_yes_answers_with_yes_or_the_default(app: nexus.Nexus) -> None:
    assert (await run(app, "clean-up", "--yes")).stdout == '[true,"attic"]\n'


async def test_the_caller_is_who_was_verified(app: nexus.Nexus) -> None:
    assert (await run(app, "who", principal=Principal(id="ada"))).stdout == '"ada"\n'
    assert (await run(app, "who")).stdout == '"anonymous"\n'


async def test_verbose_tells_of_the_run(app: nexus.Nexus) -> None:
    assert (await run(app, "add", "1", "--verbose")).stderr.startswith("add@1: succeeded, run ")


async def test_guards_see_the_call() -> None:
    class Refuse(nexus.abc.Guard):
        async def check(self, call: Call) -> None:
            assert call.request.caller.channel == "cli"
            raise nexus.PermissionDeniedError("not on Sundays")

    result = await run(nexus.create_nexus(nexus.NexusConfig(), guards=[Refuse()]), "anything")
    assert (result.exit_code, result.stderr) == (4, "Error: not on Sundays\n")


async def test_a_command_line_that_is_switched_off_refuses() -> None:
    app = nexus.create_nexus(nexus.NexusConfig().merge(channels={"cli": {"enabled": False}}))
    result = await run(app, "workflows.list")
    assert result.exit_code == 4
    assert "channels.cli.enabled" in result.stderr


async def test_words_for_python_values_mean_the_same(app: nexus.Nexus) -> None:
    inputs = {"stops": [Stop(city="Ulm", nights=2)], "limit": 3, "cheap": True, "tags": ["-a", "[b]"], "budget": None}
    operation = app.operation("plan_trip")
    assert operation is not None
    result = await run(app, "plan-trip", *nexus_click.to_argv(app, operation, inputs))
    assert json.loads(result.stdout) == {**inputs, "stops": [{"city": "Ulm", "nights": 2}], "colour": "red"}


def test_the_adapter_is_the_cli_channel(app: nexus.Nexus) -> None:
    assert isinstance(app.channel("cli"), nexus_click.CliChannel)


def test_the_adapter_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        nexus_click.other  # noqa: B018 - asking is the point
