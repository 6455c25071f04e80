"""Starting and stopping: in order, in one task, whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import anyio
import pytest

import nexus
from nexus import AdapterError, ConfigurationError, Nexus, NexusConfig, Run, UnavailableError
from nexus.abc import Channel, Gateway

pytestmark = pytest.mark.anyio


@nexus.workflow
async def add(a: int, b: int = 2) -> int:
    return a + b


@nexus.workflow
async def wait(*, run: Run) -> str:
    return await run.ask("Go on?", str, name="go")


def app_of(*what: Any, **options: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig(), **options)
    app.register(*(what or (add,)))
    return app


def channel(called: str, log: list[str], *, broken: bool = False) -> Any:
    class Made(Channel):
        name: ClassVar[str] = called

        def __init__(self, gateway: Gateway, config: NexusConfig) -> None:
            self.gateway = gateway

        async def start(self, exit_stack: AsyncExitStack) -> None:
            if broken:
                raise OSError("port in use")
            log.append(f"start {called}")
            exit_stack.callback(log.append, f"stop {called}")

    return Made


async def test_parts_stop_in_the_reverse_order() -> None:
    log: list[str] = []
    async with app_of(channels=[channel("one", log), channel("two", log)]):
        pass
    assert log == ["start one", "start two", "stop two", "stop one"]


async def test_a_failure_half_way_through_the_start_stops_what_was_started() -> None:
    log: list[str] = []
    app = app_of(channels=[channel("one", log), channel("two", log, broken=True)])
    with pytest.raises(OSError, match="port in use"):
        async with app:
            pass
    assert log == ["start one", "stop one"]
    assert not app.started


async def test_an_application_may_be_started_again() -> None:
    app = app_of()
    for _ in range(2):
        async with app:
            handle = await app.submit_workflow("add", {"a": 1})
            assert await handle.result() == 3
    assert not app.ready


async def test_starting_twice_at_once_is_refused() -> None:
    async with app_of() as app:
        with pytest.raises(UnavailableError, match="started already"):
            async with app:
                pass
        assert app.ready


async def test_stopping_what_is_not_started_is_refused() -> None:
    with pytest.raises(UnavailableError, match="not started"):
        await app_of().__aexit__(None, None, None)


async def test_leaving_in_another_task_says_what_is_wrong() -> None:
    app = app_of()
    await app.__aenter__()
    failures: list[str] = []

    async def leave() -> None:
        with pytest.raises(RuntimeError, match="entered in one task and is left in another") as caught:
            await app.__aexit__(None, None, None)
        failures.append(str(caught.value))

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
    await app.__aexit__(None, None, None)
    assert len(failures) == 1


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with app_of():
            raise LookupError("mine")


async def test_channels_are_added_before_the_start() -> None:
    async with app_of() as app:
        with pytest.raises(ConfigurationError, match="before the application is started"):
            app.add_channel(channel("late", []))


def test_two_channels_of_one_name_are_refused() -> None:
    app = app_of(channels=[channel("one", [])])
    with pytest.raises(ConfigurationError, match="there is a channel 'one' already"):
        app.add_channel(channel("one", []))
    assert app.channel("one").name == "one"


def test_a_channel_that_is_switched_off_is_not_loaded() -> None:
    app = nexus.create_nexus(channels_are_off())
    with pytest.raises(ConfigurationError, match=r"channels\.mcp\.enabled is false"):
        app.channel("mcp")


def channels_are_off() -> NexusConfig:
    return NexusConfig().merge(channels={"mcp": {"enabled": False}})


def test_a_channel_that_nobody_brings_is_an_error() -> None:
    with pytest.raises(AdapterError, match="carrier_pigeon"):
        app_of().channel("carrier_pigeon")


def test_settings_come_in_one_way() -> None:
    with pytest.raises(ConfigurationError, match="not both: title"):
        nexus.create_nexus(NexusConfig(), title="Desk")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="enable_multi_tenancy"):
        nexus.create_nexus(enable_multi_tenancy=True)


async def test_what_is_printed_of_it_is_short_and_tells_no_secret() -> None:
    app = nexus.create_nexus(nexus.NexusConfig(title="Desk"))

    @app.workflow
    async def hush(*, run: nexus.Run) -> str:
        return repr(run)

    assert repr(app) == "<Nexus 'Desk', 1 workflows, not started>"
    async with app:
        handle = await app.submit_workflow(hush)
        assert repr(handle) == f"<RunHandle {handle.id}>"
        assert await handle.result() == f"<Run {handle.id} of hush, step hush>"
        assert repr(app) == "<Nexus 'Desk', 1 workflows, started>"


def test_title_description_and_version_are_the_configured_ones() -> None:
    app = nexus.create_nexus(NexusConfig(title="Desk", description="Of an airport.", version="2.1"))
    assert (app.title, app.description, app.version) == ("Desk", "Of an airport.", "2.1")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_values_are_encoded_as_a_workflow_may_return_them(anyio_backend: str) -> None:
    app = app_of()
    value: Mapping[str, Any] = {"a": (1, 2), "b": {"c"}}
    assert app.to_builtins(value) == {"a": [1, 2], "b": ["c"]}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sync_starts_the_application_on_a_loop_of_its_own(backend: str) -> None:
    app = app_of(add, wait)
    with nexus.sync(app, backend=backend) as desk:
        assert desk.execute_workflow("add", {"a": 1}).results == 3
        handle = desk.submit_workflow("wait")
        assert handle.answer("on", "go").output == "on"
        assert handle.result() == "on"
        assert handle.status().status == "succeeded"
        waiting = desk.submit_workflow("wait")
        assert waiting.cancel().status == "cancelled"
        assert waiting.id != handle.id
        request = nexus.Request(operation="add", arguments={"a": 2}, caller=nexus.models.Caller(channel="api"))
        assert desk.dispatch(request).data == 4
    assert not app.started


def test_sync_may_be_used_from_several_threads() -> None:
    results: list[int] = []
    with nexus.sync(app_of()) as desk:
        threads = [
            threading.Thread(target=lambda n=n: results.append(desk.execute_workflow("add", {"a": n, "b": 0}).results))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == list(range(8))
