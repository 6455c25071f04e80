"""
Every example of the README is carried out, in order, in one folder.

A Python block is a file, named by its first line; it is run, by pytest where its name says so. A bash block is run; a server
stays until the end. A text block is what the block before it printed, `…` being anything. The two lines that install are left
to `.ci/run`, for they need an environment of their own.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

REPOSITORY = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8000"

pytestmark = [pytest.mark.slow, pytest.mark.checkout]


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall((REPOSITORY / "README.md").read_text())


@attrs.define
class Shell:
    """The folder in which the examples are carried out."""

    folder: Path
    port: str
    servers: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "NEXUS_CHANNELS__API__PORT": self.port}

    def carry_out(self, kind: str, text: str) -> str:
        if kind == "bash":
            return self.serve(text) if text.startswith("nexus serve ") else self.run(["bash", "-euo", "pipefail", "-c", text])
        name = text.partition("\n")[0].removeprefix("# ")
        (self.folder / name).write_text(text)
        return self.run([sys.executable, *(["-m", "pytest", "-q"] if name.startswith("test_") else []), name])

    def run(self, command: list[str]) -> str:
        command = [part.replace(f"localhost:{PORT}", f"localhost:{self.port}") for part in command]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def serve(self, command: str) -> str:
        server = subprocess.Popen(
            command.split(), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.servers.append(server)
        assert server.stderr is not None
        told = ""
        for line in server.stderr:
            told += line
            if f":{self.port}" in line:
                return ""
        raise AssertionError(f"{command} ended before it listened: {told}")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    shell = Shell(folder=tmp_path, port=str(port))
    yield shell
    for server in shell.servers:
        server.terminate()
        server.communicate(timeout=30)
        assert server.returncode == 0


def test_every_example_does_what_the_readme_says(shell: Shell) -> None:
    printed = ""
    for kind, text in blocks():
        if "pip install" in text:
            printed = ""
        elif kind == "text" and printed:
            expected = ".*".join(re.escape(part) for part in text.strip().split("…"))
            assert re.match(expected, printed, re.DOTALL), f"expected:\n{text}\nprinted:\n{printed}"
        elif kind in {"bash", "python"}:
            printed = shell.carry_out(kind, text)


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {kind for kind, _ in blocks()} == {"bash", "python", "text"}


def test_there_is_one_line_to_try_it_and_one_to_test_it() -> None:
    installing = [text for kind, text in blocks() if kind == "bash" and "pip install" in text]

    assert [text.count("\n") for text in installing] == [1, 1]


def test_the_line_channel_is_as_long_as_the_readme_says() -> None:
    lines = (REPOSITORY / "examples" / "line_protocol" / "channel.py").read_text().count("\n")

    assert f"[{lines} lines](examples/line_protocol/channel.py)" in (REPOSITORY / "README.md").read_text()
