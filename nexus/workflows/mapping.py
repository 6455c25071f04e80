"""A workflow run once for each row of inputs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from operator import length_hint
from typing import Any, Final, get_args

import anyio
import anyio.lowlevel
import attrs

from nexus.exceptions import InvalidArgumentError, WorkflowNotFoundError
from nexus.models import Response
from nexus.workflows.handle import output_of
from nexus.workflows.lanes import Lanes
from nexus.workflows.steps import OnError, StepFailure

__all__ = ["Rows", "map_rows"]

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

END: Final = object()


async def map_rows(
    run: Callable[[Mapping[str, Any]], Awaitable[Response]], rows: Rows, *, limit: int, on_error: OnError
) -> list[Any]:
    """
    Run a workflow for each row, and return the outputs in the order of the rows; see `Nexus.map`.

    Args:
        run: Runs the workflow with a row as its inputs.
        rows: Taken one by one, once there is a place for the next.
        limit: At most this many runs at once.
        on_error: What a row that fails does to the others.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit={limit!r} says how many rows run at once; use 1 or more")
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error={on_error!r}: use one of {', '.join(map(repr, get_args(OnError)))}")
    mapping = RowMapping(run, limit, on_error)
    if isinstance(rows, AsyncIterable):
        await mapping.carry_out_async(rows)
    else:
        await mapping.carry_out(rows)
    return [mapping.outputs[number] for number in sorted(mapping.outputs)]


@attrs.define(eq=False, repr=False)
class RowMapping:
    """
    The rows of one call.

    Attributes:
        outputs: By number of the row.
    """

    run: Callable[[Mapping[str, Any]], Awaitable[Response]]
    limit: int
    on_error: OnError
    outputs: dict[int, Any] = attrs.field(factory=dict, init=False)

    async def carry_out(self, rows: Iterable[Any]) -> None:
        """Run rows on lanes, each of which takes the next."""
        lanes = max(1, min(self.limit, length_hint(rows, self.limit)))
        numbered = enumerate(rows)

        async def lane(_number: int) -> None:
            for number, row in numbered:
                await self._carry_out_row(number, row)
                # Workflows that wait for nothing would never let go of the event loop.
                await anyio.lowlevel.checkpoint()

        await Lanes(range(lanes), lanes).run(lane)

    async def carry_out_async(self, rows: AsyncIterable[Any]) -> None:
        """Run rows in a task each: they are taken by this one alone, for they may hold cancel scopes of the task that does."""
        places = anyio.Semaphore(self.limit, fast_acquire=True)
        failures: list[Exception] = []
        async with anyio.create_task_group() as group:

            def stop(error: Exception) -> None:
                failures.append(error)
                group.cancel_scope.cancel()

            async def carry_out(number: int, row: Any) -> None:
                try:
                    await self._carry_out_row(number, row)
                except Exception as error:  # noqa: BLE001 - kept, and raised below
                    stop(error)
                finally:
                    places.release()

            try:
                # Without a scope of our own around it, for the generator's may be open.
                closing: AbstractAsyncContextManager[Any] = aclosing(rows) if inspect.isasyncgen(rows) else nullcontext()
                async with closing:
                    taking, numbers = aiter(rows), itertools.count()
                    await places.acquire()
                    while (row := await anext(taking, END)) is not END:
                        group.start_soon(carry_out, next(numbers), row)
                        await places.acquire()
            except Exception as error:  # noqa: BLE001 - as above
                stop(error)
        if failures:
            raise failures[0]

    async def _carry_out_row(self, number: int, row: Any) -> None:
        response = await self.run(row) if isinstance(row, Mapping) else _refused(number, row)
        error = response.error
        if error is None:
            if response.run is None:
                raise WorkflowNotFoundError("rows are inputs of a workflow, and this is an operation; use dispatch")
            self.outputs[number] = output_of(response.run)
            return
        # What never became a run, though its inputs are right, fails for the other rows too.
        if self.on_error == "fail" or (response.run is None and not isinstance(error, InvalidArgumentError)):
            error.add_note(f"row {number} of the rows that were mapped")
            raise error
        if self.on_error == "collect":
            self.outputs[number] = StepFailure(number, error.code, error.message)


def _refused(number: int, row: object) -> Response:
    message = f"row {number} is {type(row).__name__}, not a mapping of inputs by name"
    return Response(request_id="", error=InvalidArgumentError(message))
