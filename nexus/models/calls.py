"""A request on its way: operation, caller, request, call, response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

import attrs

from nexus.exceptions import NexusError
from nexus.models.files import Form
from nexus.models.identity import ANONYMOUS_SESSION, APPLICATION, Principal, Scope, Session, Tenant
from nexus.models.rates import Quota, Rate
from nexus.models.runs import RunRecord

__all__ = ["Call", "Caller", "FormRequest", "Hints", "Operation", "OperationKind", "Request", "Response"]

OperationKind = Literal["workflow", "resource", "prompt", "admin"]


# Made for every request, for which slots would cost a third more.
@attrs.frozen(kw_only=True, slots=False)
class Caller:
    """
    Who sent a request, as far as its channel knows.

    Attributes:
        channel: The name of the channel: `api`, `cli`, `mcp`, `inprocess`, or your own.
        owner: The channel that the request came by, where `channel` names another: what shows there the caller may use, but the
            limits are those of the owner.
        address: The peer's network address, without port. Where that is a trusted proxy's (`network.trusted_proxies`), the
            gateway puts the one of the caller for whom it speaks in its place.
        credential: A bearer token or key as it was sent; never logged.
        principal: Set by a channel that has itself verified who is asking, instead of a credential.
        traceparent: W3C Trace Context of the caller.
        forwarded: The header `Forwarded` (RFC 7239) as it came, several of them with commas between. What it says is for the
            gateway to judge, not for the channel.
        x_forwarded_for: The header `X-Forwarded-For`, in the same way.
    """

    channel: str
    owner: str | None = None
    address: str | None = None
    credential: str | None = attrs.field(default=None, repr=False)
    principal: Principal | None = None
    user_agent: str | None = None
    traceparent: str | None = None
    forwarded: str | None = None
    x_forwarded_for: str | None = None


# Made for every request, for which slots would cost a third more.
@attrs.frozen(kw_only=True, slots=False)
class Request:
    """
    A call of an operation, whatever channel it came by.

    Attributes:
        operation: The name, `name@version` for a certain version of a workflow.
        arguments: By name, as JSON values; in-process also as Python values. There may be secrets among them.
        id: The request id; the gateway makes one where there is none.
        detach: Answer as soon as the run, or the answer to its question, is recorded; do not wait for what comes of it.
        deadline: When the caller stops waiting and the work must have ended.
        trusted_files: Paths among the arguments are used as they are (in-process, a local command line).
        lenient: The arguments came as text: "3" is good enough for an int.
        idempotency_key: Whoever asks for the same workflow under the same key gets the same run. 1 to 255 printable characters.
        parent: The call whose run makes this request, in whose name it is, unless the caller has a principal.
    """

    operation: str
    arguments: Mapping[str, Any] = attrs.field(repr=False)
    caller: Caller
    id: str | None = None
    detach: bool = False
    deadline: datetime | None = None
    trusted_files: bool = False
    lenient: bool = False
    idempotency_key: str | None = None
    parent: Call | None = attrs.field(default=None, repr=False)

    form: ClassVar[Form | None] = None


@attrs.frozen(kw_only=True)
class FormRequest(Request):
    """
    A request whose arguments are still to be read.

    Attributes:
        form: What reads them; *arguments* are empty.
    """

    form: Form = attrs.field(repr=False)  # type: ignore[misc]


# Made for every request, for which slots would cost a third more.
@attrs.frozen(kw_only=True, slots=False)
class Response:
    """
    What became of a request. Neither error nor data: a run that is pending or waiting, see `run`.

    Attributes:
        request_id: The id under which the log knows the request.
        data: The output, as a Python value.
        error: Why there is none.
        run: The run's record, where the operation was a workflow.
        quotas: What is left of each limit that the request counted against; where it was refused for some, of those.
    """

    request_id: str
    data: Any = attrs.field(default=None, repr=False)
    error: NexusError | None = None
    run: RunRecord | None = None
    quotas: Sequence[Quota] = ()


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
        deprecated: What to use instead; empty where it is here to stay.
        background: It takes long: a remote caller is given the run, and does not wait for its end.
        permission: What a caller needs, where callers are known: `workflow:{name}:execute`, or `runs:get` of what is built in.
        public: Whoever asks may use it.
        rate_limit: How often a caller may use it; empty is as often as it likes.
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
    deprecated: str = ""
    background: bool = False
    permission: str = ""
    public: bool = False
    rate_limit: Sequence[Rate] = ()
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
        """`{"steps": [{"name", "needs", "each", "conditional"}], "output": str, "mermaid": str}` of a workflow."""
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
            "deprecated": self.deprecated or None,
            "background": self.background,
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
        parent: The call of the run that made this one.
        depth: How many runs it is inside of.
        run_id: The run that it started.
        quotas: What guards say that is left of each limit it counts against; see `Response.quotas`.
    """

    request: Request
    request_id: str
    operation: Operation | None
    principal: Principal
    tenant: Tenant | None
    now: datetime
    parent: Call | None = None
    depth: int = 0
    run_id: str | None = None
    quotas: Sequence[Quota] = ()
    _session: Session | None = attrs.field(default=None, alias="session")
    _value: Session | None = attrs.field(default=None, init=False)

    @property
    def session(self) -> Session:
        """The caller's session; where no store keeps one, a value that is made when first asked for."""
        if self._session is not None:
            return self._session
        if self.parent is not None and self.request.caller.principal is None:
            return self.parent.session
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
        if self._session is None and self.parent is not None and self.request.caller.principal is None:
            return self.parent.session_id
        return None if self._session is None else self._session.id

    @property
    def scope(self) -> Scope:
        """What this call's store calls are restricted to."""
        if self.principal is APPLICATION:
            return Scope.ALL
        return Scope(tenant=None if self.tenant is None else self.tenant.id, principal=self.principal.id, session=self.session_id)
