"""Tasks that share a queue of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio

__all__ = ["Lanes"]


class Lanes:
    """
    Tasks that take work from a queue; made only while more is ready than those can do that exist.

    While one works that never waits, another could do nothing: so that as many again are made only once all have begun.

    The first failure cancels the others and is raised alone, no group around it.
    """

    def __init__(self, ready: Sequence[int], limit: int) -> None:
        self.ready = deque(ready)
        self.limit = limit
        self._open = 0
        self._starting = 0
        self._failure: BaseException | None = None

    async def run(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Call *work* with all that is ready, and with what becomes ready, until nothing is left."""
        async with anyio.create_task_group() as group:

            async def lane() -> None:
                self._starting -= 1
                try:
                    while self.ready:
                        index = self.ready.popleft()
                        if not self._starting and self.ready:
                            start(min(self._open, self.limit - self._open, len(self.ready)))
                        await work(index)
                except Exception as error:  # noqa: BLE001 - kept, and raised below
                    if self._failure is None:
                        self._failure = error
                        group.cancel_scope.cancel()
                finally:
                    self._open -= 1

            def start(number: int) -> None:
                self._open += number
                self._starting += number
                for _ in range(number):
                    group.start_soon(lane)

            self._open += 1
            self._starting += 1
            await lane()
            # What became ready while this task was a lane is the other lanes' to finish; the group waits for them.
        if self._failure is not None:
            raise self._failure
