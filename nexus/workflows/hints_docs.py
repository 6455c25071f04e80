"""What docstrings say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import attrs

__all__ = ["Description", "describe", "described"]


@attrs.frozen
class Description:
    """
    What a docstring says.

    Attributes:
        summary: The first line.
        description: The rest, without sections; Markdown.
        parameters: What it says of each.
    """

    summary: str = ""
    description: str = ""
    parameters: Mapping[str, str] = attrs.field(factory=dict)


NOTHING = Description()


@lru_cache(maxsize=1)
def _parser() -> ModuleType:
    import docstring_parser  # noqa: PLC0415 - only for a docstring with sections; it costs the start of the command line 10 ms

    return docstring_parser


def described(text: str | None) -> Description:
    """Take a docstring apart: Google, NumPy, reST or Epydoc style."""
    if not text or not text.strip():
        return NOTHING
    text = inspect.cleandoc(text)
    if "\n" not in text:
        return Description(summary=text)
    parsed = _parser().parse(text)
    return Description(
        summary=(parsed.short_description or "").strip(),
        description=(parsed.long_description or "").strip(),
        parameters={p.arg_name: " ".join((p.description or "").split()) for p in parsed.params},
    )


def describe(function: Any) -> Description:
    """Return what the function's docstring says."""
    return described(getattr(function, "__doc__", None))
