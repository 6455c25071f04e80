"""How many runs go on at once, and how many wait for their turn."""

from __future__ import annotations

from collections import deque

import anyio
import attrs

from nexus.exceptions import ResourceExhaustedError

__all__ = ["Slots"]


@attrs.define(eq=False, repr=False)
class Slots:
    """
    A number of places, given in the order in which they are asked for.

    Attributes:
        what: Whose places they are, for messages.
        limit: How many there are.
        queue_size: How many may wait for one.
        taken: How many are in use.
    """

    what: str
    limit: int
    queue_size: int
    taken: int = 0
    _waiting: deque[anyio.Event] = attrs.field(factory=deque, init=False)

    def try_take(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.taken >= self.limit or self._waiting:
            return False
        self.taken += 1
        return True

    def require_room(self) -> None:
        """
        Let one more pass that could take a place, or wait for one.

        Raises:
            ResourceExhaustedError: Too many wait already.
        """
        if self.taken >= self.limit and len(self._waiting) >= self.queue_size:
            raise ResourceExhaustedError(
                f"{self.what}: {self.limit} runs go on at once, and {self.queue_size} more wait already; try again later"
            )

    async def take(self, *, again: bool = False) -> None:
        """
        Wait for a place, and take it.

        Args:
            again: It was here before, and gave its place back for a while; the queue is never too long for it.

        Raises:
            ResourceExhaustedError: Too many wait already.
        """
        if self.try_take():
            return
        if not again:
            self.require_room()
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Give a place back, to who has waited longest."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.taken -= 1
