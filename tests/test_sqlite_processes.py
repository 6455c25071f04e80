"""Several processes on one file, and processes that are killed."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from nexus.exceptions import ConflictError, NotFoundError
from nexus.models import Scope
from nexus_sqlite.opening import Location, connect
from tests.sqlite_files import ADA, NOON, opened, rows, run_of, session_of

pytestmark = pytest.mark.anyio

BEHIND_S = 0.05
SLACK_S = 0.1
"""A busy machine may let the writer wait for its turn."""


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The processes run on asyncio."""
    backend: str = request.param
    return backend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nexus.db"


def desk(work: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "tests.sqlite_desk", work, str(path)], stdout=subprocess.PIPE, text=True)


def killed_under_load(path: Path, seconds: float) -> list[list[str]]:
    """Start a process that writes, kill it after that many seconds of it, and return what it said."""
    process = desk("load", path)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    said = [first, *process.stdout.read().splitlines(keepends=True)]
    process.wait()
    process.stdout.close()
    return [line.split() for line in said if line.endswith("\n")]


def require_all_there(path: Path, said: list[list[str]]) -> None:
    """Let pass a file that has all that was acknowledged, and of the rest all but the last moments."""
    acknowledged = {(run_id, step) for what, run_id, step in said if what == "put"}
    assert acknowledged - set(rows(path, "SELECT run_id, step FROM step_results")) == set()
    times = {run_id: float(at) for what, run_id, at in said if what == "behind"}
    due = {(run_id,) for run_id, at in times.items() if at < max(times.values()) - BEHIND_S - SLACK_S}
    assert due - set(rows(path, "SELECT id FROM runs")) == set()
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_process_that_is_killed_loses_nothing_that_was_acknowledged(path: Path) -> None:
    dice = random.Random(7)  # noqa: S311 - when a process dies is no secret
    for _ in range(4):
        said = killed_under_load(path, dice.uniform(0.05, 0.4))
        assert len(said) > 1
        require_all_there(path, said)


@pytest.mark.slow
def test_processes_that_are_killed_many_times_lose_nothing_that_was_acknowledged(path: Path) -> None:
    dice = random.Random()  # noqa: S311 - as above
    for _ in range(25):
        require_all_there(path, killed_under_load(path, dice.uniform(0.0, 0.6)))


def outputs(work: str, path: Path, count: int) -> list[str]:
    """Let some processes do that at once, and return all that they say."""
    processes = [desk(work, path) for _ in range(count)]
    said = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return [line for lines in said for line in lines]


def test_processes_that_open_a_file_at_once_make_it_once_and_a_key_is_one_run(path: Path) -> None:
    assert len(set(outputs("keys", path, 3))) == 50
    assert len(rows(path, "SELECT id FROM runs")) == 50


async def test_of_processes_that_claim_at_once_one_is_given_a_run(path: Path) -> None:
    async with opened(path) as database:
        for number in range(40):
            await database.run_store.create(ADA, run_of(f"r{number}"))
    given = Counter(outputs("claims", path, 3))
    assert given == Counter(f"r{number}" for number in range(40))


async def test_a_connection_waits_to_be_opened_while_another_process_holds_the_file(path: Path) -> None:
    async with opened(path):
        pass
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("COMMIT")
    let_go = threading.Timer(0.2, holder.close)
    let_go.start()
    with closing(await anyio.to_thread.run_sync(partial(connect, Location.of_url(f"sqlite:///{path}"), waits=False))) as reader:
        assert reader.execute("PRAGMA busy_timeout").fetchone() == (0,)
    let_go.join()


async def test_a_session_that_is_revoked_elsewhere_is_gone_at_once(path: Path) -> None:
    session, token_hash = session_of("s1")
    async with opened(path) as here, opened(path) as there:
        await here.session_store.add(session, token_hash=token_hash)
        assert await there.session_store.find(token_hash, now=NOON) == session
        saved = await there.session_store.save(session, expected_version=1)
        assert await here.session_store.find(token_hash, now=NOON) == saved
        await there.session_store.remove(Scope.ALL, "s1")
        with pytest.raises(NotFoundError):
            await here.session_store.find(token_hash, now=NOON)


async def test_of_changes_in_two_places_one_wins(path: Path) -> None:
    async with opened(path) as here, opened(path) as there:
        record = await here.run_store.create(ADA, run_of("r1"))
        await there.run_store.save(record, expected_version=1)
        with pytest.raises(ConflictError):
            await here.run_store.save(record, expected_version=1)


async def test_the_lease_of_a_process_that_has_gone_expires_for_others(path: Path) -> None:
    async with opened(path) as gone:
        await gone.run_store.claim("gone", until=NOON + timedelta(seconds=30), now=NOON)
        await gone.run_store.create(ADA, run_of("r1", owner="gone"))
    async with opened(path) as here:
        until = NOON + timedelta(days=1)
        assert await here.run_store.claim("here", until=until, now=NOON + timedelta(seconds=29)) == []
        (claimed,) = await here.run_store.claim("here", until=until, now=NOON + timedelta(seconds=30))
        assert (claimed.id, claimed.owner, claimed.version) == ("r1", "here", 2)
