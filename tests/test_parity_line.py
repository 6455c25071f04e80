"""The parity table once more, on a channel of one's own: the line protocol among the examples, over TCP."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import anyio
import attrs
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from nexus import Nexus, NexusError
from nexus.testing import Client, Wire, error_of
from tests.parity_desk import parity_desk
from tests.test_parity import TABLE, Outcome, Row, outcome_of

pytestmark = [pytest.mark.anyio, pytest.mark.checkout]

ROWS = [
    row for row in TABLE if row.answers is None and row.principal is None and row.workflow != "only_on_api"
]  # a line says neither who sends it nor what it answers


@attrs.define(eq=False)
class LineWire(Wire):
    """`name {json}` out, a line of JSON back."""

    _port: int = attrs.field(default=0, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Serve, on any free port."""
        channel = importlib.import_module("examples.line_protocol.channel").LineChannel(
            self.recorder, self.recorder.config, port=0
        )
        await channel.start(exit_stack)
        self._port = channel.port

    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """Send a line, and read one."""
        line = f"{workflow} {json.dumps(self.recorder.to_builtins(dict(inputs)))}\n"
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            await stream.send(line.encode())
            answer = json.loads(await BufferedByteReceiveStream(stream).receive_until(b"\n", 65_536))
        if "error" in answer:
            raise error_of(answer["error"])
        return answer["result"]

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Lines know no difference."""
        return await self.execute(operation, arguments)


@pytest.fixture(scope="module")
def desk() -> Nexus:
    return parity_desk()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_a_channel_of_ones_own_has_the_same_outcome(row: Row, desk: Nexus) -> None:
    async with Client(desk, channel=LineWire) as client:
        outcome = await outcome_of(client, row)
    assert outcome == Outcome(output=row.output, code=row.code, problems=row.problems, details=row.details)


async def test_what_shows_on_another_channel_only_is_not_found(desk: Nexus) -> None:
    async with Client(desk, channel=LineWire) as client:
        with pytest.raises(NexusError, match="there is no operation 'only_on_api'"):
            await client.execute("only_on_api")
