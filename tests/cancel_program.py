"""The application of `cancel_desk` in a process of its own: by `nexus run`, or as a module for MCP over standard streams."""

from __future__ import annotations

import atexit
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import IO, Any

import anyio

from nexus import Nexus, Run
from tests.cancel_desk import Desk, Life, opened, until

__all__ = ["check_report", "environment_of", "life_at", "make", "until_reached"]

FOLDER = "NEXUS_CANCEL_FOLDER"
REACHED = "reached"
EVERY = 1000


def life_at(tick: int, number: int, *, holds: bool) -> int:
    """Return the number of a life of which something is to happen at that tick; where it holds, its steps stay there."""
    return (2 * number + holds) * EVERY + tick


def environment_of(folder: Path) -> dict[str, str]:
    """Return what the process needs; all that it makes is in one folder, temporary files of the system's too."""
    for name in ("runs", "temporary"):
        (folder / name).mkdir(parents=True)
    path = [place for place in sys.path if place and not place.endswith((".zip", "lib-dynload"))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TMPDIR": str(folder / "temporary"), FOLDER: str(folder)}


def until_reached(errors: IO[str]) -> str:
    """Return what the process has said until it was time."""
    said = ""
    while not said.endswith(f"{REACHED}\n"):
        line = errors.readline()
        assert line, f"the process has ended: {said}"
        said += line
    return said


def check_report(folder: Path) -> list[str]:
    """Look at what the process said at its end, and return what became of its runs."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["begun"] > 0
    assert report["problems"] == []
    assert [*(folder / "runs").iterdir(), *(folder / "temporary").iterdir()] == []
    statuses: list[str] = report["statuses"]
    return statuses


class Lives(dict[int, Life]):
    """Those that are asked for, as their number says."""

    def __missing__(self, number: int) -> Life:
        life = self[number] = Life(at=number % EVERY, holds=bool(number // EVERY % 2), then=_tell)
        return life


def _tell() -> None:
    sys.stderr.write(f"{REACHED}\n")
    sys.stderr.flush()


def make() -> Nexus:
    """Make the application, and let the process say at its end how the runs have ended."""
    folder = Path(os.environ[FOLDER])
    desk = opened(folder / "runs")
    desk.lives = Lives()
    _add_looks(desk)
    atexit.register(partial(_report, desk, folder))
    return desk.app


def _add_looks(desk: Desk) -> None:
    @desk.app.workflow
    async def reached(number: int) -> None:
        """Return when it is time."""
        await desk.lives[number].reached.wait()

    @desk.app.workflow
    async def told(number: int) -> list[str]:
        """Return the ticks of a run."""
        return desk.lives[number].ticks

    @desk.app.workflow
    async def look(number: int, ticks: int) -> str:
        """Return what became of a run that was cancelled."""
        await until(lambda: desk.has_ended(number))
        return desk.check(number, ticks=ticks)

    @desk.app.workflow
    async def left(run: Run) -> dict[str, Any]:
        """Return what is left when all are over but this one, which has a place, and is a run."""
        own = {"live runs": [run.id], "places taken": [["this application", 1]]}

        def others() -> dict[str, Any]:
            return {what: things for what, things in desk.left().items() if things != own.get(what)}

        await until(lambda: not others())
        return {**others(), "late": [life.late for life in desk.lives.values() if life.late]}


def _report(desk: Desk, folder: Path) -> None:
    found = {
        "statuses": [record.status for number in desk.lives for record in desk.records(number) if record.parent is None],
        "problems": [life.problems() for life in desk.lives.values() if life.problems()],
        "begun": sum(life.begun.total() for life in desk.lives.values()),
    }
    (folder / "report.json").write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    """Serve over standard input and output."""
    from nexus_mcp import serve_stdio  # noqa: PLC0415 - a command line needs no MCP

    anyio.run(serve_stdio, make())


if __name__ == "__main__":
    main()
