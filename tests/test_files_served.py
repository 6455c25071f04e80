"""Files over real connections."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from starlette.applications import Starlette

from nexus import BlockingRun, Nexus, create_nexus
from nexus.config import NexusConfig
from nexus_starlette import mount
from tests.files_desk import FORM, part, until
from tests.test_api_http import listening, rest_of

pytestmark = pytest.mark.anyio

MEGABYTE = 2**20


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn is asyncio only."""
    return "asyncio"


def desk(tmp_path: Path, **settings: Any) -> Nexus:
    app = create_nexus(NexusConfig(title="Desk", runs_root=tmp_path / "runs", **settings))

    @app.workflow
    def size(file: Path) -> int:
        return file.stat().st_size

    @app.workflow
    def upper(file: Path, run: BlockingRun) -> Path:
        made = run.folder / f"upper {file.name}"
        made.write_text(file.read_text().upper())
        return made

    return app


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "runs").glob("*/*"))


def url(port: int, workflow: str) -> str:
    return f"http://127.0.0.1:{port}/api/workflows/{workflow}/execute"


async def curl(*arguments: str) -> str:
    done = await anyio.run_process(["curl", "-sS", "--max-time", "20", *arguments])
    return done.stdout.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
async def test_curl_sends_a_file_and_saves_another(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    async with listening(desk(tmp_path)) as port:
        sent = json.loads(await curl("-F", f"file=@{tmp_path / 'note.txt'}", url(port, "upper")))
        file = sent["data"]["files"][0]
        await curl("-o", str(tmp_path / "saved.txt"), f"http://127.0.0.1:{port}{file['href']}")
    assert (sent["data"]["results"], file["media_type"]) == ("upper note.txt", "text/plain")
    assert (tmp_path / "saved.txt").read_text() == "HELLO"


async def test_a_large_file_comes_in_pieces_while_others_are_served(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield part("file", b"", filename="large.bin").removesuffix(b"\r\n")
        for _ in range(20):
            yield b"\0" * MEGABYTE
            alive = await client.get(f"http://127.0.0.1:{port}/health/live")
            assert alive.status_code == 200
        yield b"\r\n--frontier--\r\n"

    async with listening(desk(tmp_path)) as port, httpx.AsyncClient() as client:
        response = await client.post(url(port, "size"), content=body(), headers={"content-type": FORM})
        assert left(tmp_path) == []
    assert response.json()["data"]["results"] == 20 * MEGABYTE


async def test_a_client_that_sends_too_much_can_still_read_why_and_nothing_is_left(tmp_path: Path) -> None:
    def body() -> Iterator[bytes]:
        yield part("file", b"", filename="large.bin").removesuffix(b"\r\n")
        yield from [b"\0" * 100_000] * 50

    async with listening(desk(tmp_path, max_upload_bytes=MEGABYTE)) as port:
        response = await anyio.to_thread.run_sync(
            lambda: httpx.post(url(port, "size"), content=body(), headers={"content-type": FORM}, timeout=20)
        )
        assert left(tmp_path) == []
    assert (response.status_code, response.json()["error"]["code"]) == (413, "payload_too_large")
    assert response.headers["connection"] == "close"


async def test_a_client_that_leaves_in_the_middle_of_its_file_leaves_nothing_behind(tmp_path: Path) -> None:
    async with listening(desk(tmp_path)) as port:
        stream = await anyio.connect_tcp("127.0.0.1", port)
        lines = [
            "POST /api/workflows/size/execute HTTP/1.1",
            "Host: x",
            f"Content-Type: {FORM}",
            "Content-Length: 9000000",
            "",
            "",
        ]
        await stream.send("\r\n".join(lines).encode() + part("file", b"x" * MEGABYTE, filename="x"))
        await until(lambda: bool(left(tmp_path)))
        await stream.aclose()
        await until(lambda: not left(tmp_path))


async def test_a_form_that_ends_too_early_is_refused_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with listening(desk(tmp_path)) as port, httpx.AsyncClient() as client:
        refused = await client.post(url(port, "size"), content=part("file", "x", filename="x"), headers={"content-type": FORM})
        after = await client.post(url(port, "size"), files={"file": b"12345"})
    assert (refused.status_code, after.json()["data"]["results"]) == (400, 5)


async def test_a_client_that_waits_to_be_asked_is_not_asked_for_a_file_nobody_wants(tmp_path: Path) -> None:
    async with listening(desk(tmp_path)) as port:
        stream = await anyio.connect_tcp("127.0.0.1", port)
        lines = ["POST /api/workflows/none/execute HTTP/1.1", "Host: x", f"Content-Type: {FORM}", "Content-Length: 9000000"]
        await stream.send("\r\n".join([*lines, "Expect: 100-continue", "", ""]).encode())
        answer = await rest_of(stream)
        await stream.aclose()
    assert answer.startswith(b"HTTP/1.1 404")


async def test_the_address_of_a_file_works_where_the_application_is_mounted(tmp_path: Path) -> None:
    host = Starlette()
    app = desk(tmp_path)
    mount(host, app, at="/desk")
    transport = httpx.ASGITransport(host)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        response = await client.post("/desk/api/workflows/upper/execute", files={"file": ("a.txt", b"abc")})
        file = await client.get(response.json()["data"]["files"][0]["href"])
    assert file.text == "ABC"
