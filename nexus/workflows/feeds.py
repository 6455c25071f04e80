"""What a run has told, for those who listen from elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import anyio
import attrs

from nexus.models import Event

__all__ = ["MOST_EVENTS", "Feed"]

MOST_EVENTS: Final = 1000


@attrs.define(eq=False)
class Feed:
    """
    The last events of a run, in order, numbered from 1 on; a listener that is too slow misses the oldest, and is told so.

    Attributes:
        count: How many there have been.
    """

    count: int = 0
    _kept: deque[Event] = attrs.field(factory=lambda: deque(maxlen=MOST_EVENTS), init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _changed: anyio.Event | None = attrs.field(default=None, init=False)

    def put(self, event: Event) -> None:
        """Add an event; who listens gets it."""
        self.count += 1
        self._kept.append(event)
        self._wake()

    def close(self) -> None:
        """There will be no more."""
        self._closed = True
        self._wake()

    async def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """
        Yield the events from number *after* + 1 on, until there are no more.

        Where some are kept no longer, `run.missed` says how many.
        """
        while True:
            first = self.count - len(self._kept) + 1
            if after + 1 < first:
                oldest = self._kept[0]
                missed = {"count": first - after - 1}
                after = first - 1
                yield attrs.evolve(oldest, id=f"{oldest.run_id}-{after}", type="run.missed", data=missed)
            elif after < self.count:
                event = self._kept[after + 1 - first]
                after += 1
                yield event
            elif self._closed:
                return
            else:
                if self._changed is None:
                    self._changed = anyio.Event()
                await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
