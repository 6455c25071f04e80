"""A run's steps and their timings as a Mermaid Gantt chart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["gantt_of"]

Step = Mapping[str, Any]

SINGLE: Final = "Steps"
"""The section of steps that are no items of a fan-out; its capital keeps it apart from one that is called so."""

TAGS: Final[Mapping[str, str]] = {"failed": "crit, ", "cancelled": "done, ", "skipped": "done, "}
ODD: Final = re.compile(r"[^\w\[\].@-]", re.ASCII)
# What the grammar takes for a statement of its own at the beginning of a line, in any case of letters.
KEYWORD: Final = re.compile(
    r"(accDescr|accTitle|axisFormat|call|click|dateFormat|excludes|gantt|href|includes|inclusiveEndDates|section|tickInterval"
    r"|title|todayMarker|topAxis|weekday|weekend)\b",
    re.ASCII | re.IGNORECASE,
)


def gantt_of(title: str, steps: Iterable[Step]) -> str:
    """
    Return the chart, its axis in milliseconds since the run was started.

    Steps that failed are `crit`, those that were cancelled or skipped `done`. The items of a fan-out have a section of their own.
    A bar is at least a millisecond long, the shortest that Mermaid draws.

    Args:
        title: What was run.
        steps: As `RunRecord.view` shows them, in any order; drawn in the order in which they started.
    """
    lines = ["gantt", f"    title {_escaped(title)}", "    dateFormat x", "    axisFormat %Q ms", "    todayMarker off"]
    for section, members in _sections(steps).items():
        lines.append(f"    section {_escaped(section)}")
        lines += [f"    {_task(step)}" for step in members]
    return "\n".join(lines) + "\n"


def _sections(steps: Iterable[Step]) -> dict[str, list[Step]]:
    sections: dict[str, list[Step]] = {}
    for step in sorted(steps, key=lambda step: (step["started"], step["ended"])):
        name, bracket, _ = step["name"].partition("[")
        sections.setdefault(name if bracket else SINGLE, []).append(step)
    return sections


def _task(step: Step) -> str:
    begin = round(1000 * step["started"])
    length = max(1, round(1000 * step["ended"]) - begin)
    return f"{_escaped(step['name'])} :{TAGS.get(step['status'], '')}{begin}, {length}ms"


def _escaped(text: str) -> str:
    """Return the text with entity codes for what Mermaid would read as its own; they are shown as the characters again."""
    safe = ODD.sub(lambda found: f"#{ord(found[0])};", text or "-")
    return f"#{ord(safe[0])};{safe[1:]}" if KEYWORD.match(safe) else safe
