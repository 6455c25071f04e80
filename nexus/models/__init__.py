"""The values: what is handed between channels, gateway, runtime and stores. All frozen but `Call`."""

from __future__ import annotations

from nexus.models.calls import Call, Caller, FormRequest, Hints, Operation, OperationKind, Request, Response
from nexus.models.files import Form, RunFile, Upload
from nexus.models.identity import ANONYMOUS, APPLICATION, ApiKey, Decision, Principal, Role, Scope, Session, Tenant
from nexus.models.questions import MISSING, Answer, Answers, Missing, Question
from nexus.models.rates import Quota, Rate
from nexus.models.runs import (
    Event,
    ExecutionResult,
    Page,
    RunError,
    RunRecord,
    RunStatus,
    StepRecord,
    StepRow,
    StepStatus,
    Unstored,
)

__all__ = [
    "ANONYMOUS",
    "APPLICATION",
    "MISSING",
    "Answer",
    "Answers",
    "ApiKey",
    "Call",
    "Caller",
    "Decision",
    "Event",
    "ExecutionResult",
    "Form",
    "FormRequest",
    "Hints",
    "Missing",
    "Operation",
    "OperationKind",
    "Page",
    "Principal",
    "Question",
    "Quota",
    "Rate",
    "Request",
    "Response",
    "Role",
    "RunError",
    "RunFile",
    "RunRecord",
    "RunStatus",
    "Scope",
    "Session",
    "StepRecord",
    "StepRow",
    "StepStatus",
    "Tenant",
    "Unstored",
    "Upload",
]
