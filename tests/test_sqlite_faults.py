"""What becomes of a database whose file is locked, full, read-only, damaged, newer, or gone."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from nexus.exceptions import ConfigurationError, NexusError, UnavailableError
from nexus.models import Scope
from nexus_sqlite import SqliteDatabase
from nexus_sqlite.migrations import MIGRATIONS
from nexus_sqlite.writer import Writer
from tests.sqlite_files import ADA, NOON, ended, locked, opened, rows, run_of, session_of

pytestmark = pytest.mark.anyio

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nexus.db"


async def limit_pages(database: SqliteDatabase, count: int) -> None:
    """Let the file grow to that many pages, as a disk would that is full then."""
    await database.storage.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {count}").fetchall())


async def fill(database: SqliteDatabase) -> int:
    """Put results until there is no room, and return how many there are."""
    stored = 0
    while True:
        try:
            await database.step_store.put("r1", f"s{stored}", b"x" * 1000)
        except UnavailableError as error:
            assert re.search("the disk is full|the disk reports an error", str(error))  # noqa: PT017 - raised at some time
            return stored
        stored += 1


async def until(condition: Any) -> None:
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - a file has no event
            await anyio.sleep(0.005)


class Reports(list[str]):
    """What was reported."""

    def __call__(self, what: str, error: BaseException) -> None:
        self.append(f"{what}: {error}")


async def test_a_locked_file_is_unavailable_and_written_when_the_lock_is_gone(path: Path) -> None:
    async with opened(path, "?busy_timeout=0.05") as database:
        record = await database.run_store.create(ADA, run_of("r1"))
        with locked(path):
            with pytest.raises(UnavailableError, match=r"the database nexus\.db is locked by another process"):
                await database.run_store.save(record, expected_version=1)
            assert await database.run_store.get(ADA, "r1") == record
        assert (await database.run_store.save(record, expected_version=1)).version == 2


async def test_a_lock_shorter_than_the_timeout_is_waited_for(path: Path) -> None:
    async with opened(path) as database, anyio.create_task_group() as tasks:
        with locked(path):
            tasks.start_soon(database.run_store.create, ADA, run_of("r1"))
            await anyio.sleep(0.1)
        with anyio.fail_after(5):
            await database.run_store.create(ADA, run_of("r2"))
            assert (await database.run_store.get(ADA, "r1")).id == "r1"


async def test_what_is_written_behind_a_lock_is_there_at_once_and_in_the_file_later(path: Path) -> None:
    reports = Reports()
    async with opened(path, "?busy_timeout=0.01", report=reports) as database:
        with locked(path):
            await database.run_store.create(ADA, ended("r1"))
            await until(lambda: reports)
            assert (await database.run_store.get(ADA, "r1")).output == 1
            assert [run.id for run in (await database.run_store.list(ADA, where={}, after=None, limit=5)).items] == ["r1"]
        await until(lambda: rows(path, "SELECT id FROM runs") == [("r1",)])
    assert reports == [f"write to {path}: database is locked"]


async def test_a_full_disk_is_unavailable_and_loses_nothing(path: Path) -> None:
    async with opened(path) as database:
        await limit_pages(database, 60)
        stored = await fill(database)
        assert len(await database.step_store.all("r1")) == stored
        await limit_pages(database, 10_000)
        await database.step_store.put("r1", "last", b"x" * 1000)
        assert len(await database.step_store.all("r1")) == stored + 1


async def test_what_is_too_much_for_the_disk_does_not_keep_others_from_what_fits(path: Path) -> None:
    async with opened(path) as database, anyio.create_task_group() as tasks:
        outcomes: dict[str, Any] = {}

        async def put(name: str, size: int) -> None:
            try:
                await database.step_store.put("r1", name, b"x" * size)
                outcomes[name] = "stored"
            except UnavailableError as error:
                outcomes[name] = error.code

        await limit_pages(database, 60)
        with held(database):
            for name, size in {"a": 10, "huge": 1_000_000, "b": 10}.items():
                tasks.start_soon(put, name, size)
            await anyio.sleep(0.05)
        await until(lambda: len(outcomes) == 3)
        assert outcomes == {"a": "stored", "huge": "unavailable", "b": "stored"}
        assert set(await database.step_store.all("r1")) == {"a", "b"}


async def test_records_that_nobody_waits_for_are_bounded_while_they_can_not_be_written(path: Path) -> None:
    async with opened(path, "?busy_timeout=0.01") as database:
        database.run_store.behind.max_rows = 3
        with locked(path):
            for number in range(3):
                await database.run_store.create(ADA, ended(f"r{number}"))
            with pytest.raises(UnavailableError):
                await database.run_store.create(ADA, ended("r3"))
        await until(lambda: len(rows(path, "SELECT id FROM runs")) == 3)
        await database.run_store.create(ADA, ended("r3"))


async def test_where_too_many_records_are_on_their_way_they_are_waited_for(path: Path) -> None:
    async with opened(path) as database:
        database.run_store.behind.max_rows = 3
        for number in range(20):
            await database.run_store.create(ADA, ended(f"r{number}"))
        assert len(database.run_store.behind.rows) <= 3
    assert len(rows(path, "SELECT id FROM runs")) == 20


async def test_records_that_can_not_be_written_until_the_end_are_reported_as_lost(path: Path) -> None:
    reports = Reports()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with opened(path, "?busy_timeout=0.01", report=reports) as database:
            other.execute("BEGIN IMMEDIATE")
            await database.run_store.create(ADA, ended("r1"))
    assert reports[-1] == f"write to {path}: 1 records of runs that ended are lost"


async def test_a_record_that_can_not_be_written_at_all_does_not_keep_others_from_it(path: Path) -> None:
    reports = Reports()
    async with opened(path, report=reports) as database:
        for name, principal in {"r1": "ada", "r2": "caf\udce9", "r3": "ada"}.items():
            await database.run_store.create(ADA, ended(name, principal=principal))
        await until(lambda: not database.run_store.behind.rows)
    assert rows(path, "SELECT id FROM runs ORDER BY id") == [("r1",), ("r3",)]
    assert [report.partition(":")[0] for report in reports] == ["write what can't be written"]


async def test_a_file_too_large_to_be_checked_in_time_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)
    monkeypatch.setattr("nexus_sqlite.opening.CHECK_S", -1.0)
    monkeypatch.setattr("nexus_sqlite.opening.OPCODES", 1)
    async with opened(path) as database:
        assert len(await database.step_store.all("r1")) == 200


async def test_a_file_that_is_held_while_its_log_is_switched_on_is_waited_for(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="is locked by another process"):
            async with opened(path, "?busy_timeout=0.05"):
                pass
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))


class Held:
    """A connection that meets a lock."""

    def execute(self, *_: Any) -> Any:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error


async def test_a_lookup_that_meets_a_lock_waits_in_a_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))
        with monkeypatch.context() as patch:
            patch.setattr(database.storage, "_reader", Held())
            assert (await database.run_store.get(ADA, "r1")).id == "r1"


@contextmanager
def mere_user() -> Iterator[None]:
    """Be somebody whom the modes of files concern."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may look into."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_a_folder_that_can_not_be_written_is_told_at_the_start(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    with mere_user(), pytest.raises(UnavailableError, match=r"the database .*nexus\.db can't be opened"):
        async with opened(open_folder / "nexus.db"):
            pass
    assert list(open_folder.iterdir()) == []


async def test_a_file_that_can_not_be_written_is_told_at_the_start_and_left_as_it_is(open_folder: Path) -> None:
    path = open_folder / "nexus.db"
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))
    before = path.read_bytes()
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with mere_user(), pytest.raises(UnavailableError, match=r"nexus\.db can't be (written|opened)"):
        async with opened(path):
            pass
    assert path.read_bytes() == before


