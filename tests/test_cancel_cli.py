"""Cancelled at any moment, a run ends as `cancelled`, its clean-up done, and holds nothing any more: by signals."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import nexus_click
from nexus.abc import Channel
from tests.cancel_desk import Desk, PausingStore, Point, busy_threads, open_files, opened, points, seed_of
from tests.cancel_program import check_report, environment_of, life_at, until_reached

POINTS = 100
PROCESSES = 12
"""Each is one point, and costs half a second."""

INTERRUPTED = 128 + signal.SIGINT
STATUSES = {"never begun": {INTERRUPTED}, "cancelled": {INTERRUPTED}, "succeeded": {INTERRUPTED, 0}}
"""The exit statuses of a command, by what became of its run."""


def raise_signal(turns: int) -> None:
    """Raise the signal so many turns of the event loop later, if the command is still there to be interrupted."""
    if turns:
        asyncio.get_running_loop().call_soon(raise_signal, turns - 1)
    elif signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.raise_signal(signal.SIGINT)


class Starting(Channel):
    """A part of the application that is started last."""

    name = "starting"
    turns: int | None = None

    def __init__(self, gateway: Any, config: Any) -> None: ...

    async def start(self, exit_stack: AsyncExitStack) -> None:
        if self.turns is not None:
            raise_signal(self.turns)


def carried_out(desk: Desk, number: int) -> int:
    """Carry out a command in this process, and return its exit status."""
    status: int = nexus_click.cli(desk.app).main(["everything", str(number)], prog_name="desk", standalone_mode=False)
    return status


def ticks_of(root: Path) -> int:
    """Return how many ticks a run has that nobody interrupts."""
    desk = opened(root)
    number, life = desk.live()
    assert carried_out(desk, number) == 0
    return len(life.ticks)


def interrupted(root: Path, point: Point, ticks: int) -> str:
    """Return what became of a run that a signal interrupts."""
    desk = opened(root, run_store=PausingStore())
    starting = desk.app.add_channel(Starting)
    assert isinstance(starting, Starting)
    number, life = desk.live(at=point.tick, then=lambda: raise_signal(point.turns))
    if not point.tick:
        starting.turns = point.turns
    before = open_files()
    status = carried_out(desk, number)
    became = desk.check(number, ticks=ticks)
    assert status in STATUSES[became]
    assert list(root.iterdir()) == []
    assert open_files() == before
    assert busy_threads() == []
    assert life.late == []
    return became


def test_whatever_the_moment_at_which_a_signal_comes_a_command_lets_go_of_all_that_it_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = ticks_of(tmp_path / "whole")
    became = []
    for point in points(seed_of(), POINTS, ticks):
        root = tmp_path / str(point.number)
        root.mkdir()
        with point.told():
            became.append(interrupted(root, point, ticks))
    assert became.count("cancelled") > POINTS / 2


def interrupted_process(folder: Path, life: int) -> int:
    """Run `nexus run`, send the signal when its run says that it is time, and return the exit status."""
    command = [sys.executable, "-m", "nexus_click", "run", "tests.cancel_program:make()", "everything", str(life)]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment_of(folder), **pipes) as process:
        try:
            assert process.stderr is not None
            said = until_reached(process.stderr)
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "Traceback" not in said + rest
    return process.returncode


@pytest.mark.slow
def test_a_process_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    ticks = ticks_of(tmp_path / "whole")
    for point in points(seed_of(), PROCESSES, ticks):
        folder = tmp_path / str(point.number)
        with point.told():
            status = interrupted_process(folder, life_at(max(1, point.tick), point.number, holds=True))
            assert (status, check_report(folder)) == (INTERRUPTED, ["cancelled"])
