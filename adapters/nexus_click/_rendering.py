"""Results and errors as text and JSON: pure functions."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from nexus.exceptions import InvalidArgumentError, NexusError
from nexus_click._parsing import Invocation

# C0 but tab and newline, DEL, C1, and what turns the direction of writing round (CVE-2021-42574).
CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

EXIT_STATUS: Final = {
    "malformed_request": 2,
    "invalid_argument": 2,
    "payload_too_large": 2,
    "not_found": 3,
    "unauthenticated": 4,
    "permission_denied": 4,
    "conflict": 5,
    "resource_exhausted": 6,
    "unavailable": 6,
    "deadline_exceeded": 7,
    "failed": 1,
    "internal": 70,
    "cancelled": 130,
}
"""What the process ends with, by the code of the error."""


def clean(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return CONTROL.sub("", text)


def as_text(value: Any) -> str:
    """
    Render a result for people: tables, aligned keys, one item a line.

    Args:
        value: JSON value.
    """
    return "\n".join(_lines(value))


def error_lines(error: NexusError, invocation: Invocation) -> list[str]:
    """Render an error for people, each wrong argument under the name it has on the command line."""
    if not isinstance(error, InvalidArgumentError) or not error.problems:
        return [f"Error: {clean(error.message)}"]
    lines = [f"Error: the arguments of {invocation.operation!r} don't fit:"]
    for problem in error.problems:
        spelling = invocation.spelling(problem)
        place = f"{spelling} ({problem.pointer}): " if spelling else ""
        lines.append(clean(f"  {place}{problem.message}"))
    return lines


def _lines(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        return _aligned(value) if value else ["(empty)"]
    if isinstance(value, list):
        return _listed(value) if value else ["(empty)"]
    return [] if value is None else _scalar(value).split("\n")


def _aligned(record: Mapping[str, Any]) -> Iterable[str]:
    width = max(_width(clean(key)) for key in record)
    for key, value in record.items():
        name = clean(key)
        if isinstance(value, dict | list) and value:
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(value))
        else:
            first, *rest = _scalar(value).split("\n")
            yield f"{name}:{' ' * (width - _width(name))} {first}".rstrip()
            yield from (f"{' ' * (width + 2)}{line}" for line in rest)


def _listed(items: Sequence[Any]) -> Iterable[str]:
    if all(isinstance(item, dict) and item for item in items):
        yield from table(items)
    else:
        yield from (_cell(item) for item in items)


def table(records: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Render records under a header of all their keys; numbers stand to the right."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    rows = [[_cell(record.get(key)) for key in keys] for record in records]
    headers = [clean(key) for key in keys]
    widths = [max(map(_width, column)) for column in zip(headers, *rows, strict=True)]
    right = [all(_is_number(record.get(key)) for record in records) for key in keys]
    for row in (headers, *rows):
        yield "  ".join(_padded(*cell) for cell in zip(row, widths, right, strict=True)).rstrip()


def _padded(text: str, width: int, right: bool) -> str:  # noqa: FBT001 - a column of a table, zipped
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    return _scalar(value).replace("\n", " ")


def _scalar(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