async def test_a_file_that_is_removed_is_unavailable_and_never_made_anew(path: Path) -> None:
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))
        path.rename(path.with_name("elsewhere.db"))
        with pytest.raises(UnavailableError, match=r"nexus\.db was removed or replaced while it was in use"):
            await database.run_store.create(ADA, run_of("r2"))
        assert not path.exists()
        path.with_name("elsewhere.db").rename(path)
        await database.run_store.create(ADA, run_of("r2"))
    assert rows(path, "SELECT id FROM runs ORDER BY id") == [("r1",), ("r2",)]


async def test_a_file_that_is_replaced_is_left_alone(path: Path) -> None:
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))
        path.rename(path.with_name("elsewhere.db"))
        path.write_bytes(b"somebody else's")
        with pytest.raises(UnavailableError, match="removed or replaced"):
            await database.run_store.create(ADA, run_of("r2"))
    assert path.read_bytes() == b"somebody else's"


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look at" * 100, b"SQLite format 3\x00" + b"?" * 4080]
)
async def test_what_is_no_database_is_told_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UnavailableError, match=r"nexus\.db (is no SQLite database|is damaged)"):
        async with opened(path):
            pass
    assert path.read_bytes() == content


async def filled(path: Path) -> None:
    """Write a file of some pages, with all of it in the file itself."""
    async with opened(path) as database:
        for number in range(200):
            await database.step_store.put("r1", f"s{number:03}", b"x" * 500)


