"""What a run was started with, out of its record, to carry it out again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from nexus.exceptions import ConflictError
from nexus.models import ANONYMOUS, APPLICATION, Call, Caller, Principal, Request, RunRecord, Session, Tenant, Unstored, Upload
from nexus.models.identity import ANONYMOUS_SESSION
from nexus.models.runs import pointer_to_input
from nexus.workflows.plan import Plan

__all__ = ["call_again", "inputs_again", "require_repeatable"]


def call_again(record: RunRecord, *, now: datetime, call: Call | None = None) -> Call:
    """
    Return a call in the name of who started a run: by id, tenant and session; the roles are not in the record.

    Args:
        record: The run's.
        now: The time.
        call: Who asks for it, whose request it is otherwise.
    """
    known = {principal.id: principal for principal in (ANONYMOUS, APPLICATION)}
    principal = known.get(record.principal) or Principal(id=record.principal, tenant_id=record.tenant)
    caller = Caller(channel=record.channel, principal=principal)
    if call is None:
        request = Request(operation=f"{record.workflow}@{record.workflow_version}", arguments={}, caller=caller, detach=True)
    else:
        request = attrs.evolve(call.request, caller=attrs.evolve(call.request.caller, principal=principal))
    session = None
    if record.session is not None:
        session = Session(id=record.session, principal=principal, created_at=now, expires_at=now + ANONYMOUS_SESSION)
    return Call(
        request=request,
        request_id=record.request_id if call is None else call.request_id,
        operation=None if call is None else call.operation,
        principal=principal,
        tenant=None if record.tenant is None else Tenant(id=record.tenant),
        now=now,
        session=session,
    )


def inputs_again(record: RunRecord, plan: Plan) -> dict[str, Any]:
    """
    Return the inputs of a run, checked again.

    Raises:
        InvalidArgumentError: They don't fit the workflow any more.
    """
    names = {parameter.name for parameter in plan.signature.parameters}
    # A step's own `Run` may be among them.
    return plan.signature.check({name: value for name, value in record.inputs.items() if name in names})


def require_repeatable(record: RunRecord) -> None:
    """
    Let a run pass that can be carried out again.

    Raises:
        ConflictError: Files came with it, which go with it, or secrets or what is no JSON, which are not kept.
    """
    for name, value in record.inputs.items():
        if isinstance(value, Unstored):
            raise ConflictError(
                f"{name!r} was {value!r}, which JSON has no word for, and was not kept: the run can't be carried out again; "
                "call the workflow anew"
            )
        if isinstance(value, Upload) or (isinstance(value, list) and any(isinstance(item, Upload) for item in value)):
            raise ConflictError(
                f"{name!r} came as a file, which goes with its request: the run can't be carried out again; "
                "name a file below files_root, or send it with a new request"
            )
        if pointer_to_input(name) in record.redacted:
            raise ConflictError(
                f"{name!r} has a secret, which is not kept: run {record.id} can't be carried out again; send a new request"
            )
