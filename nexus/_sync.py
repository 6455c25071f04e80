"""The same for code without an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Literal

import anyio
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from nexus._gateway import Nexus
from nexus.models import ExecutionResult, Principal, Request, Response, RunRecord
from nexus.workflows.definition import Workflow
from nexus.workflows.handle import RunHandle
from nexus.workflows.steps import OnError

__all__ = ["BlockingNexus", "BlockingRunHandle", "sync"]

END: Final = object()


@attrs.define(eq=False, repr=False)
class BlockingRunHandle:
    """`RunHandle` without `await`."""

    _portal: BlockingPortal
    _handle: RunHandle

    @property
    def id(self) -> str:
        """The run's id."""
        return self._handle.id

    def status(self) -> RunRecord:
        """See `RunHandle.status`."""
        return self._portal.call(self._handle.status)

    def result(self) -> Any:
        """See `RunHandle.result`."""
        return self._portal.call(self._handle.result)

    def answer(self, answer: Any, question: str | None = None, *, principal: Principal | None = None) -> RunRecord:
        """See `RunHandle.answer`."""
        return self._portal.call(partial(self._handle.answer, answer, question, principal=principal))

    def cancel(self) -> RunRecord:
        """See `RunHandle.cancel`."""
        return self._portal.call(self._handle.cancel)

    def retry(self) -> BlockingRunHandle:
        """See `RunHandle.retry`."""
        return BlockingRunHandle(self._portal, self._portal.call(self._handle.retry))


@attrs.define(eq=False, repr=False)
class RowsOfThread(AsyncIterator[Mapping[str, Any]]):
    """Rows that the event loop asks for one by one, and another thread takes: they may be bound to it, or block."""

    _portal: BlockingPortal
    _rows: Iterator[Mapping[str, Any]]
    _wanted: SimpleQueue[Literal["more", "end"]] = attrs.field(factory=SimpleQueue, init=False)
    _row: Any = attrs.field(default=None, init=False)
    _came: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    async def __anext__(self) -> Mapping[str, Any]:
        self._came = anyio.Event()
        self._wanted.put("more")
        await self._came.wait()
        if self._row is END:
            raise StopAsyncIteration
        row: Mapping[str, Any] = self._row
        return row

    def serve(self) -> None:
        """Take rows, in the thread that calls this, until no more are asked for."""
        while self._wanted.get() == "more":
            self._row = next(self._rows, END)
            self._portal.call(self._came.set)

    def end(self) -> None:
        """Ask for no more."""
        self._wanted.put("end")

    def await_end(self) -> None:
        """Take no more rows, and wait until no more are asked for."""
        while self._wanted.get() == "more":
            pass


@attrs.define(eq=False, repr=False)
class BlockingNexus:
    """An application that is started, for code without an event loop; may be used from any thread but the loop's own."""

    app: Nexus
    _portal: BlockingPortal

    def execute_workflow(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        principal: Principal | None = None,
        timeout: float | timedelta | None = None,
    ) -> ExecutionResult[Any]:
        """See `Nexus.execute_workflow`."""
        return self._portal.call(
            partial(self.app.execute_workflow, workflow, inputs, principal=principal, timeout=timeout),
        )

    def submit_workflow(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        principal: Principal | None = None,
    ) -> BlockingRunHandle:
        """See `Nexus.submit_workflow`."""
        handle = self._portal.call(partial(self.app.submit_workflow, workflow, inputs, principal=principal))
        return BlockingRunHandle(self._portal, handle)

    def map(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        rows: Iterable[Mapping[str, Any]],
        /,
        *,
        limit: int = 16,
        on_error: OnError = "fail",
        principal: Principal | None = None,
    ) -> list[Any]:
        """See `Nexus.map`; the rows are taken in the thread that calls this."""
        taken = RowsOfThread(self._portal, iter(rows))

        async def map_rows() -> list[Any]:
            try:
                return await self.app.map(workflow, taken, limit=limit, on_error=on_error, principal=principal)
            finally:
                taken.end()

        mapped: Future[list[Any]] = self._portal.start_task_soon(map_rows)
        try:
            taken.serve()
        except BaseException:
            mapped.cancel()
            taken.await_end()
            raise
        return mapped.result()

    def dispatch(self, request: Request) -> Response:
        """See `Nexus.dispatch`."""
        response: Response = self._portal.call(partial(self.app.dispatch, request))
        return response


@contextmanager
def sync(app: Nexus, *, backend: str = "asyncio") -> Iterator[BlockingNexus]:
    """
    Start an application on an event loop of its own, in a thread, for code without one.

    `with nexus.sync(app) as desk: desk.execute_workflow("process_data", {...})`.

    Args:
        app: The application; not started elsewhere.
        backend: `asyncio` or `trio`.
    """
    with start_blocking_portal(backend) as portal, portal.wrap_async_context_manager(app):
        yield BlockingNexus(app, portal)
