"""Whole processes, from their start to their end, as a user starts them."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Work

_PROGRAMS = Path(__file__).parent.parent / "programs"


def _started(command: Sequence[str]) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} exited {ended.returncode}: {ended.stderr}")
    return ended.stdout


def _work(command: Sequence[str], write: Callable[[Any], Sequence[str]], read: Callable[[str], Any]) -> Work:
    async def unit(arguments: Sequence[str]) -> str:
        return _started([*command, *arguments])

    return Work(unit=unit, write=write, read=read)


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def _nexus() -> str:
    """Return the path of the `nexus` script of this environment."""
    _need("click")
    script = shutil.which("nexus", path=str(Path(sys.executable).parent))
    if script is None:
        raise ModuleNotFoundError("the `nexus` script is not installed", name="nexus_click")
    return script


@asynccontextmanager
async def statement(source: str, needs: str = "sys") -> AsyncIterator[Work]:
    """`python -c SOURCE`."""
    _need(needs)
    yield _work([sys.executable, "-c", source], lambda _: [], lambda output: output == "")


@asynccontextmanager
async def program_help(program: str, needs: str) -> AsyncIterator[Work]:
    """`--help` of a program."""
    _need(needs)
    yield _work([sys.executable, str(_PROGRAMS / program)], lambda _: ["--help"], lambda output: "--help" in output)


@asynccontextmanager
async def program_run(program: str, needs: str) -> AsyncIterator[Work]:
    """A sum by a program."""
    _need(needs)
    yield _work([sys.executable, str(_PROGRAMS / program), "add"], lambda pair: [str(each) for each in pair], json.loads)


@asynccontextmanager
async def nexus_help() -> AsyncIterator[Work]:
    """`nexus --help`."""
    yield _work([_nexus()], lambda _: ["--help"], lambda output: "--help" in output)


@asynccontextmanager
async def nexus_run() -> AsyncIterator[Work]:
    """A sum by `nexus run`."""
    command = [_nexus(), "run", str(_PROGRAMS / "nexus_program.py"), "add"]
    yield _work(command, lambda pair: [*(str(each) for each in pair), "--format", "json"], json.loads)
