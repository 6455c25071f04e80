"""Assertions about a run, whose messages show what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nexus.models import MISSING, Event, StepRecord

__all__ = ["event_among", "steps_are"]


def event_among(events: Sequence[Event], type_: str, data: Mapping[str, Any]) -> Event:
    """
    Return the first event of that type with that data.

    Raises:
        AssertionError: There is none.
    """
    for event in events:
        if event.type == type_ and all(event.data.get(name, MISSING) == value for name, value in data.items()):
            return event
    wanted = _shown(type_, data)
    told = "".join(f"\n  {_shown(event.type, event.data)}" for event in events) or " nothing"
    raise AssertionError(f"the run did not tell {wanted}; it told:{told}")


def steps_are(steps: Sequence[StepRecord], names: Sequence[str], *, in_order: bool) -> None:
    """
    Check which steps were run and succeeded.

    Raises:
        AssertionError: They are others, or one did not succeed.
    """
    run = list(dict.fromkeys(step.name.partition("[")[0] for step in steps))
    problems = [f"step {step.name!r} {step.status}" for step in steps if step.status != "succeeded"]
    problems += [f"step {name!r} was not run" for name in names if name not in run]
    problems += [f"step {name!r} was run too" for name in run if name not in names]
    if in_order and not problems and run != list(names):
        problems.append(f"they ended in another order than {', '.join(names)}")
    if problems:
        ended = "".join(f"\n  {_line(step)}" for step in steps) or " none"
        raise AssertionError(f"{'; '.join(problems)}; the steps, as they ended:{ended}")


def _shown(type_: str, data: Mapping[str, Any]) -> str:
    return f"{type_}({', '.join(f'{name}={value!r}' for name, value in data.items())})"


def _line(step: StepRecord) -> str:
    why = f": {step.error}" if step.error else ""
    return f"{step.name} {step.status} ({step.started:.3f} to {step.ended:.3f} s){why}"
