"""A run that is listened to while it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from nexus.abc import Interaction
from nexus.exceptions import UnavailableError
from nexus.models import Answers, Event, Question, Response
from nexus.workflows.handle import output_of

if TYPE_CHECKING:
    # At run time only who streams has use for it.
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["RunStream", "Streaming", "streamed"]

LAST_WORDS_S: Final = 1.0
"""For how long a run that is cancelled waits until somebody takes what it tells."""


@attrs.define(eq=False, repr=False)
class Streaming(Interaction):
    """A caller that takes every event as it comes, and answers by another call, or not at all."""

    sender: MemoryObjectSendStream[Event]
    answers: Answers = Answers.NEVER
    follows = True

    async def tell(self, event: Event) -> None:
        """Wait until the event is taken; one that nobody takes any more is lost."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            try:
                await self.sender.send(event)
            except anyio.get_cancelled_exc_class():
                # Somebody else may have cancelled the run than who listens, to whom its clean-up tells this.
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    with anyio.move_on_after(LAST_WORDS_S, shield=True):
                        await self.sender.send(event)
                raise

    async def ask(self, question: Question) -> Any:
        """Nobody answers here."""
        raise UnavailableError(f"nobody can answer here; give `default=` (asked: {question.text!r})")


@attrs.define(eq=False, repr=False)
class RunStream:
    """
    The events of a run, for `async for`; they end with the run, or when it waits for an answer.

    Attributes:
        response: What became of it, once the events have ended.
    """

    _receiver: MemoryObjectReceiveStream[Event]
    response: Response | None = attrs.field(default=None, init=False)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._receiver.__aiter__()

    @property
    def result(self) -> Any:
        """
        The run's output.

        Raises:
            NexusError: Why it did not succeed.
            UnavailableError: It has not ended.
        """
        response = self.response
        if response is None:
            raise UnavailableError("the run has not ended; take its events to the end first")
        if response.error is not None:
            raise response.error
        return response.data if response.run is None else output_of(response.run)


@asynccontextmanager
async def streamed(
    dispatch: Callable[[Interaction], Awaitable[Response]], answers: Answers = Answers.NEVER
) -> AsyncIterator[RunStream]:
    """
    Dispatch a request beside the block, and hand its events to the block; leaving the block cancels what is not done.

    Args:
        dispatch: Carries the request out.
        answers: When the caller can answer a question; not `NOW`.
    """
    sender, receiver = anyio.create_memory_object_stream[Event](0)
    stream = RunStream(receiver)
    failure: Exception | None = None

    async def work() -> None:
        async with sender:
            stream.response = await dispatch(Streaming(sender, answers))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        try:
            yield stream
        except Exception as error:  # noqa: BLE001 - raised below: out of here it would be in an ExceptionGroup
            failure = error
        finally:
            # First, so that what the run still tells is lost, and holds nobody.
            receiver.close()
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
