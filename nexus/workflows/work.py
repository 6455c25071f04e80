"""What a run consists of, beside its record."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from typing import Any

import attrs

from nexus.exceptions import CancelledError, NexusError
from nexus.models import Call, RunError, RunRecord, RunStatus
from nexus.workflows.hooks import RunHooks
from nexus.workflows.live import KnownResults, LiveRun
from nexus.workflows.plan import Plan

__all__ = ["Work", "current_run", "refused"]

current_run: ContextVar[LiveRun | None] = ContextVar("nexus_current_run", default=None)
"""The run in whose step this is."""


@attrs.define(kw_only=True, eq=False)
class Work:
    """
    What the local runtime is given to carry out.

    Attributes:
        inputs: The checked arguments; the run's own.
        seconds: How long the caller waits.
        left: Seconds that are left of the workflow's own timeout, where another process has begun the run.
        hooks: What is called around it.
        results: Of its steps, where some are known, or are to be kept.
    """

    plan: Plan
    inputs: dict[str, Any] = attrs.field(repr=False)
    call: Call
    seconds: float | None = None
    left: float | None = None
    hooks: RunHooks | None = None
    results: KnownResults | None = None


def refused(record: RunRecord, error: NexusError, *, now: datetime) -> RunRecord:
    """Return the record of a run that was stored, and could not be started."""
    status: RunStatus = "cancelled" if isinstance(error, CancelledError) else "failed"
    return record.changed(status=status, ended_at=now, error=RunError(code=error.code, message=error.message))
