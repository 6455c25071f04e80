"""Whole applications whose runs, sessions and results are in a SQLite file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
import httpx
import pytest

import nexus
from nexus import Nexus, NexusConfig, Run, UnavailableError, Workflow, WorkflowFailedError
from nexus.exceptions import AdapterError, ConfigurationError, ConflictError
from nexus.memory import MemoryRunStore, MemoryStepStore
from nexus.models import APPLICATION, Principal, Scope
from nexus.workflows.live import SILENT
from nexus_sqlite import SqliteDatabase
from nexus_starlette import asgi
from tests.durable_stores import noted
from tests.sqlite_files import locked, rows

pytestmark = pytest.mark.anyio


@attrs.frozen
class Price:
    euros: float
    seats: tuple[int, ...] = ()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nexus.db"


@pytest.fixture
def app_of(path: Path) -> Callable[..., Nexus]:
    """Make an application on the file, as another start of it would."""

    def make(*what: Any, options: str = "", **parts: Any) -> Nexus:
        config = NexusConfig(database_url=f"sqlite:///{path}{options}", shutdown_grace=timedelta(0))
        app = nexus.create_nexus(config, **parts)
        app.register(*what)
        return app

    return make


AppOf = Callable[..., Nexus]


@nexus.workflow
async def price(pieces: int) -> Price:
    """Say what pieces cost."""
    return Price(2.5 * pieces, (1, 2))


async def test_runs_are_there_after_a_restart(app_of: AppOf) -> None:
    async with app_of(price) as app:
        result = await app.execute_workflow("price", {"pieces": 2})
        submitted = await app.submit_workflow("price", {"pieces": 3})
        await submitted.result()
    async with app_of(price) as app:
        page = await app.executor.listing(Scope.ALL, where={}, after=None, limit=10)
        assert {run.id for run in page.items} == {result.run_id, submitted.id}
        kept = await app.executor.find(Scope.ALL, result.run_id)
        assert (kept.status, kept.inputs, kept.output) == ("succeeded", {"pieces": 2}, {"euros": 5.0, "seats": [1, 2]})


async def test_a_result_is_of_its_type_whether_it_is_asked_for_sooner_or_later(app_of: AppOf) -> None:
    async with app_of(price) as app:
        handle = await app.submit_workflow("price", {"pieces": 2})
        assert await handle.result() == Price(5.0, (1, 2))
        assert await handle.result() == Price(5.0, (1, 2))
    async with app_of(price) as app:
        assert await nexus.RunHandle(handle.id, app.executor, Scope.ALL).result() == Price(5.0, (1, 2))


async def test_a_result_of_a_workflow_that_has_changed_is_given_as_json_values(app_of: AppOf) -> None:
    async with app_of(price) as app:
        handle = await app.submit_workflow("price", {"pieces": 2})
        await handle.result()

    @nexus.workflow(name="price")
    async def other(pieces: int) -> int:
        return pieces

    for changed in ([other], []):
        async with app_of(*changed) as app:
            found = await nexus.RunHandle(handle.id, app.executor, Scope.ALL).result()
            assert found == {"euros": 5.0, "seats": [1, 2]}


async def test_a_key_gets_the_same_run_and_result_after_a_restart(app_of: AppOf) -> None:
    async with app_of(price) as app:
        first = await app.execute_workflow("price", {"pieces": 2}, idempotency_key="k")
    async with app_of(price) as app:
        again = await app.execute_workflow("price", {"pieces": 2}, idempotency_key="k")
        assert (again.run_id, again.results) == (first.run_id, Price(5.0, (1, 2)))
        with pytest.raises(ConflictError):
            await app.execute_workflow("price", {"pieces": 3}, idempotency_key="k")


async def test_a_run_that_failed_is_retried_after_a_restart_without_the_steps_that_succeeded(app_of: AppOf) -> None:
    called: list[str] = []

    def trip(*, broken: bool) -> Workflow:
        made = Workflow("trip")

        @made.step
        async def first() -> int:
            called.append("first")
            return 1

        @made.step
        async def second(first: int) -> int:
            called.append("second")
            if broken:
                raise LookupError("no seat")
            return first + 1

        return made

    async with app_of(trip(broken=True)) as app:
        handle = await app.submit_workflow("trip")
        with pytest.raises(WorkflowFailedError):
            await handle.result()
    async with app_of(trip(broken=False)) as app:
        again = await nexus.RunHandle(handle.id, app.executor, Scope.ALL).retry()
        assert await again.result() == 2
    assert called == ["first", "second", "second"]


async def test_a_durable_run_goes_on_and_a_question_is_answered_after_a_restart(app_of: AppOf) -> None:
    called: list[str] = []

    def talk() -> Workflow:
        made = Workflow("talk", durable=True)

        @made.step
        async def before() -> Price:
            called.append("before")
            return Price(1.0)

        @made.step
        async def asks(before: Price, *, run: Run) -> str:
            name = await run.ask("Who?", str, name="who", default="bob", timeout=3600)
            return f"{name} pays {before.euros}"

        return made

    async with app_of(talk()) as app:
        handle = await app.submit_workflow("talk")
        waiting = await app.executor.runtime.settled(handle.id)
        assert (waiting.status, list(waiting.questions)) == ("waiting", ["who"])
    async with app_of(talk()) as app:
        kept = await app.executor.find(Scope.ALL, handle.id)
        assert kept.questions == waiting.questions
        with anyio.fail_after(10):
            record = await app.executor.answer(Scope.ALL, APPLICATION, handle.id, SILENT, question="who", answer="ada")
        assert record.output == "ada pays 1.0"
    assert called == ["before"]


async def test_a_run_that_its_process_took_with_it_has_failed_after_a_restart(app_of: AppOf, path: Path) -> None:
    begun = anyio.Event()

    @nexus.workflow
    async def slow() -> int:
        begun.set()
        await anyio.sleep_forever()
        return 1

    async with app_of(slow) as app:
        handle = await app.submit_workflow("slow")
        await begun.wait()
    async with app_of(slow) as app:
        record = await app.executor.find(Scope.ALL, handle.id)
        assert record.status == "failed"


async def test_secrets_are_nowhere_in_the_file(app_of: AppOf, path: Path) -> None:
    token = Annotated[str, nexus.Secret()]

    @nexus.workflow
    async def rotate(old: token, *, run: Run) -> token:
        given = await run.ask("Password?", token, name="password")
        return f"{old}-{given}"

    async with app_of(rotate) as app:
        handle = await app.submit_workflow("rotate", {"old": "hunter1"})
        record = await handle.answer("hunter2")
        assert record.status == "succeeded"
        files = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"hunter" not in files
        assert (await app.executor.find(Scope.ALL, handle.id)).redacted == record.redacted


async def test_results_that_are_kept_outlive_the_process(app_of: AppOf) -> None:
    called: list[int] = []

    @nexus.workflow(read_only=True, cache=60)
    async def double(number: int) -> int:
        called.append(number)
        return 2 * number

    for _ in range(2):
        async with app_of(double) as app:
            result = await app.execute_workflow("double", {"number": 4})
            assert result.results == 8
    assert (called, result.cached) == ([4], True)


async def test_stores_of_ones_own_win_over_the_database(app_of: AppOf, path: Path) -> None:
    runs, steps = MemoryRunStore(), MemoryStepStore()
    async with app_of(price, run_store=runs, step_store=steps) as app:
        await app.execute_workflow("price", {"pieces": 2})
        assert len((await runs.list(Scope.ALL, where={}, after=None, limit=5)).items) == 1
    assert rows(path, "SELECT count(*) FROM runs") == [(0,)]


async def test_a_store_of_a_database_opens_it_where_it_is_used_alone(path: Path) -> None:
    app = nexus.create_nexus(NexusConfig(), run_store=SqliteDatabase(f"sqlite:///{path}").run_store)
    app.register(price)
    async with app:
        await app.execute_workflow("price", {"pieces": 2})
    assert len(rows(path, "SELECT id FROM runs")) == 1


async def test_nothing_is_carried_out_before_the_database_is_open(app_of: AppOf) -> None:
    called: list[int] = []

    @nexus.workflow
    async def note(number: int) -> None:
        called.append(number)

    with pytest.raises(UnavailableError, match="async with app:"):
        await app_of(note).execute_workflow("note", {"number": 1})
    assert called == []


async def test_an_unknown_scheme_is_told_with_those_there_are() -> None:
    with pytest.raises(AdapterError, match=r"no adapter 'database\.mongodb'; installed of this kind: database\.sqlite"):
        nexus.create_nexus(NexusConfig(database_url="mongodb://localhost/nexus"))
    with pytest.raises(ConfigurationError, match=r"database_url: expected a URL such as sqlite:///nexus\.db, got 'nexus\.db'"):
        NexusConfig(database_url="nexus.db")


async def test_an_application_whose_file_can_not_be_used_does_not_start(app_of: AppOf, path: Path) -> None:
    path.write_bytes(b"something else" * 100)
    app = app_of(price)
    with pytest.raises(UnavailableError, match=r"nexus\.db is no SQLite database"):
        async with app:
            pass
    path.unlink()
    async with app:
        assert (await app.execute_workflow("price", {"pieces": 2})).results.euros == 5.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_whose_file_is_locked_answers_unavailable_and_recovers(
    anyio_backend: str, app_of: AppOf, path: Path
) -> None:
    app = app_of(price, options="?busy_timeout=0.05")
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        asked: dict[str, Any] = {"json": {"inputs": {"pieces": 2}}, "headers": {"Prefer": "respond-async"}}
        ready = [await client.get("/health/ready")]
        with locked(path):
            refused = await client.post("/api/workflows/price/execute", **asked)
            reading = await client.get("/api/runs")
            ready.append(await client.get("/health/ready"))
        taken = await client.post("/api/workflows/price/execute", **asked)
        ready.append(await client.get("/health/ready"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert refused.json()["error"]["message"].startswith("the database nexus.db is locked by another process")
    assert (reading.status_code, taken.status_code) == (200, 202)
    assert [response.status_code for response in ready] == [200, 503, 200]


async def test_who_started_a_run_is_known_after_a_restart(app_of: AppOf) -> None:
    ada, bob = Principal(id="ada", tenant_id="acme"), Principal(id="bob", tenant_id="acme")
    async with app_of(price) as app:
        result = await app.execute_workflow("price", {"pieces": 2}, principal=ada)
    async with app_of(price) as app:
        for who, ids in ((ada, [result.run_id]), (bob, [])):
            scope = Scope(tenant=who.tenant_id, principal=who.id)
            page = await app.executor.listing(scope, where={}, after=None, limit=5)
            assert [run.id for run in page.items] == ids


class TestRelativeUrl:
    def test_is_relative_to_the_file_that_calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        config = NexusConfig().merge(tmp_path / "desk", database_url="sqlite:///data/nexus.db?synchronous=full")
        assert config.database_url == f"sqlite:///{tmp_path}/desk/data/nexus.db?synchronous=full"

    def test_is_relative_to_the_toml(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "nexus.toml").write_text('database_url = "sqlite:///data/100%.db"\n')
        app = nexus.create_nexus(NexusConfig.from_env())
        assert app.database is not None
        assert app.database.place == f"{tmp_path}/data/100%.db"

    def test_from_the_environment_is_relative_to_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("NEXUS_DATABASE_URL", "sqlite:///nexus.db")
        app = nexus.create_nexus(NexusConfig.from_env())
        assert app.database is not None
        assert app.database.place == str(tmp_path / "nexus.db")

    def test_that_is_absolute_stays(self, tmp_path: Path) -> None:
        assert NexusConfig().merge(tmp_path, database_url="sqlite:////var/nexus.db").database_url == "sqlite:////var/nexus.db"


DESK = """
import nexus

