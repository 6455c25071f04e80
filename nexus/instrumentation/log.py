"""A line a request, and the traceback of each run that raised, through structlog to the host's own logging."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

from nexus.models import Request, Response, RunRecord

__all__ = ["log_request", "log_run"]

REQUESTS: Final = logging.getLogger("nexus.request")
RUNS: Final = logging.getLogger("nexus.run")


def _log(logger: logging.Logger, level: int, event: str, exception: BaseException | None = None, /, **fields: Any) -> None:
    """Write one line; the host's logging decides where it goes, and nothing of its configuration is touched."""
    import structlog  # noqa: PLC0415 - 90 ms, only where something is logged

    render = structlog.processors.KeyValueRenderer(key_order=["event"])

    def hand_over(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
        text = render(None, "", dict(line))
        return (text,), {"exc_info": exception, "extra": {"nexus": dict(line)}}

    structlog.wrap_logger(logger, processors=[hand_over], wrapper_class=structlog.stdlib.BoundLogger).log(level, event, **fields)


def log_request(request: Request, response: Response, seconds: float) -> None:
    """Write the line of a request that was answered, if anybody reads it."""
    error = response.error
    level = logging.INFO if error is None or error.code not in {"internal", "unavailable"} else logging.ERROR
    if REQUESTS.isEnabledFor(level):
        caller = request.caller
        _log(
            REQUESTS,
            level,
            "request",
            None if error is None or error.code != "internal" else error.__cause__ or error,
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
    _log(
        RUNS,
        logging.ERROR,
        "run failed",
        error,
        request_id=record.request_id,
        run_id=record.id,
        workflow=f"{record.workflow}@{record.workflow_version}",
    )
