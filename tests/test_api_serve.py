"""`serve`: a server that listens, and stops as a service manager expects."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from nexus import create_nexus
from nexus.abc import Channel
from nexus.config import NexusConfig
from nexus.exceptions import ConfigurationError, UnavailableError
from nexus_starlette import serve
from nexus_starlette.serving import listen

DESK = """
    import anyio, sys, time
    from nexus import NexusConfig, create_nexus
    from nexus_starlette import serve

    app = create_nexus(NexusConfig(title="Desk", shutdown_grace=float(sys.argv[1])))

    @app.workflow
    async def nap(seconds: float) -> str:
        print("napping", file=sys.stderr, flush=True)
        try:
            await anyio.sleep(seconds)
        finally:
            print("awake", file=sys.stderr, flush=True)
        return "rested"

    @app.workflow
    def think(seconds: float) -> str:
        print("napping", file=sys.stderr, flush=True)
        time.sleep(seconds)
        return "thought"

    sys.exit(serve(app, port=0))
"""


@attrs.define(eq=False)
class Process:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: queue.Queue[str] = attrs.field(factory=queue.Queue)
    seen: list[str] = attrs.field(factory=list)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(line.rstrip())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line on stderr."""
        while True:
            line = self.lines.get(timeout=20)
            self.seen.append(line)
            match = re.search(pattern, line)
            if match is not None:
                return match

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def ended(self) -> int:
        return self.process.wait(timeout=20)


@contextmanager
def started(tmp_path: Path, grace: float) -> Iterator[Process]:
    script = tmp_path / "desk.py"
    script.write_text(textwrap.dedent(DESK))
    with subprocess.Popen([sys.executable, script, str(grace)], stderr=subprocess.PIPE, text=True) as process:
        server = Process(process)
        reader = threading.Thread(target=server.read)
        reader.start()
        try:
            server.url = server.wait_for(r"Desk listens on (http://127\.0\.0\.1:\d+)$")[1]
            yield server
        finally:
            process.kill()
            reader.join()


@contextmanager
def napping(server: Process, seconds: float, workflow: str = "nap") -> Iterator[dict[str, Any]]:
    """Have a request in flight, whose outcome is known afterwards."""
    outcome: dict[str, Any] = {}

    def call() -> None:
        try:
            outcome["response"] = httpx.post(
                f"{server.url}/api/workflows/{workflow}/execute", json={"inputs": {"seconds": seconds}}, timeout=20
            )
        except httpx.HTTPError as error:
            outcome["error"] = error

    thread = threading.Thread(target=call)
    thread.start()
    server.wait_for("napping")
    try:
        yield outcome
    finally:
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_turns_ready_to_503_finishes_what_is_in_flight_and_ends_with_0(tmp_path: Path, number: int) -> None:
    with started(tmp_path, grace=10) as server:
        before = httpx.get(f"{server.url}/health/ready")
        with napping(server, 1.0) as outcome:
            server.signal(number)
            after = _until_not_ready(server)
            refused = httpx.post(f"{server.url}/api/workflows/nap/execute", json={"inputs": {"seconds": 0}})
        status = server.ended()
    assert (before.status_code, after.status_code, refused.status_code) == (200, 503, 503)
    assert outcome["response"].json()["data"]["results"] == "rested"
    assert status == 0


def _until_not_ready(server: Process) -> httpx.Response:
    end = time.monotonic() + 5
    while (response := httpx.get(f"{server.url}/health/ready")).status_code == 200:
        assert time.monotonic() < end
    return response


@pytest.mark.slow
def test_what_is_not_done_when_the_grace_period_is_over_is_cancelled_and_its_caller_told(tmp_path: Path) -> None:
    with started(tmp_path, grace=0.3) as server:
        with napping(server, 60) as outcome:
            server.signal(signal.SIGTERM)
            server.wait_for("awake")
        assert server.ended() == 0
    assert (outcome["response"].status_code, outcome["response"].json()["error"]["code"]) == (503, "unavailable")


@pytest.mark.slow
def test_a_thread_that_does_not_end_in_time_holds_up_the_stop_and_its_caller_is_told(tmp_path: Path) -> None:
    with started(tmp_path, grace=0.2) as server:
        with napping(server, 3, "think") as outcome:
            server.signal(signal.SIGTERM)
        assert server.ended() == 0
        assert not [line for line in (*server.seen, *server.lines.queue) if "Traceback" in line]
    assert (outcome["response"].status_code, outcome["response"].json()["error"]["code"]) == (503, "unavailable")


def test_the_second_part_of_a_reply_does_not_wait_for_an_acknowledgement_of_the_first() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.slow
@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("[::1]", 200), ("evil.example", 403)])
def test_a_name_that_is_not_this_machines_is_refused_on_loopback(tmp_path: Path, host: str, status: int) -> None:
    with started(tmp_path, grace=1) as server:
        response = httpx.get(f"{server.url}/api/workflows", headers={"host": host})
    assert response.status_code == status


@pytest.mark.slow
def test_another_signal_does_not_wait(tmp_path: Path) -> None:
    with started(tmp_path, grace=60) as server:
        with napping(server, 60):
            server.signal(signal.SIGINT)
            _until_not_ready(server)
            server.signal(signal.SIGINT)
            server.wait_for("awake")
        assert server.ended() == 128 + signal.SIGINT


@pytest.mark.slow
def test_a_server_with_nothing_to_do_stops_at_once(tmp_path: Path) -> None:
    with started(tmp_path, grace=60) as server:
        server.signal(signal.SIGTERM)
        before = time.monotonic()
        assert server.ended() == 0
    assert time.monotonic() - before < 5


def test_an_address_that_is_taken_is_a_setting_that_cannot_be_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            serve(create_nexus(NexusConfig().merge(channels={"api": {"port": port}})))


def test_an_application_that_cannot_start_is_not_served() -> None:
    class Broken(Channel):
        name = "broken"

        def __init__(self, gateway: Any, config: Any) -> None: ...

        async def start(self, exit_stack: Any) -> None:
            raise UnavailableError("the cable is cut")

    app = create_nexus(NexusConfig())
    app.add_channel(Broken)
    with pytest.raises(UnavailableError, match="the cable is cut"):
        serve(app, host="127.0.0.1", port=0)
