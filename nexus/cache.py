"""A cache in memory: bounded, gone with the process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import attrs
import cachetools

from nexus.abc import Cache
from nexus.models import MISSING, Missing

__all__ = ["MemoryCache"]


@attrs.frozen
class Kept:
    """An entry."""

    value: bytes
    expires_at: datetime | None
    tags: tuple[str, ...]
    size: int


class Entries(cachetools.LRUCache[str, Kept]):
    """Entries by key, and the keys of each tag; the one that was not used for longest makes room."""

    def __init__(self, size: int) -> None:
        super().__init__(size, getsizeof=lambda kept: kept.size)
        self.tagged: dict[str, set[str]] = {}

    def __setitem__(self, key: str, kept: Kept, *args: Any, **options: Any) -> None:
        self.pop(key, None)
        super().__setitem__(key, kept, *args, **options)
        for tag in kept.tags:
            self.tagged.setdefault(tag, set()).add(key)

    def __delitem__(self, key: str, *args: Any, **options: Any) -> None:
        tags = self[key].tags
        super().__delitem__(key, *args, **options)
        for tag in tags:
            keys = self.tagged[tag]
            keys.discard(key)
            if not keys:
                del self.tagged[tag]


@attrs.define(eq=False, repr=False)
class MemoryCache(Cache):
    """
    Keep bytes in memory; what was not used for longest makes room.

    Args:
        max_entries: At most this many.
        max_bytes: Keys, values and tags together; a longer one is not kept.
    """

    max_entries: int = 1000
    max_bytes: int = 64_000_000
    _entries: Entries = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._entries = Entries(self.max_bytes)

    async def get(self, key: str, *, now: datetime) -> tuple[bytes, datetime | None] | Missing:
        """See `Cache.get`."""
        kept = self._entries.get(key)
        if kept is None:
            return MISSING
        if kept.expires_at is not None and kept.expires_at <= now:
            del self._entries[key]
            return MISSING
        return kept.value, kept.expires_at

    async def set(self, key: str, value: bytes, *, expires_at: datetime | None, tags: Sequence[str] = ()) -> None:
        """See `Cache.set`."""
        kept = Kept(value, expires_at, tuple(dict.fromkeys(tags)), len(key) + len(value) + sum(map(len, tags)))
        with suppress(ValueError):  # longer than all that may be kept
            self._entries[key] = kept
        while len(self._entries) > self.max_entries:
            self._entries.popitem()

    async def discard(self, key: str) -> None:
        """See `Cache.discard`."""
        self._entries.pop(key, None)

    async def discard_tag(self, tag: str) -> None:
        """See `Cache.discard_tag`."""
        for key in list(self._entries.tagged.get(tag, ())):
            del self._entries[key]
