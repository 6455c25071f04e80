"""An application with workflows that take files, and clients that send them whole or in pieces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import annotated_types
import anyio
import anyio.lowlevel
import attrs
import httpx

from nexus import Nexus, Problem, Run, create_nexus
from nexus.config import NexusConfig
from nexus_starlette import asgi

BOUNDARY = "frontier"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes | str, *headers: str, filename: str | None = None) -> bytes:
    named = f'Content-Disposition: form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    body = content.encode() if isinstance(content, str) else content
    return f"--{BOUNDARY}\r\n".encode() + "\r\n".join([named, *headers, "", ""]).encode() + body + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@attrs.define
class Desk:
    """An application whose folders a test can look into, and what its workflows saw."""

    app: Nexus
    root: Path
    seen: list[Path] = attrs.field(factory=list)
    started: anyio.Event = attrs.field(factory=anyio.Event)
    go_on: anyio.Event = attrs.field(factory=anyio.Event)

    def left(self) -> list[Path]:
        """What is in the folders of runs."""
        return list(self.root.glob("*/*"))


def desk(tmp_path: Path, **options: Any) -> Desk:
    config = NexusConfig(title="Desk", runs_root=tmp_path / "runs", **options.pop("settings", {}))
    app = create_nexus(config, **options)
    desk = Desk(app, tmp_path / "runs")

    @app.workflow
    def read(file: Path, limit: int = 100, note: str = "") -> dict[str, Any]:
        desk.seen.append(file)
        return {"name": file.name, "text": file.read_text()[:limit], "note": note}

    @app.workflow
    def count(files: list[Path], weights: list[int] | None = None) -> list[int]:
        desk.seen.extend(files)
        return [file.stat().st_size for file in files] + (weights or [])

    @app.workflow
    def maybe(file: Path | None = None) -> bool:
        return file is not None

    @app.workflow
    def short(file: Annotated[Path, annotated_types.Predicate(lambda path: path.suffix == ".csv")]) -> str:
        return file.suffix

    @app.workflow
    async def echo(value: int, inputs: str = "") -> list[Any]:
        return [value, inputs]

    add_patient(desk)
    add_failing(app)
    return desk


def add_patient(desk: Desk) -> None:
    @desk.app.workflow
    async def ask(file: Path, run: Run) -> str:
        desk.seen.append(file)
        return await anyio.Path(file).read_text() if await run.ask("Sure?", bool) else ""

    @desk.app.workflow
    async def wait(file: Path) -> str:
        desk.seen.append(file)
        desk.started.set()
        await desk.go_on.wait()
        return await anyio.Path(file).read_text()


def add_failing(app: Nexus) -> None:
    @app.workflow
    def fail(file: Path) -> None:
        raise Problem("conflict", f"{file.name} was here before")

    @app.workflow
    def crash(file: Path) -> None:
        raise RuntimeError(str(file))

    @app.workflow
    def same(file: Path) -> Path:
        return file


@asynccontextmanager
async def serving(desk: Desk, **scope: Any) -> AsyncIterator[httpx.AsyncClient]:
    application = asgi(desk.app)

    async def with_scope(given: Any, receive: Any, send: Any) -> None:
        await application({**given, **scope}, receive, send)

    transport = httpx.ASGITransport(with_scope)
    async with desk.app, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


async def execute(client: httpx.AsyncClient, workflow: str, *parts: bytes, end: bytes = END, **headers: str) -> httpx.Response:
    sent = {"content-type": FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.post(f"/api/workflows/{workflow}/execute", content=b"".join(parts) + end, headers=sent)


def results(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()["data"]["results"]


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


def problems_of(response: httpx.Response) -> dict[str, str]:
    return {problem["pointer"]: problem["message"] for problem in response.json()["error"]["details"]["errors"]}


@attrs.define
class Exchange:
    """A request whose body comes in pieces, and what became of it."""

    pieces: Sequence[bytes]
    headers: Mapping[str, str] = attrs.field(factory=dict)
    stays: bool = False
    whole: bool = False
    held: anyio.Event = attrs.field(factory=anyio.Event)
    go_on: anyio.Event | None = None
    read: int = 0
    sent: list[dict[str, Any]] = attrs.field(factory=list)

    async def receive(self) -> dict[str, Any]:
        if self.read < len(self.pieces):
            self.read += 1
            return {"type": "http.request", "body": self.pieces[self.read - 1], "more_body": not self.whole}
        self.held.set()
        if self.stays:
            await anyio.sleep_forever()
        if self.go_on is not None:
            await self.go_on.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def post(self, app: Nexus, workflow: str) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/api/workflows/{workflow}/execute",
            "headers": [(name.encode(), value.encode()) for name, value in {"content-type": FORM, **self.headers}.items()],
        }
        channel: Any = app.channel("api")
        await channel(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def error(self) -> Any:
        return json.loads(self.sent[1]["body"])["error"]


def opened(app: Nexus) -> Nexus:
    app.channel("api")
    return app


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody."""
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()
