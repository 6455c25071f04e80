"""What another process does with a database: `python -m tests.sqlite_desk WORK PATH`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import anyio

from nexus_sqlite import SqliteDatabase
from tests.sqlite_files import ADA, NOON, ended, opened, run_of

WRITERS: Final = 8


def say(line: str) -> None:
    """Tell whoever started this process, at once."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def load(database: SqliteDatabase) -> None:
    """Write until the end of this process, and say what was acknowledged, and what is written behind and when."""

    async def put(writer: int) -> None:
        run_id, number = f"{os.getpid()}-{writer}", 0
        while True:
            await database.step_store.put(run_id, str(number), b"x" * 100)
            say(f"put {run_id} {number}")
            behind = f"{run_id}-{number}"
            await database.run_store.create(ADA, ended(behind))
            say(f"behind {behind} {time.monotonic()}")
            number += 1

    async with anyio.create_task_group() as tasks:
        for writer in range(WRITERS):
            tasks.start_soon(put, writer)


async def keys(database: SqliteDatabase) -> None:
    """Create runs under the same keys as others do, and say which run there is."""
    for number in range(50):
        created = await database.run_store.create(ADA, run_of(f"{os.getpid()}-{number}"), key=f"k{number}", inputs_hash="h")
        say(f"k{number} {created.id}")


async def claims(database: SqliteDatabase) -> None:
    """Claim what nobody carries, several times, and say what was given."""
    for number in range(20):
        owner = f"{os.getpid()}-{number}"
        for run in await database.run_store.claim(owner, until=NOON + timedelta(days=1), now=NOON):
            say(run.id)


WORK: Final[dict[str, Callable[[SqliteDatabase], Awaitable[None]]]] = {"load": load, "keys": keys, "claims": claims}


async def main(work: str, path: Path) -> None:
    """Open the database, and do that."""
    async with opened(path) as database:
        await WORK[work](database)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]))
