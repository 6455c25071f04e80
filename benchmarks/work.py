"""The work of the benchmarks: inputs, and what must come out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

CALLERS: Final = 16
"""Who write at once."""
WRITES: Final = 25
"""What each of them writes, one after the other."""
TABLE: Final = (
    "CREATE TABLE step_results (run_id TEXT, step TEXT, result BLOB NOT NULL, PRIMARY KEY (run_id, step)) WITHOUT ROWID"
)
INSERT: Final = "INSERT OR REPLACE INTO step_results (run_id, step, result) VALUES (?, ?, ?)"

WRONG_ORDER = {"item": "lamp", "quantity": "three", "price": 1.5, "tags": []}
"""An order that whoever checks refuses."""


def order(number: int) -> dict[str, Any]:
    """Return the order of that number."""
    return {"item": f"item {number}", "quantity": number % 90 + 1, "price": number / 4, "tags": ["new", f"n{number}"]}


def invoice(number: int) -> dict[str, Any]:
    """Return what is answered to that order."""
    ordered = order(number)
    return {"item": ordered["item"], "total": ordered["quantity"] * ordered["price"], "tags": ordered["tags"]}


def start(number: int) -> dict[str, int]:
    """Return a workflow's input."""
    return {"start": number}


def chained(length: int) -> Callable[[int], int]:
    """Return what a chain gives for a number: each step adds one."""
    return lambda number: number + length


def side_by_side(width: int) -> Callable[[int], int]:
    """Return what the sum of that many steps gives for a number: each adds its own place."""
    return lambda number: width * number + width * (width - 1) // 2


def chain_source(length: int, define: str) -> str:
    """Return the steps of a chain, *define* being `def` or `async def`."""
    names = ["start", *(f"step_{place}" for place in range(1, length + 1))]
    return "".join(f"{define} {name}({before}: int) -> int:\n    return {before} + 1\n\n" for before, name in pairwise(names))


def wide_source(width: int, define: str) -> str:
    """Return steps that do not need one another, and `total`, which needs them all."""
    names = [f"step_{place}" for place in range(width)]
    steps = "".join(f"{define} {name}(start: int) -> int:\n    return start + {place}\n\n" for place, name in enumerate(names))
    return f"{steps}{define} total({', '.join(f'{name}: int' for name in names)}) -> int:\n    return {' + '.join(names)}\n"


def functions(source: str) -> dict[str, Callable[..., Any]]:
    """Return the functions of a source, by name: a step is wired by its parameters' names, so a thousand of them are written."""
    namespace: dict[str, Any] = {"__name__": "benchmarks.work"}
    exec(compile(source, "<steps>", "exec", dont_inherit=True), namespace)  # noqa: S102 - the source is made above
    return {name: value for name, value in namespace.items() if callable(value) and not name.startswith("_")}


def row(number: int, caller: int, place: int) -> tuple[str, str, bytes]:
    """Return what a caller writes in the unit of that number: other things each time, and what adds up to something known."""
    return f"{number}-{caller}", f"step {place}", b"%d" % number


async def written(number: int, write: Callable[[str, str, bytes], Awaitable[object]]) -> int:
    """Let all callers write at once, each its next row when the one before was acknowledged."""

    async def caller(name: int) -> None:
        for place in range(WRITES):
            await write(*row(number, name, place))

    await asyncio.gather(*map(caller, range(CALLERS)))
    return number


def stored_in(path: Path) -> Callable[[int], int]:
    """Return what finds the sum of a unit's rows in the file, on a connection that did not write them."""

    def total(number: int) -> int:
        keys = [f"{number}-{caller}" for caller in range(CALLERS)]
        places = ", ".join("?" * CALLERS)
        with closing(sqlite3.connect(path)) as connection:
            statement = f"SELECT sum(CAST(result AS INTEGER)) FROM step_results WHERE run_id IN ({places})"  # noqa: S608 - ours
            found: int = connection.execute(statement, keys).fetchone()[0]
        return found

    return total
