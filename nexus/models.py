"""The values: what is handed between channels, gateway, runtime and stores. All frozen but `Call`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import attrs

from nexus.exceptions import NexusError

__all__ = [
    "ANONYMOUS",
    "APPLICATION",
    "Answers",
    "Call",
    "Caller",
    "Event",
    "ExecutionResult",
    "Hints",
    "Missing",
    "MISSING",
    "Operation",
    "OperationKind",
    "Page",
    "Principal",
    "Question",
    "Request",
    "Response",
    "RunError",
    "RunRecord",
    "RunStatus",
    "Scope",
    "Session",
    "StepRecord",
    "StepStatus",
    "Tenant",
]

T = TypeVar("T")

RunStatus = Literal["pending", "running", "waiting", "succeeded", "failed", "cancelled"]
StepStatus = Literal["succeeded", "failed", "cancelled"]
OperationKind = Literal["workflow", "resource", "prompt", "admin"]

ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})


class Missing(Enum):
    """The type of `MISSING`: no value at all, which `None` would not say."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Answers(Enum):
    """When a caller can answer a run's question: while it listens, by a later call, or not at all."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


@attrs.frozen(kw_only=True)
class Scope:
    """
    What a store call is restricted to.

    Attributes:
        tenant: The tenant, or None where there is none.
        principal: The principal's id; None only in `Scope.ALL`.
        session: The session of an anonymous caller, whose records are listed for that session only.
    """

    ALL: ClassVar[Scope]

    tenant: str | None
    principal: str | None
    session: str | None = None

    def covers(self, *, tenant: str | None, principal: str | None) -> bool:
        """Whether a record of that tenant and principal may be had by its id in this scope."""
        return self is Scope.ALL or (self.tenant == tenant and self.principal == principal)


Scope.ALL = Scope(tenant=None, principal=None)


@attrs.frozen(kw_only=True)
class Principal:
    """
    Who is asking: a user, a service, or the application itself.

    Attributes:
        id: Stable, unique within the tenant.
        roles: Names of what it may do.
        tenant_id: The tenant it belongs to.
        attributes: More about it, for guards and workflows.
    """

    id: str
    roles: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    tenant_id: str | None = None
    attributes: Mapping[str, Any] = attrs.field(factory=dict)


ANONYMOUS: Final = Principal(id="anonymous")
APPLICATION: Final = Principal(id="application")
ANONYMOUS_SESSION: Final = timedelta(minutes=30)


@attrs.frozen(kw_only=True)
class Tenant:
    """A group of principals kept apart from all others."""

    id: str
    name: str = ""


@attrs.frozen(kw_only=True)
class Session:
    """
    A caller's presence, valid on every channel until `expires_at`.

    Attributes:
        id: Names the session; it is not the bearer token and opens nothing.
        state: What the caller's workflows keep in it.
        version: Rises with each change; changes are compare-and-set on it.
    """

    id: str
    principal: Principal
    created_at: datetime
    expires_at: datetime
    state: Mapping[str, Any] = attrs.field(factory=dict)
    version: int = 1


@attrs.frozen(kw_only=True)
class Caller:
    """
    Who sent a request, as far as its channel knows.

    Attributes:
        channel: The name of the channel: `api`, `cli`, `mcp`, `inprocess`, or your own.
        address: The peer's network address, without port.
        credential: A bearer token or key as it was sent; never logged.
        principal: Set by a channel that has itself verified who is asking, instead of a credential.
        traceparent: W3C Trace Context of the caller.
    """

    channel: str
    address: str | None = None
    credential: str | None = attrs.field(default=None, repr=False)
    principal: Principal | None = None
    user_agent: str | None = None
    traceparent: str | None = None


@attrs.frozen(kw_only=True)
class Request:
    """
    A call of an operation, whatever channel it came by.

    Attributes:
        operation: The name, `name@version` for a certain version of a workflow.
        arguments: By name, as JSON values; in-process also as Python values.
        id: The request id; the gateway makes one where there is none.
        detach: Answer as soon as the run is recorded, do not wait for it.
        deadline: When the caller stops waiting and the work must have ended.
        trusted_files: Paths among the arguments are used as they are (in-process, a local command line).
        lenient: The arguments came as text: "3" is good enough for an int.
    """

    operation: str
    arguments: Mapping[str, Any]
    caller: Caller
    id: str | None = None
    detach: bool = False
    deadline: datetime | None = None
    trusted_files: bool = False
    lenient: bool = False


@attrs.frozen(kw_only=True)
class Question:
    """
    What `run.ask` makes, and what an answer settles.

    Attributes:
        name: Given, or `step.1`.
        schema: JSON Schema (2020-12) of the answer: a scalar, an enum, a list of enums, or a flat object of those.
        default: JSON value proposed to whoever answers, or `MISSING`.
        problem: Why the last answer was not taken, where the question is asked again.
    """

    name: str
    text: str
    schema: Mapping[str, Any]
    step: str
    default: Any = MISSING
    problem: str | None = None

    def view(self) -> dict[str, Any]:
        """Return the question as channels show it."""
        shown = {"name": self.name, "text": self.text, "schema": self.schema, "step": self.step}
        return shown if self.default is MISSING else {**shown, "default": self.default}


@attrs.frozen(kw_only=True)
class RunError:
    """
    How a run failed: the code, and a text for those who may read the run's record.

    Attributes:
        exception: What was raised, only in what the runtime returns in the process that carried the run; never stored.
    """

    code: str
    message: str
    details: Mapping[str, Any] = attrs.field(factory=dict)
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class StepRecord:
    """
    What became of one step; items of a fan-out are `name[i]`.

    Attributes:
        started: Seconds since the run was started.
        ended: Seconds since the run was started.
    """

    name: str
    status: StepStatus
    started: float
    ended: float
    error: str | None = None


@attrs.frozen(kw_only=True)
class RunRecord:
    """
    One execution of a workflow.

    Attributes:
        id: 128 random bits as hex; whoever holds the id of an anonymous run may read it.
        version: Rises with each change; changes are compare-and-set on it.
        answers: By question, what was answered, as JSON values.
        output: The result, where it succeeded.
    """

    id: str
    workflow: str
    workflow_version: str
    status: RunStatus
    request_id: str
    channel: str
    principal: str
    tenant: str | None
    session: str | None
    created_at: datetime
    version: int = 1
    ended_at: datetime | None = None
    duration: float | None = None
    questions: Mapping[str, Question] = attrs.field(factory=dict)
    answers: Mapping[str, Any] = attrs.field(factory=dict)
    output: Any = None
    error: RunError | None = None
    _steps: Sequence[tuple[str, StepStatus, float, float, str | None]] = attrs.field(default=(), alias="steps")

    @property
    def steps(self) -> Sequence[StepRecord]:
        """What became of each step, in the order in which they ended."""
        return tuple(
            StepRecord(name=name, status=status, started=started, ended=ended, error=error)
            for name, status, started, ended, error in self._steps
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    def view(self) -> dict[str, Any]:
        """Return the record as channels show it; `output` is still a Python value, for `Gateway.encode`."""
        shown: dict[str, Any] = {
            "run_id": self.id,
            "workflow": self.workflow,
            "workflow_version": self.workflow_version,
            "status": self.status,
            "version": self.version,
            "request_id": self.request_id,
            "channel": self.channel,
            "principal": self.principal,
            "created_at": self.created_at,
            "ended_at": self.ended_at,
            "execution_time": self.duration,
            "questions": [question.view() for question in self.questions.values()],
            "steps": [{"name": name, "status": status, "started": started, "ended": ended} for name, status, started, ended, _ in self._steps],
        }
        if self.status == "succeeded":
            shown["results"] = self.output
        if self.error is not None:
            shown["error"] = {"code": self.error.code, "message": self.error.message, "details": self.error.details}
        return shown


@attrs.frozen(kw_only=True)
class Response:
    """
    What became of a request. Neither error nor data: a run that is pending or waiting, see `run`.

    Attributes:
        request_id: The id under which the log knows the request.
        data: The output, as a Python value.
        error: Why there is none.
        run: The run's record, where the operation was a workflow.
    """

    request_id: str
    data: Any = None
    error: NexusError | None = None
    run: RunRecord | None = None


@attrs.frozen
class ExecutionResult(Generic[T]):
    """
    What `execute_workflow` returns.

    Attributes:
        results: The workflow's output.
        execution_time: Seconds.
    """

    run_id: str
    results: T
    execution_time: float
    workflow_version: str


@attrs.frozen(kw_only=True)
class Event:
    """
    A fact that was published.

    Attributes:
        type: A dotted name: `run.progress`, `run.log`.
        data: JSON values. `run.progress` has `done`, `total`, `message`, `step`; `run.log` has `level`, `message`, `fields`,
            `step`.
    """

    id: str
    type: str
    data: Any
    time: datetime
    run_id: str | None = None
    request_id: str | None = None
    source_channel: str | None = None
    session_id: str | None = None
    tenant_id: str | None = None
    principal_id: str | None = None


@attrs.frozen(kw_only=True)
class Hints:
    """
    What a caller may assume of an operation; callers trust it, nothing checks it.

    Attributes:
        read_only: It changes nothing.
        destructive: What it changes may not come back.
        idempotent: Twice does no more than once.
    """

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Operation:
    """
    Something a caller may call by name; an entry of the catalogue.

    Attributes:
        name: `[a-z][a-z0-9_]*`, dotted.
        version: Of a workflow; empty for a built-in operation.
        newest: Whether `name` alone means this version.
        summary: One line.
        description: The rest, Markdown.
        channels: Where it shows; None is everywhere.
        place: `module:qualname` of what was registered.
    """

    name: str
    kind: OperationKind
    version: str = ""
    newest: bool = True
    summary: str = ""
    description: str = ""
    tags: Sequence[str] = ()
    channels: frozenset[str] | None = None
    hints: Hints = attrs.field(factory=Hints)
    place: str = ""
    _input_schema: Callable[[], Mapping[str, Any]] = attrs.field(default=dict, alias="input_schema", repr=False)
    _output_schema: Callable[[], Mapping[str, Any]] = attrs.field(default=dict, alias="output_schema", repr=False)
    _graph: Callable[[], Mapping[str, Any]] | None = attrs.field(default=None, alias="graph", repr=False)

    @property
    def reference(self) -> str:
        """`name@version`, or `name` where it has no version."""
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """JSON Schema (2020-12) of the arguments, an object; made when first asked for."""
        return self._input_schema()

    @property
    def output_schema(self) -> Mapping[str, Any]:
        """JSON Schema (2020-12) of the output; made when first asked for."""
        return self._output_schema()

    @property
    def graph(self) -> Mapping[str, Any] | None:
        """`{"steps": [{"name", "needs", "each"}], "mermaid": str}` of a workflow."""
        return None if self._graph is None else self._graph()

    def view(self) -> dict[str, Any]:
        """Return the operation as listings show it, without its schemas."""
        return {
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "newest": self.newest,
            "summary": self.summary,
            "description": self.description,
            "tags": list(self.tags),
            "read_only": self.hints.read_only,
            "destructive": self.hints.destructive,
            "idempotent": self.hints.idempotent,
        }

    def shows_on(self, channel: str) -> bool:
        """Whether callers of that channel see it; the application itself (`inprocess`) sees all."""
        return self.channels is None or channel in self.channels or channel == "inprocess"


@attrs.define(kw_only=True, eq=False)
class Call:
    """
    One dispatch: the guards fill it in, and it is gone afterwards.

    Attributes:
        operation: None where the name is unknown, which only the last step says.
    """

    request: Request
    request_id: str
    operation: Operation | None
    principal: Principal
    tenant: Tenant | None
    now: datetime
    _session: Session | None = attrs.field(default=None, alias="session")
    _value: Session | None = attrs.field(default=None, init=False)

    @property
    def session(self) -> Session:
        """The caller's session; where no store keeps one, a value that is made when first asked for."""
        if self._session is not None:
            return self._session
        if self._value is None:
            self._value = Session(
                id=self.request_id, principal=self.principal, created_at=self.now, expires_at=self.now + ANONYMOUS_SESSION
            )
        return self._value

    @session.setter
    def session(self, session: Session) -> None:
        self._session = session

    @property
    def session_id(self) -> str | None:
        """The id of the session, where a store keeps it."""
        return None if self._session is None else self._session.id

    @property
    def scope(self) -> Scope:
        """What this call's store calls are restricted to."""
        if self.principal is APPLICATION:
            return Scope.ALL
        return Scope(
            tenant=None if self.tenant is None else self.tenant.id, principal=self.principal.id, session=self.session_id
        )


@attrs.frozen
class Page(Generic[T]):
    """
    A piece of a listing.

    Attributes:
        cursor: Passed as `after` it gives the next piece; None at the end.
    """

    items: Sequence[T]
    cursor: str | None = None
