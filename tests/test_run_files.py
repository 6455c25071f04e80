"""Files that runs make: a folder of the run's own, what of it stays, and who may download it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs
import httpx
import msgspec
import pydantic
import pytest

from nexus import BlockingRun, Nexus, Run, UnavailableError, create_nexus
from nexus.abc import Interaction
from nexus.config import NexusConfig
from nexus.exceptions import NotFoundError
from nexus.memory import MemoryRunStore
from nexus.models import Caller, Event, Principal, Question, Request
from nexus.testing import Client
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio


@attrs.frozen
class Report:
    chart: Path
    rows: int


@dataclasses.dataclass
class Pages:
    first: Path
    others: list[Path]


class Paper(msgspec.Struct):
    page: Path | None


class Model(pydantic.BaseModel):
    plan: Path
    copies: dict[str, Path]


def made(folder: Path, name: str = "chart.png", text: str = "picture") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def desk(tmp_path: Path, **options: Any) -> Nexus:
    app = create_nexus(NexusConfig(title="Desk", runs_root=tmp_path / "runs"), **options)

    @app.workflow
    def chart(run: BlockingRun, name: str = "chart.png", text: str = "picture") -> Path:
        return made(run.folder, name, text)

    @app.workflow
    async def report(run: Run) -> Report:
        return Report(made(run.folder), 3)

    @app.workflow
    async def notes(run: Run) -> str:
        made(run.folder)
        return "done"

    @app.workflow
    async def fail(run: Run) -> Path:
        made(run.folder)
        raise OSError("no ink")

    @app.workflow
    def twins(run: BlockingRun) -> list[Path]:
        one, two = made(run.folder, "a/x.txt", "one"), made(run.folder, "b/x.txt", "two")
        return [one, two, one]

    @app.workflow
    def point(target: str) -> Path:
        return Path(target)

    return app


class Ear(Interaction):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def tell(self, event: Event) -> None:
        if event.type in {"run.log", "run.chunk"}:
            self.heard.append(event.data["fields"]["file"] if event.type == "run.log" else event.data["value"])

    async def ask(self, question: Question) -> Any:
        raise AssertionError(question)


def folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "runs").glob("*/*"))


@asynccontextmanager
async def serving(app: Nexus) -> AsyncIterator[httpx.AsyncClient]:
    application = asgi(app)

    async def with_principal(scope: Any, receive: Any, send: Any) -> None:
        verified = {"nexus.principal": Principal(id=who_of(scope))} if who_of(scope) else {}
        await application({**scope, **verified}, receive, send)

    async with app, httpx.AsyncClient(transport=httpx.ASGITransport(with_principal), base_url="http://api") as client:
        yield client


def who_of(scope: Any) -> str:
    who: bytes = dict(scope["headers"]).get(b"x-who", b"")
    return who.decode()


async def execute(client: httpx.AsyncClient, workflow: str, who: str = "", **inputs: Any) -> Any:
    response = await client.post(f"/api/workflows/{workflow}/execute", json={"inputs": inputs}, headers={"x-who": who})
    assert response.status_code == 200, response.text
    return response.json()["data"]


# ---- in-process


async def test_in_process_the_output_is_a_path_to_the_file(tmp_path: Path) -> None:
    async with desk(tmp_path) as app:
        result = await app.execute_workflow("chart")
        assert result.results.read_text() == "picture"
        report = await app.execute_workflow("report")
        assert report.results.chart.read_text() == "picture"


async def test_a_folder_is_one_for_the_whole_run_and_nobody_elses(tmp_path: Path) -> None:
    app = desk(tmp_path)

    @app.workflow
    async def look(run: Run) -> list[str]:
        mode = await anyio.to_thread.run_sync(lambda: run.folder.stat().st_mode)
        return [str(run.folder), str(run.folder), oct(mode & 0o777)]

    async with app:
        first, again, mode = (await app.execute_workflow("look")).results
        other = (await app.execute_workflow("look")).results[0]
    assert first == again != other
    assert mode == "0o700"


async def test_a_folder_goes_when_its_run_ends_unless_the_output_names_a_file_in_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as app:
        await app.execute_workflow("notes")
        with pytest.raises(Exception, match="the workflow failed"):
            await app.execute_workflow("fail")
        assert folders(tmp_path) == []
        await app.execute_workflow("chart")
        assert len(folders(tmp_path)) == 1


async def test_an_output_without_a_type_keeps_the_folder_too(tmp_path: Path) -> None:
    app = desk(tmp_path)

    @app.workflow
    async def untyped(run: Run):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return {"chart": made(run.folder)}

    @app.workflow
    async def unheard_of(run: Run):  # type: ignore[no-untyped-def]  # noqa: ANN202
        made(run.folder)
        return object()

    async with app:
        result = await app.execute_workflow("untyped")
        assert result.results["chart"].read_text() == "picture"
        await app.execute_workflow("unheard_of")
        assert len(folders(tmp_path)) == 2


async def test_everything_is_gone_when_the_application_has_stopped(tmp_path: Path) -> None:
    async with desk(tmp_path) as app:
        await app.execute_workflow("chart")
    assert list((tmp_path / "runs").iterdir()) == []


async def test_a_folder_that_can_not_be_written_to_is_removed_all_the_same(tmp_path: Path) -> None:
    app = desk(tmp_path)

    @app.workflow
    def closed(run: BlockingRun) -> None:
        made(run.folder, "in/x").parent.chmod(0o500)

    async with app:
        await app.execute_workflow("closed")
        assert folders(tmp_path) == []


async def test_a_folder_goes_with_the_record_of_its_run(tmp_path: Path) -> None:
    async with desk(tmp_path, run_store=MemoryRunStore(max_runs=2)) as app:
        for _ in range(10):
            await app.execute_workflow("chart")
        assert 2 <= len(folders(tmp_path)) <= 4


async def test_without_a_start_there_is_no_folder_and_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="start the application first"):
        await desk(tmp_path).execute_workflow("notes")


async def test_files_that_runs_hand_out_can_be_kept_and_nothing_else_is(tmp_path: Path) -> None:
    app = desk(tmp_path)

    @app.workflow
    async def forgetful(run: Run) -> None:
        made(run.folder)
        await anyio.sleep_forever()

    app.keep_files()
    async with app:
        result = await app.execute_workflow("chart")
        await app.execute_workflow("notes")
        handle = await app.submit_workflow("forgetful")
        await handle.cancel()
    assert result.results.read_text() == "picture"
    assert folders(tmp_path) == [result.results.parent]


async def test_there_is_nothing_to_keep_where_no_run_hands_out_a_file(tmp_path: Path) -> None:
    app = desk(tmp_path)
    app.keep_files()
    async with app:
        await app.execute_workflow("notes")
    assert list((tmp_path / "runs").iterdir()) == []


# ---- over HTTP


async def test_results_have_the_name_and_beside_them_is_where_the_file_can_be_downloaded(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        data = await execute(client, "report")
        shown = (await client.get(f"/api/runs/{data['run_id']}")).json()["data"]
        file = await client.get(data["files"][0]["href"])
    assert data["results"] == shown["results"] == {"chart": "chart.png", "rows": 3}
    assert data["files"] == shown["files"]
    assert data["files"] == [
        {"name": "chart.png", "media_type": "image/png", "href": f"/api/runs/{data['run_id']}/files/chart.png"}
    ]
    assert (file.status_code, file.text) == (200, "picture")
    assert str(tmp_path) not in str(data) + str(shown)


async def test_a_download_has_its_type_length_tag_and_name_and_is_no_page_of_ours(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        data = await execute(client, "chart", name="page.html", text="<b>")
        response = await client.get(data["files"][0]["href"], headers={"accept": "image/png", "x-request-id": "mine"})
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-length"] == "3"
    assert response.headers["content-disposition"] == 'attachment; filename="page.html"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"] == "mine"
    assert response.headers["etag"].startswith('"')


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("prüf ung.txt", "attachment; filename*=utf-8''pr%C3%BCf%20ung.txt"),
        ('a"b.txt', "attachment; filename*=utf-8''a%22b.txt"),
        ("50%?#.txt", "attachment; filename*=utf-8''50%25%3F%23.txt"),
    ],
)
async def test_any_name_can_be_downloaded(tmp_path: Path, name: str, disposition: str) -> None:
    async with serving(desk(tmp_path)) as client:
        data = await execute(client, "chart", name=name)
        response = await client.get(data["files"][0]["href"])
    assert (response.status_code, response.text) == (200, "picture")
    assert response.headers["content-disposition"] == disposition


async def test_a_part_of_a_file_can_be_had_and_its_head_alone(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        href = (await execute(client, "chart", text="0123456789"))["files"][0]["href"]
        part = await client.get(href, headers={"range": "bytes=2-4"})
        beyond = await client.get(href, headers={"range": "bytes=20-"})
        head = await client.head(href)
        posted = await client.post(href)
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
    assert beyond.status_code == 416
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")
    assert posted.status_code == 405


async def test_two_files_of_one_name_are_told_apart_and_one_that_is_named_twice_is_one(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        data = await execute(client, "twins")
        texts = [(await client.get(file["href"])).text for file in data["files"]]
    assert data["results"] == ["x.txt", "x.txt", "x.txt"]
    assert [file["name"] for file in data["files"]] == ["x.txt", "x-2.txt"]
    assert texts == ["one", "two"]


@pytest.mark.parametrize("name", ["other.png", "..%2F..%2Fsecret", "%2Fetc%2Fpasswd", "chart.png%00", "a/chart.png"])
async def test_only_what_the_output_names_can_be_had(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    async with serving(desk(tmp_path)) as client:
        run_id = (await execute(client, "chart"))["run_id"]
        response = await client.get(f"/api/runs/{run_id}/files/{name}")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert str(tmp_path) not in response.text


async def test_a_file_is_had_by_whoever_may_read_the_run(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        href = (await execute(client, "chart", who="ada"))["files"][0]["href"]
        hers = await client.get(href, headers={"x-who": "ada"})
        his = await client.get(href, headers={"x-who": "bob"})
        nobodys = await client.get(href)
    assert (hers.status_code, his.status_code, nobodys.status_code) == (200, 404, 404)


async def test_a_file_that_has_vanished_is_told_to_be_gone(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        href = (await execute(client, "chart"))["files"][0]["href"]
        next((tmp_path / "runs").rglob("chart.png")).unlink()
        response = await client.get(href)
    error = response.json()["error"]
    assert (response.status_code, error["details"]["gone"]) == (404, True)
    assert "is not there any more" in error["message"]


async def test_a_path_that_is_no_file_is_shown_by_its_name_and_not_handed_out(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        folder = await execute(client, "point", target=str(tmp_path))
        nothing = await execute(client, "point", target="/not/there.txt")
    assert (folder["results"], nothing["results"]) == (tmp_path.name, "there.txt")
    assert "files" not in folder
    assert "files" not in nothing


@pytest.mark.parametrize(
    ("make", "shown", "names"),
    [
        (lambda f: Report(made(f), 1), {"chart": "chart.png", "rows": 1}, ["chart.png"]),
        (lambda f: Pages(made(f, "a"), [made(f, "b")]), {"first": "a", "others": ["b"]}, ["a", "b"]),
        (lambda f: Paper(made(f)), {"page": "chart.png"}, ["chart.png"]),
        (lambda f: Paper(None), {"page": None}, None),
        (lambda f: Model(plan=made(f, "p"), copies={"c": made(f, "c")}), {"plan": "p", "copies": {"c": "c"}}, ["p", "c"]),
        (lambda f: {"deep": [{"er": made(f)}]}, {"deep": [{"er": "chart.png"}]}, ["chart.png"]),
    ],
)
async def test_a_path_anywhere_in_the_output_is_a_name_to_a_remote_caller(
    tmp_path: Path, make: Callable[[Path], Any], shown: Any, names: Any
) -> None:
    app = desk(tmp_path)

    @app.workflow
    async def give(run: Run) -> Any:
        return make(run.folder)

    async with serving(app) as client:
        data = await execute(client, "give")
    assert data["results"] == shown
    assert [file["name"] for file in data["files"]] == names if names else "files" not in data


async def test_an_output_of_a_type_with_a_path_is_looked_at_without_a_folder_too(tmp_path: Path) -> None:
    app = desk(tmp_path)
    kept = made(tmp_path, "plan.txt")

    @app.workflow
    async def plan() -> Model:
        return Model(plan=kept, copies={})

    async with serving(app) as client:
        data = await execute(client, "plan")
        file = await client.get(data["files"][0]["href"])
    assert (data["results"], file.text) == ({"plan": "plan.txt", "copies": {}}, "picture")


@pytest.mark.parametrize("channel", ["api", "mcp"])
async def test_no_remote_channel_shows_where_the_files_of_this_machine_are(tmp_path: Path, channel: Any) -> None:
    async with Client(desk(tmp_path), channel=channel) as client:
        assert await client.execute("chart") == "chart.png"


@pytest.mark.parametrize(("trusted", "shown"), [(True, "/srv/x.csv"), (False, "x.csv")])
async def test_what_a_run_tells_shows_whole_paths_to_callers_of_this_machine_only(
    tmp_path: Path, trusted: bool, shown: str
) -> None:
    app = desk(tmp_path)

    @app.workflow
    async def talk(run: Run) -> None:
        await run.log.info("read", file=Path("/srv/x.csv"))
        await run.chunk(Path("/srv/x.csv"))

    @app.workflow
    async def outer(run: Run) -> None:
        await run.execute("talk")

    async with app:
        for workflow in ("talk", "outer"):
            ear = Ear()
            await app.dispatch(
                Request(operation=workflow, arguments={}, caller=Caller(channel="api"), trusted_files=trusted), ear
            )
            assert ear.heard == [shown, shown]


async def test_a_run_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    async with desk(tmp_path) as app:
        request = Request(operation="runs.file", arguments={"run_id": "f00", "name": "x"}, caller=Caller(channel="api"))
        response = await app.dispatch(request)
    assert isinstance(response.error, NotFoundError)