app = nexus.create_nexus(title="Desk")


@app.workflow
def double(number: int) -> int:
    return 2 * number
"""


def ran(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "desk.py").write_text(DESK, encoding="utf-8")
    command = [sys.executable, "-m", "nexus_click", *words]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60)


def test_a_command_leaves_nothing_in_a_folder_without_a_database(tmp_path: Path) -> None:
    assert ran(tmp_path, "run", "desk:app", "double", "3", "--format", "json").stdout == "6\n"
    assert [file.name for file in tmp_path.iterdir()] == ["desk.py"]


def test_a_command_uses_the_database_that_is_there(tmp_path: Path) -> None:
    (tmp_path / ".nexus").mkdir()
    ran(tmp_path, "run", "desk:app", "double", "3")
    assert rows(tmp_path / ".nexus" / "nexus.db", "SELECT workflow, status FROM runs") == [("double", "succeeded")]


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_whose_process_is_killed_after_each_result_in_turn_finishes(anyio_backend: str, tmp_path: Path) -> None:
    results = 9
    desk = [sys.executable, "-m", "tests.durable_desk", str(tmp_path)]
    for number in range(1, results + 1):
        killed = await anyio.run_process([*desk, str(number), str(number), "sqlite"], check=False)
        assert killed.returncode == -9, killed.stderr
    last = await anyio.run_process([*desk, str(results + 1), "0", "sqlite"], stderr=subprocess.STDOUT)
    assert last.stdout.decode() == "succeeded 4.5 for 3 stops, 1 without a seat, 0.0 off\n"
    # A step whose process was killed before its result was kept is called again.
    assert len(set(noted(tmp_path))) == results
