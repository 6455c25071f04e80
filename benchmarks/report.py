"""Shows outcomes: a table for people, a document for machines."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Any

from benchmarks.harness import Outcome, Row

_SCALE = {"µs": 1e6, "ms": 1e3}
_HEADINGS = ("", "role", "median", "best", "p10-p90", "ours / it", "ours - it")


def _cells(outcome: Outcome, row: Row) -> tuple[str, ...]:
    scale = _SCALE[outcome.benchmark.unit]
    ratio, ours = outcome.ratio(row), outcome.ours
    compared = ours is not None and ours is not row and row.role != "beside"
    return (
        row.name,
        row.role,
        f"{row.median * scale:.2f}",
        f"{row.best * scale:.2f}",
        f"{row.spread:.0%}",
        f"{ratio:.2f}" if ratio is not None and compared else "",
        f"{(ours.median - row.median) * scale:+.2f}" if ours is not None and compared else "",
    )


def table(outcome: Outcome) -> str:
    """Return the outcome as text: a line a contender, what is absent, and the goal."""
    benchmark = outcome.benchmark
    lines = [_HEADINGS, *(_cells(outcome, row) for row in outcome.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    text = [f"{benchmark.name}: {benchmark.title} ({benchmark.clock} {benchmark.unit}; {benchmark.rounds} rounds)"]
    for name, role, *figures in lines:
        shown = (figure.rjust(width) for figure, width in zip(figures, widths[2:], strict=True))
        text.append("  ".join((f"  {name.ljust(widths[0])}", role.ljust(widths[1]), *shown)).rstrip())
    text.extend(f"  {absence(name, missing)}" for name, missing in outcome.absent.items())
    text.append(f"  goal: {benchmark.goal}")
    return "\n".join(text)


def absence(name: str, missing: str) -> str:
    """Say that a contender is not installed, and how to install it."""
    if missing.startswith("nexus"):
        return f"{name} not installed ({missing}): pip install -e '.[all]'"
    return f"peer {name} not installed ({missing}): pip install -r benchmarks/requirements.txt"


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything that was measured, in seconds, with the versions it was measured with."""
    return {
        "python": platform.python_version(),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
        "versions": dict(sorted((each.metadata["Name"], each.version) for each in distributions())),
        "benchmarks": [
            {
                "name": outcome.benchmark.name,
                "title": outcome.benchmark.title,
                "clock": outcome.benchmark.clock,
                "goal": outcome.benchmark.goal,
                "absent": dict(outcome.absent),
                "rows": [
                    {
                        "name": row.name,
                        "role": row.role,
                        "median_s": row.median,
                        "best_s": row.best,
                        "spread": row.spread,
                        "ours_ratio": outcome.ratio(row),
                        "rounds_s": list(row.rounds),
                    }
                    for row in outcome.rows
                ],
            }
            for outcome in outcomes
        ],
    }
