"""Values in messages."""

from __future__ import annotations

import reprlib
from typing import Any, Final

__all__ = ["LONGEST", "listed", "shorten"]

LONGEST: Final = 60

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = LONGEST
_short.maxlevel = 3
_JSON: Final = {None: "null", True: "true", False: "false"}


def shorten(value: Any) -> str:
    """Return the value as a message shows it, in at most `LONGEST` characters."""
    if value is None or isinstance(value, bool):
        return _JSON[value]
    try:
        text = _short.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a very large number"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def listed(words: list[str], *, last: str = "or") -> str:
    """Return `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