async def test_a_damaged_page_is_found_at_the_start(path: Path) -> None:
    await filled(path)
    content = bytearray(path.read_bytes())
    content[-20_000:-4_000] = b"?" * 16_000
    path.write_bytes(content)
    with pytest.raises(UnavailableError, match=r"nexus\.db is damaged; keep a copy, and restore it from a backup"):
        async with opened(path):
            pass
    assert path.read_bytes() == content


async def test_damage_that_is_met_while_it_is_open_is_told_and_what_is_whole_still_works(path: Path) -> None:
    await filled(path)
    async with opened(path) as database:
        session, token_hash = session_of("s1")
        await database.session_store.add(session, token_hash=token_hash)
        with path.open("r+b") as file:
            file.seek(-20_000, os.SEEK_END)
            file.write(b"?" * 16_000)
        with pytest.raises(UnavailableError, match=r"nexus\.db is damaged"):
            await database.step_store.all("r1")
        assert await database.session_store.find(token_hash, now=NOON) == session


async def test_a_file_of_a_newer_version_is_refused_with_both_versions(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 1000")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=rf"{path} was written by a newer Nexus.* 1000, .* up to {len(MIGRATIONS)};"):
        async with opened(path):
            pass
    assert path.read_bytes() == before


async def test_a_database_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE customers (id)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a database of something else; it is left as it is"):
        async with opened(path):
            pass
    assert path.read_bytes() == before


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))
    half = ("CREATE TABLE audit (id)", "CREATE TABLE nonsense")
    monkeypatch.setattr("nexus_sqlite.opening.MIGRATIONS", (*MIGRATIONS, half))
    with pytest.raises(UnavailableError, match="can't be opened: incomplete input"):
        async with opened(path):
            pass
    monkeypatch.setattr("nexus_sqlite.opening.MIGRATIONS", (*MIGRATIONS, half[:1]))
    async with opened(path) as database:
        assert (await database.run_store.get(ADA, "r1")).id == "r1"
    assert rows(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]


