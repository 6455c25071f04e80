"""
For tests of workflows, and for authors of channels and stores.

    from nexus.testing import Client

    async def test_the_wettest_day():
        async with Client(app) as client:
            summary = await client.execute("process_data", file="data/seattle-weather.csv")
        assert summary.millimetres == 55.9

`Client` calls an application in the same process, on any of its channels; `FakeClock` is time that a test owns; the contract
suites are the tests that every store and runtime passes; `inputs` makes hypothesis strategies of what a workflow takes;
`nexus.testing.pytest_plugin` brings the fixture `nexus_client`. Nothing here is imported by `import nexus`, pytest only by the
plugin and the contract suites, and hypothesis only by `inputs`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus.testing.answers import DECLINE
    from nexus.testing.cache_contract import CacheContract
    from nexus.testing.client import Client
    from nexus.testing.clock import FakeClock
    from nexus.testing.input_strategies import inputs
    from nexus.testing.key_store_contract import KeyStoreContract
    from nexus.testing.run_store_contract import RunStoreContract
    from nexus.testing.runtime_contract import RuntimeContract
    from nexus.testing.session_store_contract import SessionStoreContract
    from nexus.testing.step_store_contract import StepStoreContract
    from nexus.testing.wires import Wire, error_of

__all__ = [
    "DECLINE",
    "CacheContract",
    "Client",
    "FakeClock",
    "KeyStoreContract",
    "RunStoreContract",
    "RuntimeContract",
    "SessionStoreContract",
    "StepStoreContract",
    "Wire",
    "error_of",
    "inputs",
]

PLACES = {
    "DECLINE": "nexus.testing.answers",
    "CacheContract": "nexus.testing.cache_contract",
    "Client": "nexus.testing.client",
    "FakeClock": "nexus.testing.clock",
    "KeyStoreContract": "nexus.testing.key_store_contract",
    "RunStoreContract": "nexus.testing.run_store_contract",
    "RuntimeContract": "nexus.testing.runtime_contract",
    "SessionStoreContract": "nexus.testing.session_store_contract",
    "StepStoreContract": "nexus.testing.step_store_contract",
    "Wire": "nexus.testing.wires",
    "error_of": "nexus.testing.wires",
    "inputs": "nexus.testing.input_strategies",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that a pytest run that only has the plugin pays for none of it."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
