"""The `nexus` script, as a shell runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

import nexus
import nexus_click
from nexus.models import Principal
from nexus_click._program import run_program
from nexus_click._target import load_target

DESK = """
import logging
import signal

import anyio
import nexus

app = nexus.create_nexus(title="Desk")
print("loaded")


@app.workflow
async def double(n: int) -> int:
    \"\"\"Double a number.\"\"\"
    print("doubling")
    return 2 * n


@app.workflow
async def interrupted(signum: int = signal.SIGINT) -> None:
    signal.raise_signal(signum)
    try:
        await anyio.sleep(60)
    finally:
        print("cleaned up")


@app.workflow
def broken() -> None:
    raise ValueError("a secret")


@app.workflow
async def asks(run: nexus.Run) -> str:
    return await run.ask("Name?", str)


@app.workflow(version="2")
def double_all(numbers: list[int]) -> list[int]:
    return [2 * n for n in numbers]


@app.workflow(name="double_all", version="1")
def double_one(n: int) -> list[int]:
    return [2 * n]


other = nexus.create_nexus(title="Other")


def make() -> nexus.Nexus:
    return other


def fail() -> None:
    raise RuntimeError("can't be made")


class Namespace:
    inner = other
    number = 3
"""


@pytest.fixture(autouse=True)
def _imports_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("desk", "helper")):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, source: str) -> str:
    path = folder / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return str(path)


def python(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60, **options
    )


class TestRun:
    @pytest.mark.slow
    def test_results_and_nothing_else_are_on_standard_output(self, folder: Path) -> None:
        done = python("-m", "nexus_click", "run", "desk.py", "double", "3", "--format", "json", cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "6\n", "loaded\ndoubling\n")

    def test_a_closed_standard_output_takes_the_result_and_no_more(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdout", None)
        assert run_program(["run", "desk.py", "double", "3"]) == 0
        assert "Traceback" not in capsys.readouterr().err

    def test_settings_stand_before_or_after(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["run", "--format", "text", "--verbose", "desk.py", "double", "3", "--format=json"]) == 0
        out, err = capsys.readouterr()
        assert out == "6\n"
        assert "double@1: succeeded" in err

    def test_settings_stand_between_target_and_workflow(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["run", "desk.py", "--format", "json", "double", "x"]) == 2
        assert json.loads(capsys.readouterr().err.splitlines()[-1])["code"] == "invalid_argument"

    def test_without_a_workflow_the_workflows_are_listed(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["run", "desk.py"]) == 2
        assert "double-all" in capsys.readouterr().err

    def test_help_of_a_target_lists_its_workflows(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["run", "desk.py", "--help"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("Usage: nexus run desk.py [OPTIONS] WORKFLOW [ARGS]...")
        assert "  double       Double a number.\n" in out

    def test_help_of_a_workflow_explains_it(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["run", "desk.py", "double", "--help"]) == 0
        assert "Usage: nexus run desk.py double [OPTIONS] N" in capsys.readouterr().out

    def test_a_file_that_a_run_hands_out_is_there_afterwards(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = """
            from pathlib import Path
            import nexus

            app = nexus.create_nexus(runs_root="runs")

            @app.workflow
            def note(text: str, run: nexus.BlockingRun) -> Path:
                file = run.folder / "note.txt"
                file.write_text(text)
                return file
        """
        assert run_program(["run", write(folder, "desk_of_notes.py", source), "note", "hello", "--format", "json"]) == 0
        file = Path(json.loads(capsys.readouterr().out))
        assert file.read_text() == "hello"
        assert file.is_relative_to(folder / "runs")

    @pytest.mark.slow
    def test_a_failure_has_its_traceback_above_it_and_not_in_it(self, folder: Path) -> None:
        done = python("-m", "nexus_click", "run", "desk.py", "broken", cwd=folder)
        assert (done.returncode, done.stdout) == (1, "")
        traceback, _, error = done.stderr.partition("\nError: ")
        assert "ValueError: a secret" in traceback
        assert "a secret" not in error
        frames = [line for line in traceback.splitlines() if line.lstrip().startswith("File ")]
        assert len(frames) == 1
        assert "desk.py" in frames[0]

    @pytest.mark.slow
    def test_a_log_that_the_application_arranged_is_left_alone(self, folder: Path) -> None:
        target = write(folder, "helper_log.py", DESK + "\nlogging.getLogger('nexus').addHandler(logging.NullHandler())\n")
        assert python("-m", "nexus_click", "run", target, "broken").stderr.splitlines()[:1] == ["loaded"]

    @pytest.mark.slow
    def test_an_answer_that_nobody_gives_is_told_once(self, folder: Path) -> None:
        assert python("-m", "nexus_click", "run", "desk.py", "asks", cwd=folder).stderr.count("nobody can answer") == 1

    @pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_cancels_the_run(self, folder: Path, capsys: pytest.CaptureFixture[str], signum: int, status: int) -> None:
        before = signal.getsignal(signum)
        assert run_program(["run", "desk.py", "interrupted", "--signum", str(int(signum))]) == status
        assert capsys.readouterr().err.splitlines()[-2:] == ["cleaned up", "Error: interrupted"]
        assert signal.getsignal(signum) is before

    def test_a_signal_while_the_application_starts_stops_it(self, folder: Path) -> None:
        target = write(
            folder,
            "helper_start.py",
            """
            import signal
            import anyio
            import nexus

            class Slow(nexus.abc.Channel):
                name = "slow"

                def __init__(self, gateway, config): ...

                async def start(self, exit_stack):
                    signal.raise_signal(signal.SIGINT)
                    await anyio.sleep(60)

            app = nexus.create_nexus(channels=[Slow])
            """,
        )
        assert run_program(["run", target, "workflows.list"]) == 130

    def test_an_application_that_does_not_start_is_told(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target = write(
            folder,
            "helper_fail.py",
            """
            import nexus

            class Broken(nexus.abc.Channel):
                name = "broken"

                def __init__(self, gateway, config): ...

                async def start(self, exit_stack):
                    raise nexus.UnavailableError("the database is away")

            app = nexus.create_nexus(channels=[Broken])
            """,
        )
        assert run_program(["run", target, "workflows.list"]) == 6
        assert capsys.readouterr().err == "Error: the database is away\n"

    def test_results_are_written_as_utf8_and_text_as_the_stream_can(self, folder: Path) -> None:
        target = write(
            folder,
            "helper_text.py",
            """
            import nexus
            app = nexus.create_nexus()

            @app.workflow
            def price() -> str:
                return "5 €"
            """,
        )
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        argv = ["-m", "nexus_click", "run", target, "price", "--format"]
        assert python(*argv, "text", env=environment).stdout == "5 \\u20ac\n"
        done = subprocess.run([sys.executable, *argv, "json"], capture_output=True, check=True, env=environment, timeout=60)
        assert done.stdout.decode() == '"5 €"\n'

    @pytest.mark.slow
    def test_a_reader_that_leaves_early_is_no_crash(self, folder: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "nexus_click", "run", "desk.py", "double", "3"],
            cwd=folder,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        os.close(writing)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


class TestTarget:
    @pytest.mark.parametrize(
        ("target", "title"),
        [
            ("desk", "Desk"),
            ("desk:app", "Desk"),
            ("desk:other", "Other"),
            ("desk:make()", "Other"),
            ("desk:Namespace.inner", "Other"),
            ("desk.py", "Desk"),
            ("./desk.py:", "Desk"),
            ("desk.py:other", "Other"),
        ],
    )
    def test_names_an_application(self, folder: Path, target: str, title: str) -> None:
        assert load_target(target).title == title

    def test_without_an_attribute_is_the_only_application(self, folder: Path) -> None:
        target = write(folder, "helper_one.py", "import nexus\ndesk = again = nexus.create_nexus(title='Only')\n")
        assert load_target(target).title == "Only"

    def test_finds_modules_beside_its_file(self, folder: Path) -> None:
        (folder / "sub").mkdir()
        write(folder, "sub/helper_beside.py", "TITLE = 'Beside'\n")
        target = write(
            folder, "sub/helper_main.py", "import nexus, helper_beside\napp = nexus.create_nexus(title=helper_beside.TITLE)\n"
        )
        assert load_target(target).title == "Beside"

    def test_may_have_the_name_of_a_module_that_is_loaded(self, folder: Path) -> None:
        assert load_target(write(folder, "json.py", "import nexus\napp = nexus.create_nexus(title='Json')\n")).title == "Json"
        assert sys.modules["json"] is json
        del sys.modules["json_target"]

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("nowhere.py", "there is no file 'nowhere.py', seen from "),
            ("nowhere", "there is no module 'nowhere', seen from "),
            ("desk.nowhere", "there is no module 'desk.nowhere', seen from "),
            ("some/folder", "'some/folder' is no target; write module:attribute or path/to/file.py:attribute"),
            ("", "'' is no target; write module:attribute or path/to/file.py:attribute"),
            ("desk:nothing", "'desk:nothing': there is no 'nothing' there; applications there: app, other"),
            ("desk:make", "'desk:make' is a function; if it returns the application, write 'desk:make()'"),
            ("desk:Namespace.number", "'desk:Namespace.number' is int, not an application; applications there: app, other"),
            ("helper_two.py", "'helper_two.py' does not say which application; applications there: one, two"),
            (
                "helper_none.py",
                "'helper_none.py' does not say which application; no application is there; make one with nexus.create_nexus()",
            ),
        ],
    )
    def test_that_names_none_is_told_in_one_line(
        self, folder: Path, capsys: pytest.CaptureFixture[str], target: str, message: str
    ) -> None:
        write(folder, "helper_two.py", "import nexus\none, two = nexus.create_nexus(), nexus.create_nexus()\n")
        write(folder, "helper_none.py", "")
        assert run_program(["run", target, "x"]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line != "loaded"]
        assert line.startswith(f"Error: {message}")

    @pytest.mark.parametrize(
        ("source", "last"),
        [
            ("def f():\n    1 / 0\nf()\n", "ZeroDivisionError: division by zero"),
            ("import helper_not_there\n", "ModuleNotFoundError: No module named 'helper_not_there'"),
            ("1 +\n", "SyntaxError: invalid syntax"),
        ],
    )
    @pytest.mark.parametrize("spelling", ["helper_bad.py", "helper_bad"])
    def test_whose_code_raises_has_the_traceback_of_that_code(
        self, folder: Path, capsys: pytest.CaptureFixture[str], source: str, last: str, spelling: str
    ) -> None:
        write(folder, "helper_bad.py", source)
        assert run_program(["run", spelling, "x"]) == 1
        err = capsys.readouterr().err
        assert "can't be loaded" in err
        assert err.splitlines()[-1] == last
        assert "nexus_click" not in err
        assert "importlib" not in err

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("import nexus\nnexus.create_nexus(titel='x')\n", "did you mean title?"),
            ("import nexus\n@nexus.workflow(timeout=-1)\nasync def f(): ...\n", "helper_bad:f: timeout=-1 is not a positive"),
        ],
    )
    def test_that_nexus_refuses_is_told_in_a_line(
        self, folder: Path, capsys: pytest.CaptureFixture[str], source: str, told: str
    ) -> None:
        write(folder, "helper_bad.py", source)
        assert run_program(["run", "helper_bad", "x"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("Error: helper_bad can't be loaded: ")
        assert told in line

    def test_whose_result_can_not_be_written_says_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(
            folder,
            "helper_odd.py",
            """
            from typing import Any
            import nexus
            app = nexus.create_nexus()
            @app.workflow
            def odd() -> Any:
                return object()
            """,
        )
        assert run_program(["run", "helper_odd", "odd"]) == 70
        assert "Error: the result can't be written as JSON" in capsys.readouterr().err

    def test_that_is_not_for_mcp_is_not_served_to_it(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(folder, "helper_off.py", "import nexus\napp = nexus.create_nexus(channels={'mcp': {'enabled': False}})\n")
        assert run_program(["mcp", "helper_off"]) == 70
        assert "MCP is switched off in this application: channels.mcp.enabled is false" in capsys.readouterr().err

    def test_whose_function_raises_has_the_traceback_of_it(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["run", "desk:fail()", "x"]) == 1
        assert capsys.readouterr().err.splitlines()[-1] == "RuntimeError: can't be made"


class TestList:
    def test_shows_a_table(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["list", "desk.py", "--format", "text"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["name", "version", "summary"]
        assert "double       1        Double a number." in lines
        assert not [line for line in lines if "@" in line]

    def test_shows_older_versions_where_they_are_asked_for(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run_program(["list", "desk.py", "--format", "text", "--all"])
        assert "double-all@1" in capsys.readouterr().out

    def test_is_json_in_a_pipe(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["list", "desk.py"]) == 0
        names = [view["name"] for view in json.loads(capsys.readouterr().out)]
        assert names == ["asks", "broken", "double", "double_all", "interrupted"]

    def test_of_nothing_says_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["list", "desk.py:other", "--format", "text"]) == 0
        assert "no workflows are registered\n" in capsys.readouterr().err

    def test_of_a_command_line_that_is_switched_off_is_refused(self, folder: Path) -> None:
        target = write(
            folder,
            "helper_off.py",
            "import nexus\n"
            "config = nexus.NexusConfig().merge(channels={'cli': {'enabled': False}})\n"
            "app = nexus.create_nexus(config)\n",
        )
        assert run_program(["list", target]) == 4


class TestGraph:
    def test_is_a_mermaid_diagram_even_in_a_pipe(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["graph", "desk.py", "double"]) == 0
        assert capsys.readouterr().out == (
            "flowchart LR\n    in_n([n])\n    double[double]\n    in_n --> double\n    double --> out((result))\n"
        )

    def test_is_json_where_that_is_asked_for(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["graph", "desk.py", "double", "--format", "json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert [step["name"] for step in shown["steps"]] == ["double"]
        assert shown["output"] == "double"
        assert shown["mermaid"].startswith("flowchart LR\n")

    @pytest.mark.parametrize(
        ("spelling", "parameter"), [("double-all", "numbers"), ("double_all", "numbers"), ("double-all@1", "n")]
    )
    def test_takes_the_names_that_list_shows(
        self, folder: Path, capsys: pytest.CaptureFixture[str], spelling: str, parameter: str
    ) -> None:
        assert run_program(["graph", "desk.py", spelling]) == 0
        assert f"in_{parameter}([{parameter}])" in capsys.readouterr().out

    def test_of_an_unknown_workflow_suggests_the_nearest(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["graph", "desk.py", "duoble"]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert "did you mean 'double'?" in err

    def test_in_json_tells_an_error_in_json(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["graph", "desk.py", "duoble", "--format", "json"]) == 3
        assert json.loads(capsys.readouterr().err.splitlines()[-1])["code"] == "not_found"

    def test_needs_a_workflow(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["graph", "desk.py"]) == 2
        assert "WORKFLOW" in capsys.readouterr().err


class TestServing:
    @pytest.fixture
    def served(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
        """Stand in for the adapters that open ports and take over the streams."""
        calls: list[tuple[str, str, int]] = []

        def serve(app: nexus.Nexus, *, host: str, port: int) -> int:
            calls.append((app.title, host, port))
            if port == 1:
                raise nexus.ConfigurationError("can't listen there")
            return 0

        async def serve_stdio(app: nexus.Nexus) -> None:
            calls.append((app.title, "stdio", 0))

        for name, attribute in (("nexus_starlette", serve), ("nexus_mcp", serve_stdio)):
            module = ModuleType(name)
            setattr(module, attribute.__name__, attribute)
            monkeypatch.setitem(sys.modules, name, module)
        return calls

    def test_is_on_loopback_unless_said_otherwise(
        self, folder: Path, served: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_program(["serve", "desk:app"]) == 0
        assert served == [("Desk", "127.0.0.1", 8000)]
        database = folder / ".nexus" / "nexus.db"
        assert f"Desk keeps runs and sessions in {database}\n" in capsys.readouterr().err

    def test_keeps_all_in_memory_where_that_is_said(
        self, folder: Path, served: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NEXUS_DATABASE_URL", "sqlite:///elsewhere.db")
        assert run_program(["serve", "desk:app", "--memory"]) == 0
        assert "Desk keeps runs and sessions in memory: they are gone when it stops\n" in capsys.readouterr().err

    def test_keeps_all_where_the_application_says(
        self, folder: Path, served: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NEXUS_DATABASE_URL", "sqlite:///elsewhere.db")
        assert run_program(["serve", "desk:app"]) == 0
        assert f"Desk keeps runs and sessions in {folder / 'elsewhere.db'}\n" in capsys.readouterr().err

    def test_leaves_an_application_with_a_store_of_its_own_alone(
        self, folder: Path, served: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "own.py").write_text(
            "import nexus\nfrom nexus.memory import MemoryRunStore\n"
            "class Runs(MemoryRunStore):\n    shared = True\n"
            "app = nexus.create_nexus(title='Own', run_store=Runs())\n"
        )
        assert run_program(["serve", "own:app"]) == 0
        assert "Own keeps runs in a store of its own\n" in capsys.readouterr().err

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
    def test_takes_a_loopback_host_and_a_port(self, folder: Path, served: list[Any], host: str) -> None:
        assert run_program(["serve", "desk:app", "--host", host, "--port", "0"]) == 0
        assert served == [("Desk", host, 0)]

    @pytest.mark.parametrize("host", ["0.0.0.0", "example.com", "::"])  # noqa: S104 - refused
    def test_refuses_another_host_unless_that_is_meant(
        self, folder: Path, served: list[Any], capsys: pytest.CaptureFixture[str], host: str
    ) -> None:
        assert run_program(["serve", "desk:app", "--host", host]) == 2
        assert "--allow-anonymous" in capsys.readouterr().err
        assert served == []
        assert run_program(["serve", "desk:app", "--host", host, "--allow-anonymous"]) == 0
        assert served == [("Desk", host, 8000)]

    def test_that_can_not_be_is_told(self, folder: Path, served: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["serve", "desk:app", "--port", "1"]) == 70
        assert capsys.readouterr().err.splitlines()[-1] == "Error: can't listen there"

    def test_over_stdio_takes_no_port(self, folder: Path, served: list[Any]) -> None:
        assert run_program(["mcp", "desk:app"]) == 0
        assert served == [("Desk", "stdio", 0)]

    @pytest.mark.parametrize(
        ("command", "library", "extra"),
        [
            (["serve", "desk.py"], "starlette", "starlette"),
            (["mcp", "desk.py"], "mcp", "mcp"),
            (["--url", "http://x", "list"], "httpx", "client"),
        ],
    )
    @pytest.mark.slow
    def test_says_what_to_install(self, folder: Path, command: list[str], library: str, extra: str) -> None:
        done = python("-c", without(library, f"import sys; sys.argv = {['nexus', *command]}"), cwd=folder)
        assert done.returncode == 1
        assert f"needs '{library}'; run: pip install 'nexus-channels[{extra}]'" in done.stderr

    def test_a_broken_adapter_is_not_a_missing_one(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "nexus_mcp", None)
        with pytest.raises(ModuleNotFoundError, match="nexus_mcp"):
            run_program(["mcp", "desk:app"])


def without(library: str, prelude: str = "") -> str:
    """Return a program that runs `nexus` where a library is not installed."""
    return textwrap.dedent(f"""
        import importlib.abc, sys
        class Hidden(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name.partition(".")[0] == {library!r} and path is None:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        import importlib.util
        finds = importlib.util.find_spec
        importlib.util.find_spec = lambda name, package=None: None if name == {library!r} else finds(name, package)
        sys.meta_path.insert(0, Hidden())
        {prelude}
        import nexus_click
        sys.exit(nexus_click.main())
    """)


class TestScript:
    def test_shows_its_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["--version"]) == 0
        assert capsys.readouterr().out == f"nexus {nexus.__version__}\n"

    def test_refuses_what_it_does_not_know(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_program(["rnu"]) == 2
        assert "rnu" in capsys.readouterr().err

    def test_ends_with_130_when_interrupted_while_loading(self, folder: Path) -> None:
        target = write(folder, "helper_int.py", "import signal\nsignal.raise_signal(signal.SIGINT)\n")
        assert run_program(["run", target, "x"]) == 130

    def test_takes_the_words_of_the_process(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["nexus", "--version"])
        assert nexus_click.main() == 0

    @pytest.mark.slow
    def test_says_what_to_install_where_click_is_missing(self) -> None:
        done = python("-c", without("click"))
        assert done.returncode == 1
        assert done.stderr == "adapter 'cli' needs 'click'; run: pip install 'nexus-channels[click]'\n"

    def test_a_failing_import_of_its_own_is_not_a_missing_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "nexus_click._program", None)
        with pytest.raises(ModuleNotFoundError, match="_program"):
            nexus_click.main()

    @pytest.mark.slow
    def test_help_loads_click_and_nothing_heavy(self) -> None:
        program = (
            "import sys; sys.argv = ['nexus', '--help']; import nexus_click; nexus_click.main(); "
            "print(sorted({'nexus', 'attrs', 'anyio', 'asyncio', 'rich', 'msgspec', 'structlog', 'httpx'} & set(sys.modules)))"
        )
        assert python("-c", program).stdout.splitlines()[-1] == "[]"

    @pytest.mark.slow
    def test_a_run_loads_neither_rich_nor_what_other_channels_need(self, folder: Path) -> None:
        program = (
            "import sys; sys.argv = ['nexus', 'run', 'desk.py', 'double', '3']; import nexus_click; nexus_click.main(); "
            "print(sorted({'rich', 'structlog', 'starlette', 'mcp', 'uvicorn', 'trio', 'httpx'} & set(sys.modules)))"
        )
        assert python("-c", program, cwd=folder).stdout.splitlines() == ["6", "[]"]


class TestOwnScript:
    @pytest.fixture
    def app(self) -> nexus.Nexus:
        app = nexus.create_nexus(nexus.NexusConfig(title="Desk"))

        @app.workflow
        async def who(run: nexus.Run) -> str:
            print("hidden from the result")  # noqa: T201 - what a workflow prints is the point
            return run.principal.id

        return app

    def test_has_the_workflows_as_commands(self, app: nexus.Nexus) -> None:
        result = CliRunner().invoke(nexus_click.cli(app), ["who"])
        assert (result.exit_code, result.stdout, result.stderr) == (0, '"anonymous"\n', "hidden from the result\n")

    def test_is_called_by_who_the_script_says(self, app: nexus.Nexus) -> None:
        assert CliRunner().invoke(nexus_click.cli(app), ["who"], obj=Principal(id="ada")).stdout == '"ada"\n'

    def test_ends_with_the_status_of_the_error(self, app: nexus.Nexus) -> None:
        assert CliRunner().invoke(nexus_click.cli(app), ["whoo"]).exit_code == 3

    def test_takes_commands_of_its_own(self, app: nexus.Nexus) -> None:
        group = nexus_click.cli(app)

        @group.command()
        def hello() -> None:
            click.echo("hello")

        assert CliRunner().invoke(group, ["hello"]).stdout == "hello\n"
        assert "hello" in CliRunner().invoke(group, ["--help"]).stdout

    def test_may_be_a_part_of_another(self, app: nexus.Nexus) -> None:
        host = click.Group(commands={"flows": nexus_click.cli(app)})
        assert CliRunner().invoke(host, ["flows", "--format", "text", "who"]).stdout == "anonymous\n"

    def test_runs_in_a_thread_too(self, app: nexus.Nexus) -> None:
        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.append(CliRunner().invoke(nexus_click.cli(app), ["who"]).exit_code))
        thread.start()
        thread.join()
        assert statuses == [0]
