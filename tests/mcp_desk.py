"""An application to be called by MCP clients."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import attrs
import msgspec

import nexus
from nexus import Nexus, NexusConfig, Problem, Run, Workflow

__all__ = ["Desk", "main"]


@attrs.frozen
class Rank:
    """An airport and its place."""

    airport: str
    place: int
    delayed: float | None = None


@attrs.frozen
class Order:
    """What to keep, and how much of it."""

    size: Literal["small", "large"]
    count: int = 1


@attrs.define(eq=False)
class Desk:
    """
    The application, and what is known of the run that hangs.

    Attributes:
        begun: Set when a run hangs.
        ended: Set when it has been cancelled.
    """

    app: Nexus
    begun: anyio.Event = attrs.field(factory=anyio.Event)
    ended: anyio.Event = attrs.field(factory=anyio.Event)
    answers: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def open(cls, files_root: Path | None = None, **settings: Any) -> Desk:
        """Make one; inside an event loop."""
        config = NexusConfig(title="Desk", version="3.2.1", description="Airports.", files_root=files_root).merge(**settings)
        desk = cls(nexus.create_nexus(config))
        desk._register()
        return desk

    def _register(self) -> None:  # noqa: C901 - one workflow after the other
        app = self.app

        @nexus.workflow(read_only=True, idempotent=True)
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        @app.workflow
        def rank(airport: str, place: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1) -> Rank:
            """
            Rank an airport.

            Args:
                airport: Its code.
                place: From the top.
            """
            return Rank(airport, place)

        @app.workflow
        def read(file: Path) -> str:
            """Read a file."""
            return file.read_text(encoding="utf-8")

        @app.workflow
        async def keep(*, run: Run) -> str:
            """Ask one question."""
            await run.progress(1, 2)
            kept = await run.ask("Keep the outliers?", bool)
            await run.progress(2, 2, "asked")
            return "kept" if kept else "dropped"

        @app.workflow
        async def order(*, run: Run) -> Order:
            """Ask for a flat class."""
            return await run.ask("What to keep?", Order, default=Order("large", 2))

        @app.workflow
        async def steps(count: int, *, run: Run) -> int:
            """Tell how it goes."""
            for done in range(count):
                await run.progress(done + 1, count, f"step {done + 1}")
                await run.log.info("done", step_number=done + 1)
            await run.log.debug("that was all")
            print("a workflow may print")  # noqa: T201 - what becomes of it is tested
            return count

        @app.workflow
        async def hang(seconds: float = 60) -> None:
            """Take very long."""
            self.begun.set()
            try:
                await anyio.sleep(seconds)
            finally:
                self.ended.set()

        @app.workflow
        def fail() -> None:
            """Raise."""
            raise ValueError("the password is hunter2")

        @app.workflow
        def refuse(code: str) -> None:
            """Choose an answer."""
            raise Problem(code, "not today", day="Monday")

        both = Workflow("both", output="sum_up")

        @both.step
        async def first(*, run: Run) -> int:
            return await run.ask("How many rows?", int, name="rows")

        @both.step
        async def second(*, run: Run) -> str:
            size: str = await run.ask("Which size?", Literal["s", "m"], name="size")
            return size

        @both.step
        def sum_up(first: int, second: str) -> Mapping[str, Any]:
            return {"rows": first, "size": second}

        app.register(add, both)


def main(files_root: str) -> None:
    """Serve over standard input and output."""
    from nexus_mcp import serve_stdio  # noqa: PLC0415 - the tests of what else this module is for need no MCP

    async def serve() -> None:
        await serve_stdio(Desk.open(Path(files_root)).app)

    print("a module may print")  # noqa: T201 - what becomes of it is tested
    anyio.run(serve)


if __name__ == "__main__":
    main(sys.argv[1])
