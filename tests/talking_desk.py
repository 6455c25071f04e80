"""One workflow that progresses, logs, asks and hands over pieces, for every channel."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nexus

app = nexus.create_nexus(nexus.NexusConfig(title="Talking"))


@app.workflow
async def talk(*, run: nexus.Run) -> AsyncIterator[str]:
    """Say something, and ask something."""
    await run.progress(1, 2, "half")
    await run.log.info("asking soon")
    yield "before"
    name = await run.ask("Who is there?", str, name="who")
    yield f"hello {name}"
    await run.progress(2, 2, "all")
