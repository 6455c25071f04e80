"""A workflow whose results are kept, for tests of that."""

from __future__ import annotations

from typing import Any

import anyio
import attrs

import nexus
from nexus import Nexus, NexusConfig, Problem
from nexus.abc import Cache
from nexus.testing import FakeClock

__all__ = ["Counting", "results_of"]


@attrs.define
class Counting:
    """A workflow that notes how often it was carried out, and may be held or fail."""

    calls: int = 0
    failures: int = 0
    gate: anyio.Event | None = None

    def app(self, *, cache: Any = 60, clock: FakeClock | None = None, kept_in: Cache | None = None, **options: Any) -> Nexus:
        app = nexus.create_nexus(NexusConfig(), clock=clock or FakeClock(), cache=kept_in)

        @app.workflow(cache=cache, read_only=True, **options)
        async def count(step: int = 1, note: str | None = None) -> int:
            self.calls += 1
            if self.gate is not None:
                await self.gate.wait()
            if self.failures:
                self.failures -= 1
                raise Problem("unavailable", "not today")
            return self.calls * step

        return app


async def results_of(app: Nexus, *inputs: dict[str, Any], **options: Any) -> list[Any]:
    return [(await app.execute_workflow("count", given, **options)).results for given in inputs]
