"""What a run has told, for those who listen from elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final

import anyio
import attrs

from nexus.models import Event, RunRecord

__all__ = ["MOST_EVENTS", "Feed"]

MOST_EVENTS: Final = 1000

Note = tuple[int, str, Mapping[str, Any], datetime]
"""Number, type, data and time of an event that nobody may ever look at."""


@attrs.define(eq=False, repr=False)
class Feed:
    """
    The last events of a run, in order, numbered from 1 on; a listener that is too slow misses the oldest, and is told so.

    Attributes:
        record: The run's, as it began.
        count: How many there have been.
    """

    record: RunRecord
    count: int = 0
    _kept: deque[Event | Note] = attrs.field(factory=lambda: deque(maxlen=MOST_EVENTS), init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _changed: anyio.Event | None = attrs.field(default=None, init=False)

    def put(self, event: Event | Note) -> None:
        """Add an event, or what one is made of when somebody listens."""
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
                missed = {"count": first - after - 1}
                after = first - 1
                yield self.record.event(after, "run.missed", missed, time=_time_of(self._kept[0]))
            elif after < self.count:
                event = self._kept[after + 1 - first]
                after += 1
                yield event if isinstance(event, Event) else self.record.event(*event[:3], time=event[3])
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


def _time_of(event: Event | Note) -> datetime:
    return event.time if isinstance(event, Event) else event[3]
