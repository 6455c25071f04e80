"""A caller for tests: one application, any of its channels, in the same process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Literal, Self

import attrs

from nexus._gateway import Nexus
from nexus.exceptions import CancelledError, NotFoundError, WorkflowNotFoundError
from nexus.models import Event, Principal, RunRecord, StepRecord
from nexus.testing import assertions
from nexus.testing.answers import Script
from nexus.testing.api import ApiWire
from nexus.testing.cli import CliWire
from nexus.testing.inprocess import InprocessWire
from nexus.testing.mcp import McpWire
from nexus.testing.recording import Recorder
from nexus.testing.submitted import Submitted
from nexus.testing.wires import Wire
from nexus.workflows.definition import Workflow

__all__ = ["Client"]

WIRES: Final[Mapping[str, type[Wire]]] = {"inprocess": InprocessWire, "api": ApiWire, "cli": CliWire, "mcp": McpWire}


@attrs.define(eq=False, init=False)
class Client:
    """
    Calls an application the whole way of a request: identity, guards, arguments, run, log, and the messages of a channel.

        async with Client(app, channel="api", principal="ada", answers={"keep": True}) as client:
            summary = await client.execute("process_data", file="data/seattle-weather.csv")
            client.assert_event("run.progress", done=3)

    The application is started if it is not, and then stopped afterwards. Whatever the channel, an error is a `NexusError` with
    the same code, message and details. What differs is what differs for real callers: in-process, outputs are Python values, on
    the other channels they are what JSON makes of them; in-process and on the command line paths are used as they are, on the
    other channels they are below `files_root`.

    Args:
        app: The application.
        channel: Which channel carries the calls, with its real messages: `api` HTTP requests without a server, `cli` command
            lines without a process, `mcp` the official client's in memory. All but `inprocess` need their adapter. For a
            channel of your own, a subclass of `nexus.testing.Wire`.
        principal: Who is asking: a `Principal`, or the id of one; None is nobody in particular.
        answers: To the questions of runs, by name or by text: a value; a list of values for one time after the other (the answer
            itself where the question is for a list); a function of the `Question`; or `DECLINE`. None: nobody can answer. A
            question that has no answer here is an AssertionError.
    """

    _app: Nexus
    _recorder: Recorder
    _wire: Wire
    _script: Script | None
    _stack: AsyncExitStack

    def __init__(
        self,
        app: Nexus,
        *,
        channel: Literal["inprocess", "api", "cli", "mcp"] | type[Wire] = "inprocess",
        principal: Principal | str | None = None,
        answers: Mapping[str, Any] | None = None,
    ) -> None:
        wire = WIRES.get(channel) if isinstance(channel, str) else channel
        if wire is None:
            raise ValueError(f"there is no client for channel {channel!r}; use one of: {', '.join(WIRES)}, or a subclass of Wire")
        self._app = app
        self._recorder = Recorder(app)
        self._script = None if answers is None else Script(answers, app.to_builtins)
        caller = Principal(id=principal) if isinstance(principal, str) else principal
        self._wire = wire(self._recorder, caller, self._script)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the application if it is not, and connect."""
        stack = AsyncExitStack()
        try:
            if not self._app.started:
                await stack.enter_async_context(self._app)
            await self._wire.start(stack)
        except BaseException:
            # Told of the error, a task group of a channel would wrap it in an ExceptionGroup; so in `__aexit__`.
            await stack.aclose()
            raise
        self._stack = stack
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect, and stop the application if this has started it."""
        await self._stack.aclose()

    async def execute(self, workflow: str | Callable[..., Any] | Workflow, /, **inputs: Any) -> Any:
        """
        Carry out a workflow, and return its output: a Python value in-process, else what JSON makes of it.

        Args:
            workflow: Its name, `name@version`, or what was registered.
            inputs: By name; Python values or JSON values.

        Raises:
            NexusError: Why it did not succeed; a workflow that raised is `WorkflowFailedError`, in-process with what it raised as
                `__cause__`.
            AssertionError: It asked what has no answer in `answers`.
        """
        self._recorder.clear()
        return await self._answered(self._wire.execute(self._name_of(workflow), inputs))

    async def execute_json(self, workflow: str | Callable[..., Any] | Workflow, /, **inputs: Any) -> Any:
        """Carry out a workflow, and return its output as dict, list, str, int, float, bool and None, whatever the channel."""
        return self._app.to_builtins(await self.execute(workflow, **inputs))

    async def submit(self, workflow: str | Callable[..., Any] | Workflow, /, **inputs: Any) -> Submitted:
        """
        Start a run without waiting for it, and return a handle of it; in-process and on the API.

        Args:
            workflow: Its name, `name@version`, or what was registered.
            inputs: By name; Python values or JSON values.

        Raises:
            NexusError: It could not be started.
            TypeError: On this channel nothing can be submitted.
        """
        self._recorder.clear()
        run_id = await self._answered(self._wire.submit(self._name_of(workflow), inputs))
        return Submitted(run_id, self._wire, self._answered, self._app.executor.runtime)

    async def call(self, operation: str, /, **arguments: Any) -> Any:
        """
        Carry out a built-in operation, `runs.get` or `workflows.list`, and return its data.

        Args:
            operation: Its name.
            arguments: By name.

        Raises:
            NexusError: Why it did not succeed.
        """
        self._recorder.clear()
        return await self._wire.call(operation, arguments)

    @property
    def events(self) -> Sequence[Event]:
        """What the last call's run told its caller, in order: `run.progress`, `run.log`."""
        return tuple(self._recorder.events)

    @property
    def last_run(self) -> RunRecord:
        """
        The record of the run of the last call.

        Raises:
            AssertionError: It had none: nothing was called, or the call was refused before it became a run.
        """
        if self._recorder.run is None:
            raise AssertionError("there was no run: nothing was called yet, or the call was refused before it became one")
        return self._recorder.run

    @property
    def steps(self) -> Sequence[StepRecord]:
        """What became of each step of the last call's run, in the order in which they ended."""
        return self.last_run.steps

    def assert_event(self, type_: str, /, **data: Any) -> Event:
        """
        Check that the last call's run told such an event, and return the first.

        Args:
            type_: `run.progress`, `run.log`.
            data: What is among the event's data.

        Raises:
            AssertionError: It told none; the text shows what it told.
        """
        return assertions.event_among(self.events, type_, data)

    def assert_steps(self, *names: str, in_order: bool = False) -> None:
        """
        Check that these steps of the last call's run succeeded, and no others were run; `each` counts as one step.

        Args:
            names: Of steps; `rank` stands for `rank[0]`, `rank[1]` … too.
            in_order: They also ended in this order.

        Raises:
            AssertionError: Others were run, or one did not succeed; the text shows what became of them.
        """
        assertions.steps_are(self.steps, names, in_order=in_order)

    def _name_of(self, workflow: str | Callable[..., Any] | Workflow) -> str:
        return workflow if isinstance(workflow, str) else self._app.catalogue.reference_of(workflow)

    async def _answered(self, outcome: Any) -> Any:
        """Return the outcome; a question without an answer matters more than how the run took it."""
        if self._script is not None:
            self._script.unanswered = None
        try:
            return await outcome
        except NotFoundError as error:
            if self._recorder.run is None and not isinstance(error, WorkflowNotFoundError):
                raise WorkflowNotFoundError(error.message, **error.details) from error
            raise
        except CancelledError as error:
            if self._script is not None and self._script.unanswered is not None:
                raise AssertionError(self._script.unanswered) from error
            raise
