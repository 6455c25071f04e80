"""The same for code without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from nexus._gateway import Nexus
from nexus.models import ExecutionResult, Principal, Request, Response, RunRecord
from nexus.workflows.definition import Workflow
from nexus.workflows.handle import RunHandle

__all__ = ["BlockingNexus", "BlockingRunHandle", "sync"]


@attrs.define(eq=False)
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

    def answer(self, answer: Any, question: str | None = None) -> RunRecord:
        """See `RunHandle.answer`."""
        return self._portal.call(partial(self._handle.answer, answer, question))

    def cancel(self) -> RunRecord:
        """See `RunHandle.cancel`."""
        return self._portal.call(self._handle.cancel)


@attrs.define(eq=False)
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
