"""`nexus --url URL`: the same words, on a server."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

import nexus
from nexus import Nexus, NexusConfig, Run
from nexus_click._program import run_program
from tests.remote_server import served
from tests.test_examples import DATA, WEATHER, example

Captured = pytest.CaptureFixture[str]


@attrs.frozen
class Report:
    chart: Path
    table: Path
    title: str = "chart.txt"


@attrs.define
class Desk:
    """A served application, and what its workflows saw."""

    app: Nexus
    url: str = ""
    seen: list[Any] = attrs.field(factory=list)
    ended: threading.Event = attrs.field(factory=threading.Event)


def made(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def add_talkers(desk: Desk) -> None:
    @desk.app.workflow
    async def double(n: int, *, note: str = "", run: Run) -> dict[str, Any]:
        """Double a number."""
        desk.seen.append(note)
        await run.log.info("doubling", n=n)
        return {"n": 2 * n, "note": note}

    @desk.app.workflow(background=True)
    async def slow(run: Run) -> str:
        await run.log.info("begun")
        await anyio.sleep(0.05)
        await run.log.info("nearly done")
        return "done"

    @desk.app.workflow(background=True)
    async def doomed() -> None:
        raise ValueError("a secret")

    @desk.app.workflow(deprecated="use double")
    async def old() -> int:
        return 1

    @desk.app.workflow
    async def broken() -> None:
        raise ValueError("a secret")

    @desk.app.workflow
    async def asks(run: Run) -> list[Any]:
        sure = await run.ask("Sure?", bool)
        await run.log.info("heard", sure=sure)
        return [sure, await run.ask("Which?", int, default=7)]

    @desk.app.workflow
    async def approved(run: Run) -> bool:
        return await run.ask("Pay?", bool, name="approve", of="role:finance")

    @desk.app.workflow
    async def taciturn() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep(60)
        finally:
            desk.ended.set()

    @desk.app.workflow
    async def interrupted(run: Run) -> None:
        try:
            await run.log.info("about to be interrupted")
            # The command line is in this process.
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await run.log.info("cleaned up")
            desk.seen.append("cleaned up")


def add_readers(desk: Desk) -> None:
    @desk.app.workflow
    def count(files: list[Path], inputs: str = "", weights: list[int] | None = None) -> dict[str, Any]:
        sizes = {path.name: path.stat().st_size for path in files}
        return {"sizes": sizes, "inputs": inputs, "weights": weights}

    @desk.app.workflow
    def read(file: Path | None = None, *, limit: int = 100) -> str:
        return "nothing" if file is None else file.read_text()[:limit]


def add_writers(desk: Desk) -> None:
    @desk.app.workflow
    async def render(run: Run) -> Report:
        chart = made(run.folder / "a" / "chart.txt", "chart")
        table = made(run.folder / "b" / "chart.txt", "table")
        return Report(chart=chart, table=table)

    @desk.app.workflow
    async def hostile(run: Run) -> list[Path]:
        names = ["..\\..\\evil.txt", ".bashrc", "red\x1b[31m.txt", "con.txt", "a:b?.txt", ". . "]
        return [made(run.folder / str(number) / name, name) for number, name in enumerate(names)]

    @desk.app.workflow
    async def vanishing(run: Run) -> Path:
        path = made(run.folder / "kept.txt", "x")
        desk.seen.append(path)
        return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("server")
    made(root / "files" / "there.txt", "over there")
    config = NexusConfig(title="Desk", description="Doubles things.", files_root=root / "files", runs_root=root / "runs")
    desk = Desk(nexus.create_nexus(config))
    add_talkers(desk)
    add_readers(desk)
    add_writers(desk)
    with served(desk.app) as desk.url:
        yield desk


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder of one's own, with nothing said about servers."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NEXUS_URL", raising=False)
    monkeypatch.delenv("NEXUS_TOKEN", raising=False)
    return folder


def listing(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


class TestRun:
    def test_the_result_is_on_standard_output_and_what_the_run_tells_beside_it(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "double", "3", "--note", "n"]) == 0
        assert capsys.readouterr() == ('{"n":6,"note":"n"}\n', "info: doubling  n=3\n")

    def test_the_address_may_be_in_the_environment(self, desk: Desk, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NEXUS_URL", desk.url)
        assert run_program(["run", "double", "3", "--format", "text"]) == 0
        assert capsys.readouterr().out == "n:    6\nnote:\n"

    def test_settings_stand_before_or_after_the_workflow(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "--format", "json", "double", "x", "--verbose"]) == 2
        assert json.loads(capsys.readouterr().err.splitlines()[-1])["code"] == "invalid_argument"

    def test_all_that_is_wrong_is_told_at_once_in_the_words_of_the_command_line(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "double", "three", "--frob", "1", "extra", "--note"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            "Error: the arguments of 'double' don't fit:",
            "  N (/n): expected an integer, got 'three'",
            "  --frob (/frob): unknown argument; there are n, note",
            "  --note (/note): --note needs a value",
            "  unexpected extra argument 'extra'",
        ]

    def test_an_unknown_workflow_suggests_the_nearest(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "duoble", "3"]) == 3
        assert capsys.readouterr().err == "Error: there is no operation 'duoble'; did you mean 'double'?\n"

    def test_a_run_that_waits_for_somebody_else_goes_on_without_its_caller(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "approved", "--format", "json"]) == 6
        told = json.loads(capsys.readouterr().err.splitlines()[-1])
        assert told["message"].startswith(
            f"run {told['details']['run_id']} waits for an answer: 'approve' (Pay?) of role:finance"
        )
        assert run_program(["--url", desk.url, "run", "runs.get", told["details"]["run_id"]]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == "waiting"
        assert run_program(["--url", desk.url, "run", "runs.cancel", told["details"]["run_id"]]) == 0

    def test_what_a_workflow_raised_stays_on_the_server(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "broken", "--verbose"]) == 1
        error, line = capsys.readouterr().err.splitlines()
        assert error.startswith("Error: the workflow failed; the log has the reason, under request id ")
        assert line.startswith("broken@1: failed, run ")

    def test_verbose_tells_which_run_it_was(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "double", "3", "--verbose"]) == 0
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("double@1: succeeded, run ")
        assert line.endswith(" s")

    def test_background_work_is_waited_for_and_heard(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "slow"]) == 0
        assert capsys.readouterr() == ('"done"\n', "info: begun\ninfo: nearly done\n")

    def test_background_work_that_fails_is_told_as_any_other(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "doomed", "--format", "json"]) == 1
        error = json.loads(capsys.readouterr().err)
        assert (error["code"], len(error["details"]["run_id"])) == ("failed", 32)

    def test_a_deprecated_workflow_warns(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "old"]) == 0
        assert capsys.readouterr() == ("1\n", "Warning: old 1 is deprecated: use double\n")

    def test_yes_answers_yes_or_the_default(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "asks", "--yes"]) == 0
        assert capsys.readouterr() == ("[true,7]\n", "info: heard  sure=true\n")

    def test_where_nobody_answers_the_run_is_cancelled(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "asks", "--no-input", "--verbose"]) == 6
        error, line = capsys.readouterr().err.splitlines()
        assert error == "Error: nobody can answer here; give `default=` (asked: 'Sure?')"
        assert line.startswith("asks@1: cancelled, run ")

    def test_a_signal_cancels_the_run_whose_last_words_are_heard(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "interrupted"]) == 130
        assert desk.seen[-1] == "cleaned up"
        assert capsys.readouterr().err.splitlines() == [
            "info: about to be interrupted",
            "info: cleaned up",
            "Error: interrupted",
        ]

    def test_a_signal_cancels_what_talks_to_nobody(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "taciturn"]) == 130
        assert desk.ended.wait(timeout=10)

    def test_what_is_built_in_is_called_too(self, desk: Desk, capsys: Captured) -> None:
        run_program(["--url", desk.url, "run", "double", "3", "--verbose"])
        run_id = capsys.readouterr().err.partition("run ")[2].partition(",")[0]
        assert run_program(["--url", desk.url, "run", "runs.wait", run_id, "--timeout", "5"]) == 0
        assert json.loads(capsys.readouterr().out)["results"] == {"n": 6, "note": ""}
        assert run_program(["--url", desk.url, "run", "schedules.trigger", "nightly", "--wait"]) == 3
        assert run_program(["--url", desk.url, "run", "runs.get"]) == 2
        assert "RUN_ID (/run_id): missing; expected a string" in capsys.readouterr().err


class TestMounted:
    def test_an_application_that_is_a_part_of_another_is_below_its_path(self, here: Path, capsys: Captured) -> None:
        app = nexus.create_nexus(NexusConfig(title="Part"))

        @app.workflow
        async def render(run: Run) -> Path:
            return made(run.folder / "chart.txt", "chart")

        def below(application: Any) -> Any:
            async def host(scope: Any, receive: Any, send: Any) -> None:
                assert scope["path"].startswith("/nexus/")
                await application({**scope, "root_path": "/nexus"}, receive, send)

            return host

        with served(app, around=below) as url:
            assert run_program(["--url", f"{url}/nexus/", "run", "render"]) == 0
        assert capsys.readouterr().out == '"chart.txt"\n'
        assert listing(here) == {"chart.txt": "chart"}


class TestHelp:
    def test_of_the_server_lists_its_workflows(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "--help"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"Usage: nexus --url {desk.url} run [OPTIONS] WORKFLOW [ARGS]...\n\n  Doubles things.\n")
        assert "double       Double a number.\n" in out
        assert "(deprecated)" in out

    def test_of_a_workflow_is_what_it_is_without_a_server(
        self, desk: Desk, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NEXUS_URL", desk.url)
        assert run_program(["run", "double", "--help"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("Usage: nexus run double [OPTIONS] N\n\n  Double a number.\n\nArguments:\n  N  [INTEGER]\n")
        assert "  --note TEXT " in out
        assert "  --output-dir DIR " in out

    def test_without_a_workflow_is_shown_and_is_an_error(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run"]) == 2
        assert "double" in capsys.readouterr().err

    def test_shows_no_token(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NEXUS_TOKEN", "hunter2")
        assert run_program(["--help"]) == 0
        out = capsys.readouterr().out
        assert "NEXUS_TOKEN" in out
        assert "hunter2" not in out


class TestListAndGraph:
    def test_list_is_a_table(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "list", "--format", "text"]) == 0
        assert "double       1        Double a number." in capsys.readouterr().out.splitlines()

    def test_graph_is_a_diagram(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "graph", "double"]) == 0
        assert capsys.readouterr().out.startswith("flowchart LR\n    in_n([n])\n")

    def test_graph_of_an_unknown_workflow_suggests_the_nearest(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "graph", "duoble"]) == 3
        assert "did you mean 'double'?" in capsys.readouterr().err

    def test_graph_needs_a_workflow(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "graph"]) == 2
        assert "Missing argument 'WORKFLOW'" in capsys.readouterr().err

    def test_list_takes_nothing(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "list", "double"]) == 2
        assert "unexpected extra argument (double)" in capsys.readouterr().err


class TestWords:
    @pytest.mark.parametrize(
        "words",
        [["run", "desk.py", "double", "3"], ["run", "desk:app", "double"], ["list", "a/desk.py:app"], ["graph", "desk:app", "x"]],
    )
    def test_a_target_beside_a_server_is_an_error_that_says_so(self, capsys: Captured, words: list[str]) -> None:
        assert run_program(["--url", "http://127.0.0.1:1", *words]) == 2
        err = capsys.readouterr().err
        assert f"{words[1]!r} names an application of this machine" in err
        assert "NEXUS_URL" in err

    @pytest.mark.parametrize("words", [["run", "--url", "http://x", "double"], ["list", "desk.py", "--token", "x"]])
    def test_an_address_in_the_wrong_place_is_told_the_right_one(self, capsys: Captured, words: list[str]) -> None:
        assert run_program(words) == 2
        assert "It comes before the command: nexus --url URL run WORKFLOW.\n" in capsys.readouterr().err

    def test_serving_is_not_for_a_server(self, capsys: Captured) -> None:
        assert run_program(["--url", "http://127.0.0.1:1", "serve", "desk.py"]) == 2
        assert "serve is for an application of this machine; leave out --url" in capsys.readouterr().err

    def test_an_address_in_the_environment_does_not_keep_from_serving(
        self, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NEXUS_URL", "http://127.0.0.1:1")
        assert run_program(["serve", "nothing.py"]) == 2
        assert "there is no file 'nothing.py'" in capsys.readouterr().err

    def test_a_token_without_a_server_is_an_error(self, capsys: Captured) -> None:
        assert run_program(["--token", "hunter2", "list", "desk.py"]) == 2
        err = capsys.readouterr().err
        assert "say where that is with --url" in err
        assert "hunter2" not in err

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("127.0.0.1:8000", "write it like http://127.0.0.1:8000"),
            ("ftp://x", "write it like http://127.0.0.1:8000"),
            ("http://", "write it like http://127.0.0.1:8000"),
            ("http://[x", "is no address of a server"),
            ("http://x:port", "is no address of a server"),
            ("http://x/?a=b", "ends with its path"),
            ("http://ada:hunter2@x", "give a token instead"),
        ],
    )
    def test_what_is_no_address_is_refused(self, capsys: Captured, url: str, said: str) -> None:
        assert run_program(["--url", url, "list"]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "hunter2" not in err


class TestUploads:
    def test_the_airport_desk_reads_a_file_that_is_only_here(self, capsys: Captured) -> None:
        app = example("airport_desk", "app.py").app
        with served(app) as url:
            assert run_program(["--url", url, "run", "process-data", str(WEATHER), "--format", "json"]) == 0
            assert json.loads(capsys.readouterr().out) == {"rows": 1461, "wettest": "2015-03-15", "millimetres": 55.9}
            assert run_program(["--url", url, "run", "process-data", "seattle-weather.csv", "--limit", "10"]) == 0
            assert json.loads(capsys.readouterr().out)["rows"] == 10

    def test_the_airport_desk_asks_about_the_file_of_its_caller(self, here: Path, capsys: Captured) -> None:
        (here / "doubtful.csv").write_text("date,precipitation\n2020-01-01,4.5\n2020-01-02,-3\n")
        with served(example("airport_desk", "app.py").app) as url:
            assert run_program(["--url", url, "run", "process-data", "doubtful.csv", "--yes"]) == 0
            assert run_program(["--url", url, "run", "process-data", "doubtful.csv"]) == 6
        out, err = capsys.readouterr()
        assert json.loads(out)["rows"] == 2
        assert err.splitlines() == [
            "warning: these days can't be  days=2020-01-02",
            "warning: these days can't be  days=2020-01-02",
            "Error: nobody can answer here; give `default=` (asked: 'Keep the outliers?')",
        ]

    def test_the_busiest_airports_are_those_of_the_files_of_the_caller(self, here: Path, capsys: Captured) -> None:
        for name in ("flights-airport.csv", "airports.csv"):
            (here / f"my-{name}").write_bytes((DATA / name).read_bytes())
        words = ["busiest-airports", "my-flights-airport.csv", "my-airports.csv", "--top", "1"]
        with served(example("airport_desk", "app.py").app) as url:
            assert run_program(["--url", url, "run", *words]) == 0
            assert json.loads(capsys.readouterr().out)[0]["iata"] == "ATL"
            assert run_program(["--url", url, "run", *words[:-1], "0"]) == 2
        assert "--top (/top): expected an integer" in capsys.readouterr().err

    def test_several_files_and_other_arguments_of_any_name_go_along(self, desk: Desk, here: Path, capsys: Captured) -> None:
        (here / "ä b.csv").write_text("12")
        (here / "two.csv").write_text("345")
        words = ["count", "ä b.csv", "two.csv", "there.txt", "--inputs", "3", "--weights", "7", "--weights", "8"]
        assert run_program(["--url", desk.url, "run", *words]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "sizes": {"ä b.csv": 2, "two.csv": 3, "there.txt": 10},
            "inputs": "3",
            "weights": [7, 8],
        }

    def test_what_is_no_file_here_is_one_below_the_root_over_there(self, desk: Desk, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "read", "--file", "there.txt", "--limit", "4"]) == 0
        assert capsys.readouterr().out == '"over"\n'
        assert run_program(["--url", desk.url, "run", "read"]) == 0
        assert run_program(["--url", desk.url, "run", "read", "--file", "/etc"]) == 2
        assert "--file (/file): " in capsys.readouterr().err

    def test_a_file_that_can_not_be_read_is_an_argument_that_does_not_fit(
        self, desk: Desk, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here / "mine.txt").write_text("x")

        opened = Path.open

        def refused(path: Path, *how: Any, **more: Any) -> Any:
            if path.name == "mine.txt":
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(path, *how, **more)

        monkeypatch.setattr(Path, "open", refused)
        assert run_program(["--url", desk.url, "run", "read", "--file", "mine.txt"]) == 2
        assert "--file (/file): can't read 'mine.txt': Permission denied" in capsys.readouterr().err

    def test_what_is_too_long_is_told_so_though_it_is_still_being_sent(self, here: Path, capsys: Captured) -> None:
        app = nexus.create_nexus(NexusConfig(title="Small", max_upload_bytes=100_000))

        @app.workflow
        def size(file: Path) -> int:
            return file.stat().st_size

        with (here / "long.bin").open("wb") as file:
            file.truncate(5_000_000)
        with served(app) as url:
            assert run_program(["--url", url, "run", "size", "long.bin"]) == 2
        assert capsys.readouterr().err == "Error: the body is longer than 100000 bytes; send less\n"

    def test_wrong_arguments_beside_a_file_are_told_all_at_once(self, desk: Desk, here: Path, capsys: Captured) -> None:
        (here / "a.txt").write_text("x")
        assert run_program(["--url", desk.url, "run", "read", "--file", "a.txt", "--limit", "x", "--frob", "1"]) == 2
        err = capsys.readouterr().err
        assert "  --limit (/limit): expected an integer, got 'x'\n" in err
        assert "  --frob (/frob): unknown argument" in err


class TestDownloads:
    def test_files_of_a_result_are_here_under_the_names_that_it_has(self, desk: Desk, here: Path, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "render"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "chart": "chart.txt",
            "table": "chart-2.txt",
            "title": "chart.txt",
        }
        assert listing(here) == {"chart.txt": "chart", "chart-2.txt": "table"}

    def test_a_file_that_is_here_is_left_alone(self, desk: Desk, here: Path, capsys: Captured) -> None:
        (here / "chart.txt").write_text("mine")
        (here / "chart-2.txt").symlink_to(here / "nowhere")
        assert run_program(["--url", desk.url, "run", "render"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["chart"], result["table"], result["title"]) == ("chart-3.txt", "chart-2-2.txt", "chart.txt")
        (here / "chart-2.txt").unlink()
        assert listing(here) == {"chart.txt": "mine", "chart-3.txt": "chart", "chart-2-2.txt": "table"}

    def test_they_go_where_one_says(self, desk: Desk, here: Path, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "render", "--output-dir", "made/here"]) == 0
        assert json.loads(capsys.readouterr().out)["chart"] == str(Path("made/here/chart.txt"))
        assert listing(here / "made" / "here") == {"chart.txt": "chart", "chart-2.txt": "table"}

    def test_no_name_leads_out_of_the_folder_or_hides_there(self, desk: Desk, here: Path, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "hostile", "--output-dir", "out"]) == 0
        names = [Path(path).name for path in json.loads(capsys.readouterr().out)]
        assert names == ["evil.txt", "bashrc", "red[31m.txt", "_con.txt", "a_b_.txt", "file"]
        assert sorted(listing(here / "out")) == sorted(names)
        assert sorted(path.name for path in here.iterdir()) == ["out"]

    def test_what_can_not_be_saved_leaves_nothing_behind_and_says_which_run_it_is_of(
        self, desk: Desk, here: Path, capsys: Captured
    ) -> None:
        (here / "taken").write_text("a file")
        assert run_program(["--url", desk.url, "run", "render", "--output-dir", "taken", "--verbose"]) == 6
        err = capsys.readouterr().err
        assert "can't be saved in taken" in err
        assert "render@1: succeeded, run " in err
        assert listing(here) == {"taken": "a file"}

    def test_a_file_can_be_had_later_as_long_as_it_is_there(self, desk: Desk, here: Path, capsys: Captured) -> None:
        assert run_program(["--url", desk.url, "run", "vanishing", "--verbose"]) == 0
        run_id = capsys.readouterr().err.partition("run ")[2].partition(",")[0]
        assert run_program(["--url", desk.url, "run", "runs.file", run_id, "kept.txt"]) == 0
        assert json.loads(capsys.readouterr().out) == {"name": "kept.txt", "path": "kept-2.txt"}
        desk.seen[-1].unlink()
        assert run_program(["--url", desk.url, "run", "runs.file", run_id, "kept.txt"]) == 3
        assert "is not there any more" in capsys.readouterr().err
        assert listing(here) == {"kept.txt": "x", "kept-2.txt": "x"}
