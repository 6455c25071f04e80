"""An application whose work takes long, to be called by MCP clients that have tasks."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import attrs

import nexus
from nexus import Nexus, NexusConfig, Problem, Run, Secret
from nexus.abc import RunStore
from nexus.clock import SystemClock
from nexus.testing import FakeClock
from nexus_mcp import serve_stdio

__all__ = ["Note", "TaskDesk", "main"]


@attrs.frozen
class Note:
    """What long work gives."""

    text: str


@attrs.define(eq=False)
class TaskDesk:
    """
    The application.

    Attributes:
        gate: Lets `slow` and `count` go on.
        ended: How each `slow` ended.
    """

    shutdown_grace: float = 10
    run_store: RunStore | None = None
    clock: Any = attrs.field(factory=FakeClock)
    gate: anyio.Event = attrs.field(factory=anyio.Event)
    ended: list[str] = attrs.field(factory=list)
    app: Nexus = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        config = NexusConfig(title="Desk", run_retention_days=2, shutdown_grace=self.shutdown_grace)
        self.app = nexus.create_nexus(config, clock=self.clock, run_store=self.run_store)
        self._register_long()
        self._register_asking()

    def _register_long(self) -> None:
        app = self.app

        @app.workflow(background=True)
        async def slow(text: str = "done") -> Note:
            """Take long."""
            try:
                await self.gate.wait()
            except BaseException:
                self.ended.append("cancelled")
                raise
            self.ended.append("done")
            return Note(text)

        @app.workflow(background=True)
        async def count(upto: int, *, run: Run) -> int:
            """Tell how it goes."""
            await self.gate.wait()
            for done in range(upto):
                await run.progress(done + 1, upto)
            await run.log.info("counted")
            return upto

        @app.workflow(background=True)
        async def fail() -> None:
            """Raise."""
            raise ValueError("the password is hunter2")

        @app.workflow(background=True)
        async def refuse() -> None:
            """Choose an answer."""
            raise Problem("conflict", "not today")

        @app.workflow(background=True)
        async def odd() -> Any:
            """Give what is no JSON."""
            return object()

        @app.workflow
        def quick() -> int:
            """Take no time."""
            return 1

    def _register_asking(self) -> None:
        app = self.app

        @app.workflow(background=True)
        async def keep(*, run: Run) -> str:
            """Ask one question."""
            return "kept" if await run.ask("Keep the outliers?", bool) else "dropped"

        @app.workflow(background=True)
        async def log_in(*, run: Run) -> int:
            """Ask for a secret."""
            return len(await run.ask("Password?", Annotated[str, Secret()]))


def main() -> None:
    """Serve over standard input and output; nothing is held."""

    async def serve() -> None:
        desk = TaskDesk(clock=SystemClock())
        desk.gate.set()
        await serve_stdio(desk.app)

    anyio.run(serve)


if __name__ == "__main__":
    main()
