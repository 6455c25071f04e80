"""The parity table once more, on the command line of a server: words here, a run there, over a real connection."""

from __future__ import annotations

import io
import json
from collections import UserDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest

from nexus import Nexus
from nexus.config import NexusConfig
from nexus.models import Question
from nexus.testing import Client, Wire, error_of
from nexus.testing.answers import Script
from nexus.testing.recording import Recorder
from nexus_click import CliChannel, to_argv
from nexus_click._commands import OperationGroup, parse_command_line
from nexus_click._terminal import Terminal
from nexus_client import HttpGateway
from nexus_starlette import ApiChannel
from tests.parity_desk import SECRET, parity_desk
from tests.remote_server import listening_to
from tests.test_parity import TABLE, Outcome, Row, outcome_of

pytestmark = pytest.mark.anyio

# What shows is for the API to say, what can be written for the command line.
ROWS = [row for row in TABLE if "api" not in row.not_on and ("cli" not in row.not_on or row.workflow == "only_on_api")]


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn is asyncio only."""
    return "asyncio"


class AnswersByName(UserDict[str, Any]):
    """The script as the mapping that the command line takes."""

    def __init__(self, script: Script, asked: dict[str, Question]) -> None:
        self.data = asked
        self._script = script

    def __getitem__(self, name: str) -> Any:
        return self._script.answer(self.data[name])


@attrs.define(eq=False)
class RemoteCliWire(Wire):
    """The words of a command line, carried out by a server that knows who is asking."""

    _url: str = attrs.field(default="", init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Serve, on any free port."""
        channel = ApiChannel(self.recorder, self.recorder.app.config)
        await channel.start(exit_stack)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await channel({**scope, "nexus.principal": self.principal}, receive, send)

        self._url = await exit_stack.enter_async_context(listening_to(application))

    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """Make a command line, and read what it prints."""
        terminal = Terminal(stdin=io.StringIO(), stdout=io.StringIO(), stderr=io.StringIO())
        name, at, version = workflow.partition("@")
        gateway = HttpGateway(self._url)
        seen = Recorder(gateway)
        channel = CliChannel(seen, NexusConfig())
        async with gateway:
            await gateway.learn(workflow)
            words = to_argv(gateway, self.operation(workflow), self.recorder.to_builtins(dict(inputs)))
            argv = ["--format", "json", f"{name.replace('_', '-')}{at}{version}", *words]
            invocation = parse_command_line(OperationGroup(gateway, remote=True), argv, program="nexus", terminal=terminal)
            answers = None if self.script is None else AnswersByName(self.script, seen.asked)
            response = await channel.call(invocation, channel.interaction(invocation, terminal, answers=answers))
        if channel.show(response, invocation, terminal) == 0:
            return json.loads(terminal.stdout.getvalue())  # type: ignore[attr-defined]
        raise error_of(json.loads(terminal.stderr.getvalue().rstrip("\n").rpartition("\n")[2]))  # type: ignore[attr-defined]

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Words know no difference."""
        return await self.execute(operation, arguments)


@pytest.fixture(scope="module")
def desk() -> Nexus:
    return parity_desk()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_the_command_line_of_a_server_has_the_same_outcome(row: Row, desk: Nexus) -> None:
    async with Client(desk, channel=RemoteCliWire, principal=row.principal, answers=row.answers) as client:
        outcome = await outcome_of(client, row)
    assert outcome == Outcome(output=row.output, code=row.code, problems=row.problems, details=row.details)
    assert row.says in outcome.message
    assert SECRET not in repr(outcome)
