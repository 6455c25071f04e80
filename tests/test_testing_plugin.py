"""The fixture `nexus_client`, with anyio's plugin and with pytest-asyncio, in pytest runs of their own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.slow

APP = """
import anyio
import pytest
import nexus
from nexus import NexusConfig, Run
from nexus.abc import Channel
from nexus.testing import Client

stopped = []

class Noisy(Channel):
    name = "noisy"

    def __init__(self, gateway, config):
        pass

    async def start(self, exit_stack):
        self.group = await exit_stack.enter_async_context(anyio.create_task_group())
        exit_stack.callback(stopped.append, True)

@pytest.fixture
def app():
    app = nexus.create_nexus(NexusConfig())
    app.add_channel(Noisy)

    @app.workflow
    async def greet(name: str) -> str:
        return f"Hello, {name}"

    return app
"""

TESTS = """
MARK
async def test_opens_a_client_that_works(app, nexus_client):
    client = await nexus_client(app)
    assert await client.execute("greet", name="Ada") == "Hello, Ada"
    assert app.started

MARK
async def test_passes_options_on(app, nexus_client):
    client = await nexus_client(app, channel="api", principal="ada")
    await client.execute("greet", name="Ada")
    assert client.last_run.channel == "api"
    assert client.last_run.principal == "ada"

MARK
async def test_opens_two_clients_of_one_application(app, nexus_client):
    first, second = await nexus_client(app), await nexus_client(app, channel="api")
    assert await first.execute("greet", name="Ada") == await second.execute("greet", name="Ada")

FIXTURE
async def opened(app, nexus_client):
    return await nexus_client(app)

MARK
async def test_may_be_opened_by_an_async_fixture(opened):
    assert await opened.execute("greet", name="Ada") == "Hello, Ada"

FIXTURE
async def opened_and_yielded(app, nexus_client):
    yield await nexus_client(app)

MARK
async def test_may_be_opened_by_an_async_fixture_that_yields(opened_and_yielded):
    assert await opened_and_yielded.execute("greet", name="Ada") == "Hello, Ada"

class TestInAClass:
    MARK
    async def test_works_in_a_method(self, app, nexus_client):
        client = await nexus_client(app)
        assert await client.execute("greet", name="Ada") == "Hello, Ada"

def test_need_not_be_used(nexus_client):
    pass

MARK
async def test_fails_by_its_own_failure(app, nexus_client):
    await nexus_client(app)
    raise ZeroDivisionError

MARK
async def test_tells_why_an_application_does_not_start(app, nexus_client):
    class Broken(Noisy):
        name = "broken"
        async def start(self, exit_stack):
            raise OSError("the disk is on fire")

    app.add_channel(Broken)
    with pytest.raises(OSError, match="the disk is on fire"):
        await nexus_client(app)

MARK
async def test_tells_why_an_application_does_not_stop(app, nexus_client):
    class Broken(Noisy):
        name = "broken"
        async def start(self, exit_stack):
            exit_stack.callback(divmod, 1, 0)

    app.add_channel(Broken)
    await nexus_client(app)

FIXTURE
async def late(app, nexus_client):
    await nexus_client(app)
    pytest.skip("skipped in a fixture")

MARK
async def test_that_never_runs(late):
    pass

def test_last_all_were_stopped():
    assert len(stopped) == APPLICATIONS
"""

WITHOUT_IT = """
FIXTURE
async def client(app):
    async with Client(app) as client:
        yield client

MARK
async def test_with_a_fixture_that_yields_within_the_application(client):
    assert await client.execute("greet", name="Ada") == "Hello, Ada"
"""

OUR_PLUGIN = ("-p", "no:nexus", "-p", "nexus.testing.pytest_plugin", "-p", "no:cacheprovider", "-Werror")


def written(text: str, *, mark: str, fixture: str, applications: int) -> str:
    return APP + text.replace("MARK", mark).replace("FIXTURE", fixture).replace("APPLICATIONS", str(applications))


def check(result: pytest.RunResult, times: int) -> None:
    """Each test but the last runs *times* times."""
    result.assert_outcomes(passed=7 * times + 2, failed=2 * times, skipped=times)
    result.stdout.fnmatch_lines_random(
        [
            "FAILED *test_fails_by_its_own_failure*",
            "FAILED *test_tells_why_an_application_does_not_stop*",
            "*integer division or modulo*",
        ]
    )


def test_works_on_asyncio_and_trio_under_anyio(pytester: pytest.Pytester) -> None:
    text = written(TESTS, mark="@pytest.mark.anyio", fixture="@pytest.fixture", applications=20)
    pytester.makepyfile(text.replace("FIXTURE", "@pytest.fixture"))
    check(pytester.runpytest_subprocess(*OUR_PLUGIN, "-p", "no:asyncio"), times=2)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_works_under_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    pytest.importorskip("pytest_asyncio")
    fixture = "@pytest_asyncio.fixture" if mode == "strict" else "@pytest.fixture"
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    pytester.makepyfile("import pytest_asyncio\n" + written(TESTS, mark=mark, fixture=fixture, applications=10))
    pytester.makeini(f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function")
    check(pytester.runpytest_subprocess(*OUR_PLUGIN), times=1)


def test_both_plugins_may_be_there(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    text = APP + TESTS.split("FIXTURE", maxsplit=1)[0]
    pytester.makepyfile(
        test_anyio=text.replace("MARK", "@pytest.mark.anyio"), test_asyncio=text.replace("MARK", "@pytest.mark.asyncio")
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.runpytest_subprocess(*OUR_PLUGIN).assert_outcomes(passed=9)


def test_it_is_there_for_what_breaks_without_it(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        "import pytest_asyncio\n"
        + written(WITHOUT_IT, mark="@pytest.mark.asyncio", fixture="@pytest_asyncio.fixture", applications=0)
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    result = pytester.runpytest_subprocess(*OUR_PLUGIN)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*RuntimeError: `async with app:` was entered in one task and is left in another*"])


def test_a_run_that_does_not_use_the_fixture_does_not_import_the_client(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_nothing(): assert 'nexus.testing.client' not in sys.modules")
    pytester.runpytest_subprocess(*OUR_PLUGIN, "-p", "no:asyncio").assert_outcomes(passed=1)
