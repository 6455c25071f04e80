"""Ids that nobody can guess: 128 random bits of the operating system's, in hexadecimal."""

from __future__ import annotations

import os
from collections import deque

__all__ = ["new_id"]

AT_ONCE = 256
BYTES = 16

# Asked for one at a time, an id costs three times as much as one of many.
_kept: deque[str] = deque()


def new_id() -> str:
    """Return an id of 32 hexadecimal digits; each is given once, to any thread."""
    try:
        return _kept.popleft()
    except IndexError:
        drawn = os.urandom(AT_ONCE * BYTES).hex()
        ids = [drawn[start : start + 2 * BYTES] for start in range(0, len(drawn), 2 * BYTES)]
        _kept.extend(ids[1:])
        return ids[0]


if hasattr(os, "register_at_fork"):
    # Else both processes would give the same ones.
    os.register_at_fork(after_in_child=_kept.clear)