async def test_the_folder_and_the_file_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "project" / ".nexus" / "nexus.db"
    async with opened(path) as database:
        await database.run_store.create(ADA, run_of("r1"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir() if file.name != ".gitignore"}
        assert modes == {"nexus.db": 0o600, "nexus.db-wal": 0o600, "nexus.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (path.parent / ".gitignore").read_text() == "*\n"


async def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "nexus.db"):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["nexus.db"]


@contextmanager
def held(database: SqliteDatabase) -> Iterator[None]:
    """Keep the writer from its next transaction, so that what comes meanwhile is one."""
    with locked(database.path):
        yield


async def test_one_that_is_refused_does_not_spoil_what_is_committed_with_it(path: Path) -> None:
    async with opened(path) as database, anyio.create_task_group() as tasks:
        record = await database.run_store.create(ADA, run_of("r1"))
        await database.run_store.create(ADA, run_of("r2"), key="k", inputs_hash="h")
        outcomes: list[str] = []

        async def note(name: str, write: Any) -> None:
            try:
                await write()
                outcomes.append(f"{name} written")
            except NexusError as error:
                outcomes.append(f"{name} {error.code}")

        store = database.run_store
        with held(database):
            tasks.start_soon(note, "first", partial(store.create, ADA, run_of("r4")))
            tasks.start_soon(note, "conflict", partial(store.save, record, expected_version=7))
            tasks.start_soon(note, "other inputs", partial(store.create, ADA, run_of("r3"), key="k", inputs_hash="other"))
            tasks.start_soon(note, "absent", partial(store.save, run_of("r9"), expected_version=1))
            tasks.start_soon(note, "last", partial(store.save, record, expected_version=1))
            await anyio.sleep(0.05)
        await until(lambda: len(outcomes) == 5)
        assert sorted(outcomes) == [
            "absent not_found",
            "conflict conflict",
            "first written",
            "last written",
            "other inputs conflict",
        ]
    assert rows(path, "SELECT id, version FROM runs ORDER BY id") == [("r1", 2), ("r2", 1), ("r4", 1)]


async def test_a_write_whose_caller_is_cancelled_is_finished(path: Path) -> None:
    async with opened(path) as database:
        kept = []
        async with anyio.create_task_group() as tasks:

            async def create() -> None:
                kept.append(await database.run_store.create(ADA, run_of("r1")))

            with locked(path):
                tasks.start_soon(create)
                await anyio.sleep(0.02)
                tasks.cancel_scope.cancel()
        assert [run.id for run in kept] == ["r1"]
        assert (await database.run_store.get(Scope.ALL, "r1")).id == "r1"


async def test_a_writer_that_dies_tells_all_who_wait_and_all_who_come(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(BaseException):
        pass

    async with opened(path) as database:

        def die(_writer: Writer, _orders: Any) -> None:
            raise Broken("out of order")

        monkeypatch.setattr(Writer, "_write", die)
        for _ in range(2):
            with (
                anyio.fail_after(5),
                pytest.raises(UnavailableError, match=r"can't be written any more: Broken\('out of order'\)"),
            ):
                await database.run_store.create(ADA, run_of("r1"))
        with pytest.raises(UnavailableError):
            await database.run_store.create(ADA, ended("r2"))
        assert not database.is_well


async def test_a_database_that_is_not_open_says_so(path: Path) -> None:
    store = SqliteDatabase(f"sqlite:///{path}").run_store
    for use in (store.get(ADA, "r1"), store.create(ADA, run_of("r1")), store.list(ADA, where={}, after=None, limit=1)):
        with pytest.raises(UnavailableError, match="is not open: the application is used inside `async with app:`"):
            await use
    assert not path.exists()


async def test_a_database_is_opened_again_after_it_was_closed(path: Path) -> None:
    database = SqliteDatabase(f"sqlite:///{path}")
    for name in ("r1", "r2"):
        async with AsyncExitStack() as exit_stack:
            await database.start(exit_stack)
            await database.run_store.create(ADA, ended(name))
    assert len(rows(path, "SELECT id FROM runs")) == 2


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://nexus.db", "expected sqlite:///relative/file.db or sqlite:////absolute/file.db"),
        ("sqlite:///", "expected sqlite:///relative/file.db"),
        ("sqlite:///folder/", "expected sqlite:///relative/file.db"),
        ("sqlite:///nexus.db?synchronous=off", "synchronous=normal or full"),
        ("sqlite:///nexus.db?busy_timeout=soon", "busy_timeout=SECONDS"),
        ("sqlite:///nexus.db?mode=ro", "got 'mode=ro'"),
    ],
)
def test_a_url_that_can_not_be_read_is_told(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"database_url: .*{problem}"):
        SqliteDatabase(url)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
async def test_a_disk_that_fills_up_is_unavailable_until_there_is_room(tmp_path: Path) -> None:
    mounted = await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"x" * 200_000)
        async with opened(tmp_path / "nexus.db") as database:
            stored = await fill(database)
            assert len(await database.step_store.all("r1")) == stored
            ballast.unlink()
            await database.step_store.put("r1", "last", b"x")
            assert len(await database.step_store.all("r1")) == stored + 1
    finally:
        await anyio.run_process(["umount", str(tmp_path)])
