"""
Write a workflow once, as plain typed functions; serve it as a REST API, a command line and an MCP server.

`create_nexus()` makes an application, `@app.workflow` and `Workflow` define what it can do, and the channels (extras
`starlette`, `click`, `mcp`) are projections of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nexus.exceptions import (
    AdapterError,
    ArgumentProblem,
    CancelledError,
    ConfigurationError,
    ConflictError,
    DeadlineExceededError,
    ForbiddenError,
    InternalError,
    InvalidArgumentError,
    MalformedRequestError,
    NexusError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    Problem,
    RateLimitError,
    RegistrationError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnauthorizedError,
    UnavailableError,
    WorkflowFailedError,
    WorkflowNotFoundError,
)
from nexus.models import ExecutionResult, Principal, Request, Response, RunRecord, Session, Tenant
from nexus.workflows.caching import CachePolicy
from nexus.workflows.definition import Group, Workflow, workflow
from nexus.workflows.injection import Inject
from nexus.workflows.retries import Retry
from nexus.workflows.run import BlockingRun, Run
from nexus.workflows.schedules import Schedule
from nexus.workflows.secret_values import Secret
from nexus.workflows.steps import Input, StepFailure

if TYPE_CHECKING:
    from nexus._factory import create_nexus
    from nexus._gateway import Nexus
    from nexus._sync import BlockingNexus, BlockingRunHandle, sync
    from nexus.config import NexusConfig
    from nexus.streams import RunStream
    from nexus.workflows.handle import RunHandle
    from nexus.workflows.hooks import RunContext

__version__ = "0.1.0"

PLACES = {
    "BlockingNexus": "nexus._sync",
    "BlockingRunHandle": "nexus._sync",
    "Nexus": "nexus._gateway",
    "NexusConfig": "nexus.config",
    "RunContext": "nexus.workflows.hooks",
    "RunHandle": "nexus.workflows.handle",
    "RunStream": "nexus.streams",
    "create_nexus": "nexus._factory",
    "sync": "nexus._sync",
}
"""Where that is found which is of use only with an application: a module that defines workflows is imported without."""

__all__ = [
    "AdapterError",
    "ArgumentProblem",
    "BlockingNexus",
    "BlockingRun",
    "BlockingRunHandle",
    "CachePolicy",
    "CancelledError",
    "ConfigurationError",
    "ConflictError",
    "DeadlineExceededError",
    "ExecutionResult",
    "ForbiddenError",
    "Group",
    "Inject",
    "Input",
    "InternalError",
    "InvalidArgumentError",
    "MalformedRequestError",
    "Nexus",
    "NexusConfig",
    "NexusError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "Principal",
    "Problem",
    "RateLimitError",
    "RegistrationError",
    "Request",
    "ResourceExhaustedError",
    "Response",
    "Retry",
    "Run",
    "RunContext",
    "RunHandle",
    "RunRecord",
    "RunStream",
    "Schedule",
    "Secret",
    "Session",
    "StepFailure",
    "Tenant",
    "UnauthenticatedError",
    "UnauthorizedError",
    "UnavailableError",
    "Workflow",
    "WorkflowFailedError",
    "WorkflowNotFoundError",
    "__version__",
    "create_nexus",
    "sync",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
