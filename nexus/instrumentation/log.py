"""A line a request, and the traceback of each run that raised, through structlog to the host's own logging."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from functools import cache
from typing import Any, Final

from nexus.models import Request, Response, RunRecord

__all__ = ["log_cache", "log_dependency", "log_hook", "log_request", "log_run", "log_schedule", "log_upkeep"]

REQUESTS: Final = logging.getLogger("nexus.request")
RUNS: Final = logging.getLogger("nexus.run")
UPKEEP: Final = logging.getLogger("nexus.upkeep")
DEPENDENCIES: Final = logging.getLogger("nexus.dependency")
SCHEDULES: Final = logging.getLogger("nexus.schedule")
CACHE: Final = logging.getLogger("nexus.cache")


@cache
def _structured(logger: logging.Logger) -> Any:
    """Return the logger with structlog around it; the host's logging decides where lines go, its configuration is not touched."""
    import structlog  # noqa: PLC0415 - 90 ms, only where something is logged

    render = structlog.processors.KeyValueRenderer(key_order=["event"])

    def hand_over(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
        exception = line.pop("exception", None)
        return (render(None, "", dict(line)),), {"exc_info": exception, "extra": {"nexus": line}}

    return structlog.wrap_logger(logger, processors=[hand_over], wrapper_class=structlog.stdlib.BoundLogger).bind()


def log_request(request: Request, response: Response, seconds: float) -> None:
    """Write the line of a request that was answered, if anybody reads it."""
    error = response.error
    internal = error is not None and error.code == "internal"
    level = logging.ERROR if internal else logging.INFO
    if REQUESTS.isEnabledFor(level):
        caller = request.caller
        _structured(REQUESTS).log(
            level,
            "request",
            exception=error.__cause__ or error if internal and error is not None else None,
            request_id=response.request_id,
            operation=request.operation,
            channel=caller.channel,
            address=caller.address,
            code="ok" if error is None else error.code,
            run_id=None if response.run is None else response.run.id,
            milliseconds=round(seconds * 1000, 3),
        )


def log_run(record: RunRecord, error: BaseException) -> None:
    """Write why a run failed, with the traceback that no caller is shown."""
    _structured(RUNS).error(
        "run failed",
        exception=error,
        request_id=record.request_id,
        run_id=record.id,
        workflow=f"{record.workflow}@{record.workflow_version}",
    )


def log_dependency(name: str, error: BaseException) -> None:
    """Write what a dependency raised that nobody else is told of: it could not be closed, ended by itself, or is not well."""
    _structured(DEPENDENCIES).error("dependency failed", exception=error, dependency=name)


def log_schedule(event: str, schedule: str, details: Mapping[str, Any], error: Exception | None) -> None:
    """Write that a schedule did not fire, or not as it is meant to."""
    level = logging.INFO if error is None else logging.ERROR
    if SCHEDULES.isEnabledFor(level):
        shown = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in details.items()}
        _structured(SCHEDULES).log(level, event, exception=error, schedule=schedule, **shown)


def log_hook(record: RunRecord, hook: str, error: BaseException) -> None:
    """Write why a hook failed, where that changes nothing for its run."""
    _structured(RUNS).error(
        "hook failed",
        exception=error,
        request_id=record.request_id,
        run_id=record.id,
        workflow=f"{record.workflow}@{record.workflow_version}",
        hook=hook,
    )


def log_cache(workflow: str, problem: str, error: BaseException | None) -> None:
    """Write why a result of a workflow could not be kept or found, which costs its callers no more than time."""
    _structured(CACHE).warning(problem, exception=error, workflow=workflow)


def log_upkeep(task: str, error: BaseException) -> None:
    """Write what went wrong with the stores beside the requests; it is tried again where that helps."""
    _structured(UPKEEP).error("upkeep failed", exception=error, task=task)
