"""Progress bars of a run; imports rich, so only imported once a bar is really shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text


class ProgressBars:
    """A bar for each step that tells how far it is."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, step: str, data: Mapping[str, Any], label: str) -> None:
        """Move the bar of a step."""
        done, total = data["done"], data["total"]
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(label, total=total, amount="")
        amount = _number(done) if total is None else f"{_number(done)}/{_number(total)}"
        self._progress.update(self._tasks[step], completed=done, total=total, description=label, amount=amount)

    def write(self, line: str) -> None:
        """Write a line above the bars."""
        self._progress.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
