"""Files that came over HTTP are there as long as their run, and its record does not say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from nexus import BlockingRun, Problem
from nexus.models import Caller, Principal, Request, RunRecord, Scope
from nexus.testing import FakeClock
from tests.files_desk import END, Exchange, desk, error_of, execute, opened, part, results, serving, until

pytestmark = pytest.mark.anyio

# ---- as long as the run


async def test_the_files_of_a_run_that_waits_are_there_until_it_has_ended(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        waiting = await execute(client, "ask", part("file", "hello", filename="x.txt"))
        assert it.seen[0].read_text() == "hello"
        answered = await client.post(f"{waiting.headers['location']}/answer", json={"answer": True})
        assert it.left() == []
    assert (waiting.status_code, answered.json()["data"]["results"]) == (202, "hello")


async def test_the_files_of_a_submitted_run_are_there_until_it_has_ended(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        submitted = await execute(client, "wait", part("file", "hello", filename="x.txt"), prefer="respond-async")
        await it.started.wait()
        it.go_on.set()
        run_id = submitted.json()["data"]["run_id"]
        ended = await it.app.executor.runtime.settled(run_id)
        assert it.left() == []
    assert (submitted.status_code, ended.output) == (202, "hello")


async def test_the_files_of_a_run_that_is_cancelled_are_removed(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        submitted = await execute(client, "wait", part("file", "hello", filename="x.txt"), prefer="respond-async")
        await it.started.wait()
        assert len(it.left()) == 1
        cancelled = await client.post(f"{submitted.headers['location']}/cancel")
        assert it.left() == []
    assert cancelled.json()["data"]["status"] == "cancelled"


@pytest.mark.parametrize(("workflow", "code"), [("fail", "conflict"), ("crash", "failed")])
async def test_the_files_of_a_run_that_fails_are_removed(tmp_path: Path, workflow: str, code: str) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        response = await execute(client, workflow, part("file", "x", filename="x.txt"))
        assert it.left() == []
    assert error_of(response)[1] == code
    assert str(it.root) not in response.text


async def test_the_files_are_removed_when_the_client_leaves_its_run(tmp_path: Path) -> None:
    clock = FakeClock()
    it = desk(tmp_path, clock=clock)
    exchange = Exchange([part("file", "x", filename="x") + END], whole=True)
    async with opened(it.app), anyio.create_task_group() as group:
        group.start_soon(exchange.post, it.app, "wait")
        await it.started.wait()
        await clock.advance(0.1)
        await until(lambda: bool(exchange.sent))
        assert it.left() == []
    assert exchange.status == 499


async def test_the_files_are_removed_when_the_client_leaves_while_it_sends(tmp_path: Path) -> None:
    it = desk(tmp_path)
    exchange = Exchange([part("file", b"x" * 600_000, filename="x")], go_on=anyio.Event())
    async with opened(it.app), anyio.create_task_group() as group:
        group.start_soon(exchange.post, it.app, "read")
        await exchange.held.wait()
        assert len(it.left()) == 1
        assert exchange.go_on is not None
        exchange.go_on.set()
        await until(lambda: bool(exchange.sent))
        assert it.left() == []
    assert exchange.status == 499
    assert it.seen == []


async def test_the_files_are_removed_when_the_task_is_cancelled_while_it_reads(tmp_path: Path) -> None:
    it = desk(tmp_path)
    exchange = Exchange([part("file", b"x" * 600_000, filename="x")], stays=True)
    async with opened(it.app):
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.post, it.app, "read")
            await exchange.held.wait()
            group.cancel_scope.cancel()
        assert it.left() == []


async def test_the_files_of_runs_in_flight_are_removed_when_the_application_stops(tmp_path: Path) -> None:
    it = desk(tmp_path, settings={"shutdown_grace": 0})
    async with serving(it) as client:
        await execute(client, "wait", part("file", "x", filename="x"), prefer="respond-async")
        await execute(client, "ask", part("file", "x", filename="x"))
        await it.started.wait()
        assert len(it.left()) == 2
    assert list(it.root.iterdir()) == []


async def test_a_store_that_refuses_the_run_leaves_no_files(tmp_path: Path) -> None:
    it = desk(tmp_path)

    async def full(*_: Any, **__: Any) -> RunRecord:
        raise Problem("resource_exhausted", "full")

    it.app.executor.runs.create = full  # type: ignore[method-assign]
    async with serving(it) as client:
        submitted = await execute(client, "wait", part("file", "x", filename="x"), prefer="respond-async")
        asked = await execute(client, "ask", part("file", "x", filename="x"))
        at_the_end = await execute(client, "read", part("file", "x", filename="x"))
        assert it.left() == []
    assert {error_of(each)[1] for each in (submitted, asked, at_the_end)} == {"resource_exhausted"}


async def test_a_store_that_loses_the_run_leaves_no_files(tmp_path: Path) -> None:
    it = desk(tmp_path)

    async def lost(*_: Any, **__: Any) -> RunRecord:
        raise OSError("the disk is gone")

    it.app.executor.runs.save = lost  # type: ignore[method-assign]
    async with serving(it) as client:
        submitted = await execute(client, "read", part("file", "x", filename="x"), prefer="respond-async")
        await until(lambda: not it.left())
    assert submitted.status_code == 202


# ---- what the record says


async def test_a_record_has_what_the_file_was_and_not_where(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        read = await execute(
            client, "read", part("file", "hello", "Content-Type: text/csv", filename="x.csv"), part("limit", "3")
        )
        counted = await execute(client, "count", part("files", "a", filename="a"), part("files", "b", filename="b"))
        records = [await it.app.executor.find(Scope.ALL, each.json()["data"]["run_id"]) for each in (read, counted)]
        shown = await client.get(f"/api/runs/{records[0].id}")
    file = records[0].inputs["file"]
    assert (file.filename, file.media_type, file.size, file.path) == ("x.csv", "text/csv", 5, None)
    assert file.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert records[0].inputs["limit"] == 3
    assert [each.filename for each in records[1].inputs["files"]] == ["a", "b"]
    assert str(it.root) not in repr(records)
    assert str(it.root) not in shown.text


async def test_inputs_of_a_record_are_no_way_to_a_file_that_is_gone(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        read = await execute(client, "read", part("file", "hello", filename="x.csv"))
        record = await it.app.executor.find(Scope.ALL, read.json()["data"]["run_id"])
        again = await it.app.dispatch(Request(operation="read", arguments=record.inputs, caller=Caller(channel="api")))
    assert again.error is not None
    assert "the file is not there any more; send it again" in again.error.message


async def test_the_same_files_under_the_same_key_are_the_same_run(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it, **{"nexus.principal": Principal(id="ada")}) as client:
        first = await execute(client, "read", part("file", "a", filename="x"), idempotency_key="k")
        again = await execute(client, "read", part("file", "a", filename="x"), idempotency_key="k")
        other = await execute(client, "read", part("file", "b", filename="x"), idempotency_key="k")
        assert it.left() == []
    assert first.json()["data"]["run_id"] == again.json()["data"]["run_id"]
    assert error_of(other)[:2] == (409, "conflict")


async def test_a_result_that_is_the_file_that_came_is_its_name_and_no_file_any_more(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        response = await execute(client, "same", part("file", "x", filename="x.csv"))
        assert it.left() == []
    assert results(response) == "x.csv"
    assert "files" not in response.json()["data"]


async def test_an_application_that_is_not_started_takes_no_files(tmp_path: Path) -> None:
    it = desk(tmp_path)
    transport = httpx.ASGITransport(it.app.channel("api"))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        response = await execute(client, "read", part("file", "x", filename="x"))
    assert error_of(response)[:2] == (503, "unavailable")
    assert not it.root.exists()


async def test_a_step_in_a_thread_reads_and_asks_with_the_file_still_there(tmp_path: Path) -> None:
    it = desk(tmp_path)

    @it.app.workflow
    def confirm(file: Path, run: BlockingRun) -> str:
        return file.read_text() if run.ask("Sure?", bool) else ""

    async with serving(it) as client:
        waiting = await execute(client, "confirm", part("file", "hello", filename="x"))
        answered = await client.post(f"{waiting.headers['location']}/answer", json={"answer": "yes"})
        assert it.left() == []
    assert answered.json()["data"]["results"] == "hello"
