"""
The pytest plugin: the fixture `nexus_client`.

    @pytest.fixture
    def app():
        return create_app()

    @pytest.mark.anyio                      # or pytest-asyncio's mark
    async def test_greets(app, nexus_client):
        client = await nexus_client(app, channel="api")
        assert await client.execute("greet", name="Ada") == "Hello, Ada"

An application must be entered and left in one task, and an async fixture that yields does not promise that: pytest-asyncio
runs what is before and after the `yield` in two tasks. Clients of this fixture live in a task of their own, from the call on
until the test function ends. It may be used by async fixtures too, of function scope.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nexus.testing.hosting import Clients

FIXTURE = "nexus_client"
SUITES = ("nexus.testing.contracts", "nexus.testing.run_store_contract", "nexus.testing.session_store_contract")

# A failed assertion of a suite shows its values, as one of a test does; too late for what a conftest has imported already.
pytest.register_assert_rewrite(*(name for name in SUITES if name not in sys.modules))


@pytest.fixture
def nexus_client() -> Clients:
    """Return what opens a client, given what `nexus.testing.Client` takes; it is closed when the test function ends."""
    from nexus.testing.hosting import Clients  # noqa: PLC0415 - a run that doesn't use it pays nothing, and coverage sees the import

    return Clients()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """
    Close the clients as the last act of the test function, whichever plugin runs it.

    A finalizer of the fixture would be too late: it is not async, and the event loop may be gone.
    """
    clients = getattr(item, "funcargs", {}).get(FIXTURE)
    if clients is None or not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return (yield)
    function = item.obj

    @functools.wraps(function)
    async def closing(*args: Any, **kwargs: Any) -> None:
        try:
            await function(*args, **kwargs)
        finally:
            await clients.aclose()

    item.obj = closing
    try:
        return (yield)
    finally:
        item.obj = function
