"""The way of a request, from the caller's credential to the log line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final

import anyio
import attrs

from nexus._ids import new_id
from nexus.abc import Clock, Guard, Interaction
from nexus.catalogue import Catalogue, Entry, Outcome, nearest
from nexus.exceptions import (
    CancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    NexusError,
    ResourceExhaustedError,
    UnavailableError,
    WorkflowNotFoundError,
)
from nexus.models import ANONYMOUS, APPLICATION, Call, Caller, Operation, Principal, Request, Response, Tenant
from nexus.security.identity import IdentityGuard
from nexus.security.permission import PermissionGuard
from nexus.security.proxies import TrustedProxies
from nexus.security.rates import PrincipalRateGuard
from nexus.workflows.files import FilesRoot
from nexus.workflows.folders import Folders
from nexus.workflows.live import SILENT
from nexus.workflows.work import current_run

__all__ = ["Dispatcher"]

LONGEST_KEY: Final = 255
DEEPEST: Final = 32


@attrs.define(eq=False, kw_only=True, repr=False)
class Dispatcher:
    """
    Carries out requests.

    Attributes:
        chosen: The guards, in their order.
        guards: Those of them that have something to check.
        guards_of_bare: Those of them that have something to check of a caller without a credential.
        proxies: Says for whom a proxy speaks; None where none is trusted.
        permission: Says what a caller may use; None where everybody may use everything.
        timeout: How long a request may take that brings no deadline of its own.
        stopping: No new runs are taken.
    """

    catalogue: Catalogue
    chosen: list[Guard]
    clock: Clock
    files: FilesRoot
    folders: Folders
    log_request: Callable[[Request, Response, float], None]
    proxies: TrustedProxies | None = None
    permission: PermissionGuard | None = None
    timeout: timedelta | None = None
    stopping: bool = False
    guards: Sequence[Guard] = attrs.field(init=False)
    guards_of_bare: Sequence[Guard] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._leave_out_idle()

    def add_guard(self, guard: Guard) -> None:
        """Add a guard after those that are there; it sees every call from now on."""
        self.chosen.append(guard)
        self._leave_out_idle()

    def take_up(self, entries: Iterable[Entry]) -> None:
        """Guard the rates of those operations that have one."""
        if any(entry.operation.rate_limit for entry in entries):
            for guard in self.chosen:
                if isinstance(guard, PrincipalRateGuard):
                    guard.of_operations = True
            self._leave_out_idle()

    def _leave_out_idle(self) -> None:
        self.guards = [guard for guard in self.chosen if not isinstance(guard, PrincipalRateGuard) or guard.limits]
        self.guards_of_bare = [guard for guard in self.guards if type(guard) is not IdentityGuard]

    async def dispatch(self, request: Request, interaction: Interaction | None = None) -> Response:
        """
        Carry out a request, the whole way: identity, guards, look-up, arguments, work, log.

        Never raises, except when its own task is cancelled; what goes wrong is `Response.error`.
        """
        clock = self.clock
        started = clock.monotonic()
        request_id = request.id or _new_id()
        call = None
        try:
            if self.proxies is not None:
                request = self._located(request)
            if self.timeout is not None and request.deadline is None and not _is_inner(request):
                request = attrs.evolve(request, deadline=clock.now() + self.timeout)
            entry = self.catalogue.find(request.operation, request.caller.channel)
            call = self.call(request, request_id, entry)
            data, run, error = await self._carry_out(call, entry, interaction or SILENT)
            response = Response(request_id=request_id, data=data, run=run, error=error, quotas=call.quotas)
        except anyio.get_cancelled_exc_class():
            gone = Response(request_id=request_id, error=CancelledError("the caller went away"))
            self.log_request(request, gone, clock.monotonic() - started)
            raise
        except Exception as raised:  # noqa: BLE001 - told to the caller, and logged; it must not take the channel with it
            quotas = () if call is None else call.quotas
            response = Response(request_id=request_id, error=_told(raised, request_id), quotas=quotas)
        finally:
            if request.form is not None:
                await self.folders.release(request.form)
        self.log_request(request, response, clock.monotonic() - started)
        return response

    async def reject(self, caller: Caller, error: NexusError, *, request_id: str | None = None) -> Response:
        """Answer a message that never became a request: guards see it without an operation, and it is logged."""
        request_id = request_id or _new_id()
        request = Request(operation="", arguments={}, caller=caller, id=request_id)
        started = self.clock.monotonic()
        call = None
        try:
            request = self._located(request)
            call = self.call(request, request_id, None)
            for guard in self.guards:
                await guard.check(call)
        except Exception as raised:  # noqa: BLE001 - as above
            error = _told(raised, request_id)
        response = Response(request_id=request_id, error=error, quotas=() if call is None else call.quotas)
        self.log_request(request, response, self.clock.monotonic() - started)
        return response

    def _located(self, request: Request) -> Request:
        """Return the request with the address of its caller, where a proxy has sent it that is trusted."""
        if self.proxies is None:
            return request
        caller = self.proxies.resolve(request.caller)
        return request if caller is request.caller else attrs.evolve(request, caller=caller)

    async def _carry_out(self, call: Call, entry: Entry | None, interaction: Interaction) -> Outcome:
        request = call.request
        for guard in self.guards_of_bare if request.caller.credential is None else self.guards:
            await guard.check(call)
        if entry is None:
            raise await self.not_found(call, request.operation)
        if self.stopping and entry.operation.kind == "workflow" and current_run.get() is None:
            raise UnavailableError("the application is stopping; try again later")
        if request.idempotency_key is not None:
            _check_key(request.idempotency_key, entry.operation)
        files = None if request.trusted_files else self.files
        if call.depth > DEEPEST:
            raise ResourceExhaustedError(f"workflows call each other {DEEPEST} deep; {request.operation!r} is one too many")
        given = request.arguments if request.form is None else await self.folders.receive(call, request.form)
        arguments = entry.signature.check(given, lenient=request.lenient, files=files)
        if request.deadline is None or entry.operation.kind == "workflow":
            return await entry.carry_out(call, arguments, interaction)
        with self.clock.timeout(max(0.0, (request.deadline - call.now).total_seconds())):
            return await entry.carry_out(call, arguments, interaction)
        raise DeadlineExceededError(f"{request.operation} took longer than its caller waits; what it has begun may go on")

    def call(self, request: Request, request_id: str, entry: Entry | None) -> Call:
        """Begin a call. What a workflow calls, it calls in its own caller's name, unless it gives another."""
        heir_of = request.parent if request.caller.principal is None else None
        principal = request.caller.principal or (ANONYMOUS if heir_of is None else heir_of.principal)
        return Call(
            request=request,
            request_id=request_id,
            operation=None if entry is None else entry.operation,
            principal=principal,
            tenant=_tenant(principal) if heir_of is None else heir_of.tenant,
            now=self.clock.now(),
            parent=request.parent,
            depth=0 if request.parent is None else request.parent.depth + 1,
        )

    async def may(self, call: Call, permission: str) -> bool:
        """Whether the caller has a permission; where callers need not be known, everybody has."""
        return self.permission is None or await self.permission.may(call, permission)

    async def visible(self, call: Call) -> Sequence[Operation]:
        """Return what the caller of *call* may use."""
        shown = self.catalogue.operations(call.request.caller.channel)
        if self.permission is None:
            return shown
        return [operation for operation in shown if await self.permission.allows(call, operation)]

    async def visible_to(self, caller: Caller) -> Sequence[Operation]:
        """
        Return what a caller may use who asks for nothing else; see `Gateway.visible`.

        Raises:
            NexusError: A guard refuses it.
        """
        started = self.clock.monotonic()
        request, request_id = Request(operation="", arguments={}, caller=caller), _new_id()
        try:
            request = self._located(request)
            call = self.call(request, request_id, None)
            for guard in self.guards:
                if guard is not self.permission:
                    await guard.check(call)
            return await self.visible(call)
        except Exception as raised:
            error = _told(raised, request_id)
            self.log_request(request, Response(request_id=request_id, error=error), self.clock.monotonic() - started)
            raise error from raised

    async def not_found(self, call: Call, name: str) -> WorkflowNotFoundError:
        """Return what says that there is no operation of that name, with the nearest that the caller may use."""
        shown = await self.visible(call)
        names = {operation.name for operation in shown}
        wanted, _, version = name.partition("@")
        if version and wanted in names:
            versions = ", ".join(o.version for o in shown if o.name == wanted)
            return WorkflowNotFoundError(f"there is no version {version!r} of {wanted!r}; there are: {versions}", name=name)
        near = nearest(wanted, names - {wanted})
        hint = f"; did you mean {near!r}?" if near else ""
        return WorkflowNotFoundError(f"there is no operation {name!r}{hint}", name=name, **({"nearest": near} if near else {}))


def _new_id() -> str:
    return new_id()[:24]


def _told(raised: Exception, request_id: str) -> NexusError:
    """Return what the caller is told of it; the text of a fault of ours stays in the log."""
    if isinstance(raised, NexusError):
        return raised
    fault = InternalError(f"an internal error; the log has the reason, under request id {request_id}")
    fault.__cause__ = raised
    return fault


def _check_key(key: str, operation: Operation) -> None:
    if operation.kind != "workflow":
        raise InvalidArgumentError(f"{operation.name} takes no idempotency key: only runs of workflows do")
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise InvalidArgumentError(f"an idempotency key has 1 to {LONGEST_KEY} printable characters")


def _is_inner(request: Request) -> bool:
    """Whether the application itself, or a workflow, asks: `request_timeout` is for callers from outside."""
    return request.parent is not None or request.caller.principal is APPLICATION


def _tenant(principal: Principal) -> Tenant | None:
    return None if principal.tenant_id is None else Tenant(id=principal.tenant_id)
