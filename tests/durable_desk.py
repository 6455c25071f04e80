"""A durable workflow, and a process killed while it carries it: `python -m tests.durable_desk FOLDER DAY KILL_AT [sqlite]`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs

import nexus
from nexus import Nexus, Retry, Workflow
from nexus.abc import StepStore
from nexus.models import Scope
from nexus.testing import FakeClock
from nexus_sqlite import SqliteDatabase
from tests.durable_stores import FileRunStore, FileStepStore, note

START = datetime(2026, 1, 1, tzinfo=UTC)


@attrs.frozen
class Leg:
    stop: str
    day: datetime
    price: float


def trip_of(folder: Path) -> Workflow:
    trip = Workflow("trip", output="bill", durable=True)

    @trip.step
    def stops(count: int) -> list[str]:
        note(folder, "stops")
        return [f"stop {number}" for number in range(count)]

    @trip.step(each={"stop": "stops"}, limit=2)
    async def legs(stop: str) -> Leg:
        note(folder, f"leg of {stop}")
        return Leg(stop, START, 1.5)

    @trip.step(each={"leg": "legs"}, on_error="collect")
    async def seats(leg: Leg) -> str:
        note(folder, f"seat on {leg.stop}")
        if leg.stop == "stop 1":
            raise LookupError("no seat is left")
        return f"window on {leg.stop}"

    @trip.step(retry=Retry(attempts=2))
    async def weather(stops: list[str]) -> dict[str, int]:
        note(folder, "weather")
        return {stop: len(stop) for stop in stops}

    @trip.step(when=lambda count: count > 100, after=["weather"])
    async def discount(count: int) -> float:
        note(folder, "discount")
        return 0.5

    @trip.step
    async def bill(legs: list[Leg], seats: list[str | nexus.StepFailure], weather: dict[str, int], discount: float = 0.0) -> str:
        note(folder, "bill")
        failures = sum(isinstance(seat, nexus.StepFailure) for seat in seats)
        return f"{sum(leg.price for leg in legs)} for {len(weather)} stops, {failures} without a seat, {discount} off"

    return trip


@attrs.frozen
class Deadly(StepStore):
    """
    Keeps results where another does.

    Args:
        then: Called after each result that was kept, with how many there are.
    """

    store: StepStore
    then: Callable[[int], None]
    one_at_a_time: anyio.Lock = attrs.field(factory=anyio.Lock)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        await self.store.start(exit_stack)

    async def put(self, run_id: str, step: str, result: bytes) -> None:
        async with self.one_at_a_time:
            await self.store.put(run_id, step, result)
            self.then(len(await self.store.all(run_id)))

    async def all(self, run_id: str) -> Mapping[str, bytes]:
        return await self.store.all(run_id)

    async def remove(self, run_id: str) -> None:
        await self.store.remove(run_id)


def stores_of(folder: Path, kind: str, then: Callable[[int], None]) -> Mapping[str, Any]:
    if kind == "sqlite":
        database = SqliteDatabase(f"sqlite:///{folder}/nexus.db")
        return {"run_store": database.run_store, "step_store": Deadly(database.step_store, then)}
    return {"run_store": FileRunStore(folder / "runs"), "step_store": FileStepStore(folder / "steps", then)}


def app_of(folder: Path, day: int, kill_at: int, kind: str) -> Nexus:
    def then(count: int) -> None:
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    clock = FakeClock(START + timedelta(days=day))
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock, **stores_of(folder, kind, then))
    app.register(trip_of(folder))
    return app


async def main(folder: Path, day: int, kill_at: int, kind: str) -> None:
    """Start the run if there is none, and see it to its end, or to the end of this process."""
    async with app_of(folder, day, kill_at, kind) as app:
        records = (await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
        run_id = records[0].id if records else (await app.submit_workflow("trip", {"count": 3})).id
        record = await app.executor.runtime.settled(run_id)
        sys.stdout.write(f"{record.status} {record.output}\n")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:]))
