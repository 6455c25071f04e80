"""What notebooks show of values: HTML that needs nothing from elsewhere, in the colours of the page around it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

__all__ = ["escaped", "framed", "result_html", "run_html"]

MOST_STEPS: Final = 200
COLOURS: Final[Mapping[str, str]] = {"succeeded": "#2e8b57", "failed": "#cd3c3c"}
OTHER_COLOUR: Final = "#808080"
SPECIAL: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
CELL: Final = "text-align:left;padding:1px 8px;white-space:nowrap"

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = 400
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = _short.maxfrozenset = 20
_short.maxlevel = 4


def escaped(text: object) -> str:
    """Return the text as HTML, good between tags and in quoted attributes."""
    return str(text).translate(SPECIAL)


def framed(heading: str, *parts: str) -> str:
    """
    Return a heading with HTML below it.

    Args:
        heading: Plain text.
        parts: HTML.
    """
    return f'<div style="font-family:sans-serif;font-size:13px"><b>{escaped(heading)}</b>{"".join(parts)}</div>'


def run_html(view: Mapping[str, Any]) -> str:
    """
    Return a run: how it ended, its questions, and its steps as a table with bars.

    Args:
        view: What `RunRecord.view` gives, so that nothing is shown that channels hide.
    """
    error = view.get("error")
    said = [("run", view["run_id"]), ("status", view["status"]), ("started by", f"{view['principal']} on {view['channel']}")]
    said += [("created", view["created_at"].isoformat())]
    if view["execution_time"] is not None:
        said.append(("took", milliseconds(view["execution_time"])))
    if error is not None:
        said.append(("error", f"{error['code']}: {error['message']}"))
    said += [("asks", f"{question['name']}: {question['text']}") for question in view["questions"]]
    if "results" in view:
        said.append(("results", _short.repr(view["results"])))
    return framed(f"{view['workflow']}@{view['workflow_version']}", _facts(said), _steps(view["steps"], view["execution_time"]))


def result_html(*, run_id: str, results: Any, execution_time: float, workflow_version: str) -> str:
    """Return what `execute_workflow` gave."""
    said = [("run", run_id), ("version", workflow_version), ("took", milliseconds(execution_time))]
    return framed("Result", _facts([*said, ("results", _short.repr(results))]))


def milliseconds(seconds: float) -> str:
    """Return a duration for people: `1,234 ms`, `0.05 ms`."""
    exact = 1000 * seconds
    return f"{exact:,.0f} ms" if exact >= 100 else f"{exact:.3f}".rstrip("0").rstrip(".") + " ms"  # noqa: PLR2004 - enough digits


def _facts(said: Iterable[tuple[str, object]]) -> str:
    rows = "".join(
        f'<tr><td style="{CELL};opacity:.7;vertical-align:top">{name}</td>'
        f'<td style="text-align:left;white-space:pre-wrap">{escaped(value)}</td></tr>'
        for name, value in said
    )
    return f"<table>{rows}</table>"


def _steps(steps: Sequence[Mapping[str, Any]], duration: float | None) -> str:
    if not steps:
        return ""
    whole = max(duration or 0.0, *(step["ended"] for step in steps)) or 1.0
    shown = sorted(steps, key=lambda step: (step["started"], step["ended"]))[:MOST_STEPS]
    head = "".join(f'<th style="{CELL}">{name}</th>' for name in ("step", "status", "started", "took"))
    rows = "".join(_row(step, whole) for step in shown)
    more = f"<div>and {len(steps) - MOST_STEPS} more</div>" if len(steps) > MOST_STEPS else ""
    return f'<table style="min-width:40em"><tr>{head}<th style="width:60%"></th></tr>{rows}</table>{more}'


def _row(step: Mapping[str, Any], whole: float) -> str:
    took = step["ended"] - step["started"]
    tried = f", attempt {step['attempts']}" if step["attempts"] > 1 else ""
    said = (step["name"], step["status"] + tried, milliseconds(step["started"]), milliseconds(took))
    cells = "".join(f'<td style="{CELL}">{escaped(cell)}</td>' for cell in said)
    bar = (
        f"margin-left:{100 * step['started'] / whole:.2f}%;width:{100 * took / whole:.2f}%;min-width:2px;height:10px;"
        f"background:{COLOURS.get(step['status'], OTHER_COLOUR)}"
    )
    return f'<tr>{cells}<td><div style="{bar}"></div></td></tr>'
