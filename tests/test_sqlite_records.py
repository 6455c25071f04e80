"""What is in the records of runs comes back as it was, and no record is lost for what is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nexus
from nexus.exceptions import ConflictError
from nexus.models import MISSING, Answer, Question, RunError, RunRecord, Scope, Unstored, Upload
from nexus_sqlite.documents import decoded, encoded
from tests.sqlite_files import ADA, NOON, ended, opened, rows, run_of

pytestmark = pytest.mark.anyio

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text("abcdefgh_", min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=3)
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is beside them
seconds = st.floats(0, 1e6)
questions = st.builds(
    Question,
    name=names,
    text=texts,
    schema=objects,
    step=names,
    of=st.sampled_from(["", "role:finance", "principal:carol"]),
    default=st.just(MISSING) | json_values,
    expires_at=st.none() | times,
    problem=st.none() | texts,
)
answers = st.builds(Answer, value=json_values, schema=objects, digest=st.none() | texts, by=texts)
errors = st.builds(RunError, code=st.sampled_from(["failed", "conflict"]), message=texts, details=objects, private=st.booleans())
step_rows = st.lists(
    st.tuples(names, st.sampled_from(["succeeded", "failed"]), seconds, seconds, st.none() | texts, st.integers(0, 9)), min_size=1
)
records = st.builds(
    RunRecord,
    id=names,
    workflow=names,
    workflow_version=texts,
    status=st.sampled_from(["pending", "running", "waiting", "succeeded", "failed", "cancelled"]),
    request_id=texts,
    channel=names,
    principal=texts,
    tenant=st.none() | texts,
    session=st.none() | texts,
    created_at=times,
    version=st.integers(1, 2**40),
    inputs=st.dictionaries(names, json_values, max_size=4),
    parent=st.none() | texts,
    ended_at=st.none() | times,
    duration=st.none() | seconds,
    questions=st.dictionaries(names, questions, max_size=2),
    answers=st.dictionaries(names, answers, max_size=2),
    output=json_values,
    error=st.none() | errors,
    step_rows=st.just(()) | step_rows,
    file_rows=st.just(()) | st.lists(st.tuples(texts, texts), min_size=1, max_size=2),
    redacted=st.lists(texts, max_size=2).map(tuple),
    cached=st.booleans(),
    owner=st.none() | texts,
    retry_of=st.none() | texts,
    plan_hash=texts,
    cancelling=st.booleans(),
)

COLUMNS = ("id", "version", "status", "tenant", "principal", "session", "workflow", "owner")


def read_back(record: RunRecord) -> RunRecord:
    return decoded(encoded(record, msgspec.json.encode), **{name: getattr(record, name) for name in COLUMNS})


@given(record=records)
@settings(max_examples=200)
def test_a_record_comes_back_as_it_was(record: RunRecord) -> None:
    assert read_back(record) == record


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@given(record=records.filter(lambda record: record.principal))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_comes_back_from_the_file_as_it_was(anyio_backend: str, tmp_path: Path, record: RunRecord) -> None:
    path = tmp_path / f"{abs(hash(record.id))}-{record.version}.db"

    async def there_and_back() -> None:
        async with opened(path) as database:
            await database.run_store.create(ADA, record)
            assert await database.run_store.get(Scope.ALL, record.id) == record
        async with opened(path) as database:
            assert await database.run_store.get(Scope.ALL, record.id) == record
        path.unlink()

    anyio.run(there_and_back)


def test_an_uploaded_file_comes_back_as_what_it_was_and_not_where() -> None:
    upload = Upload(filename="rain.csv", media_type="text/csv", size=3, sha256="ab")
    record = ended("r1", inputs={"file": upload, "more": [upload, upload], "limit": 3})
    assert read_back(record) == record


class Frame:
    def __repr__(self) -> str:
        return "<Frame of 3 rows \udcff>"


def test_what_json_has_no_word_for_comes_back_as_how_it_read() -> None:
    record = ended("r1", inputs={"frame": Frame(), "limit": 3}, output={"deep": [Frame()]})
    kept = read_back(record)
    assert kept.inputs == {"frame": Unstored("<Frame of 3 rows \\udcff>"), "limit": 3}
    assert kept.output == Unstored("{'deep': [<Frame of 3 rows \\udcff>]}")
    assert kept.view()["results"] == "{'deep': [<Frame of 3 rows \\udcff>]}"


def test_text_that_utf_8_has_no_code_for_is_escaped() -> None:
    failure = RunError(code="failed", message="no file caf\udce9", details={"path": "caf\udce9"})
    kept = read_back(ended("r1", status="failed", error=failure, step_rows=[("load", "failed", 0.0, 1.0, "caf\udce9", 1)]))
    assert kept.error is not None
    assert (kept.error.message, kept.steps[0].error) == ("no file caf\\udce9", "caf\\udce9")


def test_what_only_the_process_has_that_carried_the_run_is_not_written() -> None:
    failure = RunError(code="failed", message="no", exception=ValueError("hunter2"))
    document = encoded(ended("r1", status="failed", error=failure).changed(returned="hunter2", partial=True), msgspec.json.encode)
    assert b"hunter2" not in document
    assert b"partial" not in document


async def test_what_is_written_behind_is_there_at_once_and_within_50_ms_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "nexus.db"
    async with opened(path) as database:
        await database.run_store.create(ADA, ended("r1"))
        assert (await database.run_store.get(ADA, "r1")) == ended("r1")
        assert [run.id for run in (await database.run_store.list(ADA, where={}, after=None, limit=1)).items] == ["r1"]
        with anyio.fail_after(5):
            while not rows(path, "SELECT id FROM runs"):  # noqa: ASYNC110 - a file has no event
                await anyio.sleep(0.005)
        assert (await database.run_store.get(ADA, "r1")) == ended("r1")


async def test_what_is_written_behind_can_be_changed_pruned_and_is_a_conflict_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "nexus.db") as database:
        store = database.run_store
        for name in ("r1", "r2"):
            await store.create(ADA, ended(name))
        with pytest.raises(ConflictError):
            await store.create(ADA, ended("r1"))
        with pytest.raises(ConflictError):
            await store.create(ADA, run_of("r2"))
        assert (await store.save(ended("r1", output=2), expected_version=1)).version == 2
        assert (await store.get(ADA, "r1")).output == 2
        assert sorted(await store.prune(ended_before=NOON.replace(year=2027))) == ["r1", "r2"]


async def test_results_of_steps_go_with_the_record_of_their_run(tmp_path: Path) -> None:
    async with opened(tmp_path / "nexus.db") as database:
        for name in ("r1", "r2"):
            await database.run_store.create(ADA, ended(name, ended_at=NOON.replace(year=2026 + int(name[1]))))
            await database.step_store.put(name, "load", b"1")
        assert await database.run_store.prune(ended_before=NOON.replace(year=2028)) == ["r1"]
        assert (await database.step_store.all("r1"), await database.step_store.all("r2")) == ({}, {"load": b"1"})


async def test_what_is_written_behind_is_in_the_file_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "nexus.db"
    async with opened(path) as database:
        for number in range(100):
            await database.run_store.create(ADA, ended(f"r{number}"))
    assert len(rows(path, "SELECT id FROM runs")) == 100


async def test_pages_are_the_same_while_records_are_on_their_way(tmp_path: Path) -> None:
    async with opened(tmp_path / "nexus.db") as database:
        for number in range(7):
            await database.run_store.create(ADA, ended(f"r{number}", workflow=f"w{number % 2}"))
        found: list[str] = []
        after = None
        while True:
            page = await database.run_store.list(ADA, where={"workflow": "w0"}, after=after, limit=3)
            found += [run.id for run in page.items]
            after = page.cursor
            if after is None:
                break
        assert found == ["r6", "r4", "r2", "r0"]


async def test_a_run_is_recorded_whatever_it_takes_and_returns(tmp_path: Path) -> None:
    app = nexus.create_nexus(nexus.NexusConfig(database_url=f"sqlite:///{tmp_path}/nexus.db"))

    @app.workflow
    async def mirror(frame: Any) -> Any:
        return frame

    @app.workflow
    async def refuse(frame: Any) -> Any:
        raise LookupError("no rows")

    async with app:
        frame = Frame()
        result = await app.execute_workflow(mirror, {"frame": frame})
        assert result.results is frame
        assert (await app.executor.find(Scope.ALL, result.run_id)).inputs == {"frame": Unstored("<Frame of 3 rows \\udcff>")}
        handle = await app.submit_workflow(refuse, {"frame": frame})
        with pytest.raises(nexus.WorkflowFailedError):
            await handle.result()
        with pytest.raises(
            ConflictError, match=r"'frame' was <Frame of 3 rows .*>, which JSON has no word for, and was not kept"
        ):
            await handle.retry()


async def test_what_is_acknowledged_is_in_the_file_already(tmp_path: Path) -> None:
    path = tmp_path / "nexus.db"
    async with opened(path) as database:
        with closing(sqlite3.connect(path)) as other:

            async def write(caller: int) -> None:
                for number in range(50):
                    step = f"{caller}-{number}"
                    await database.step_store.put("r1", step, b"1")
                    found = other.execute("SELECT 1 FROM step_results WHERE run_id = 'r1' AND step = ?", (step,)).fetchall()
                    assert found == [(1,)]

            async with anyio.create_task_group() as callers:
                for caller in range(8):
                    callers.start_soon(write, caller)
