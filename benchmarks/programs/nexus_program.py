"""An application with one workflow, for `nexus run`."""

from __future__ import annotations

import nexus

app = nexus.create_nexus(title="Sums")


@app.workflow
async def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right
