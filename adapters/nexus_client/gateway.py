"""The application behind a server, as a gateway: what a command line works on that has no application of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import msgspec

from nexus.abc import Clock, Interaction, RemoteGateway
from nexus.clock import SystemClock
from nexus.exceptions import InvalidArgumentError, NexusError, UnavailableError
from nexus.models import Answers, Caller, Event, Operation, Question, Request, Response, RunRecord
from nexus_client.addresses import checked_token, checked_url, path_of
from nexus_client.connection import Connection, Reply
from nexus_client.downloads import Downloads, named_here
from nexus_client.execution import Execution, has_ended
from nexus_client.operations import BUILT_IN, BuiltIn, workflow_of
from nexus_client.uploads import body_of

__all__ = ["HttpGateway"]

WORKFLOW = "/api/workflows/{workflow}"
LENIENT = "handling=lenient"
NO_LIMIT = 2**63 - 1


class _Described(msgspec.Struct):
    title: str
    description: str = ""


class _Document(msgspec.Struct):
    """As much of an OpenAPI document as is of use here."""

    info: _Described


class Nobody(Interaction):
    """A caller that hears nothing and can answer nothing."""

    answers = Answers.NEVER

    async def tell(self, event: Event) -> None:
        """Nobody listens."""

    async def ask(self, question: Question) -> Any:
        """Nobody answers."""
        raise UnavailableError(f"nobody can answer here (asked: {question.text!r})")


@attrs.define(eq=False, repr=False)
class HttpGateway(RemoteGateway):
    """
    The application of a server, by its REST API.

    Args:
        url: Where it is mounted: `http://127.0.0.1:8000`.
        token: By which it knows the caller; None is the anonymous.

    Raises:
        ConfigurationError: The address or the token can't be one.
    """

    url: str = attrs.field(converter=checked_url)
    token: str | None = attrs.field(default=None, converter=checked_token, kw_only=True)
    folder: Path = attrs.field(factory=Path, kw_only=True)
    clock: Clock = attrs.field(factory=SystemClock, kw_only=True)
    title: str = attrs.field(default="", init=False)
    description: str = attrs.field(default="", init=False)
    version: str = attrs.field(default="", init=False)
    _connection: Connection = attrs.field(init=False)
    _operations: dict[str, Operation] = attrs.field(init=False)
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = Connection(self.url, self.token)
        self._operations = {name: built_in.operation for name, built_in in BUILT_IN.items()}

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._stack.enter_async_context(self._connection.opened())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._stack.aclose()

    # ---- what can be called

    async def learn(self, reference: str | None = None) -> None:
        """See `RemoteGateway.learn`."""
        if reference is None:
            await self._learn_all()
        elif reference not in BUILT_IN:
            reply = await self._connection.get(path_of(WORKFLOW, workflow=reference))
            if reply.error is None or reply.error.code != "not_found":
                self._operations[reference] = self._shown(reply.required())

    async def _learn_all(self) -> None:
        listing = await self._connection.get("/api/workflows")
        for view in listing.required():
            operation = self._shown(view)
            self._operations[operation.reference] = operation
        self.version = listing.version
        async with self._connection.response("GET", "/openapi.json") as response:
            document = await response.aread()
        with suppress(msgspec.MsgspecError):
            described = msgspec.json.decode(document, type=_Document).info
            self.title, self.description = described.title, described.description

    def _shown(self, view: Any) -> Operation:
        try:
            return workflow_of(view)
        except (KeyError, TypeError):
            raise self._connection.not_ours("with no workflow") from None

    def operations(self, *, channel: str | None = None) -> Sequence[Operation]:  # noqa: ARG002 - the server says what shows
        """Return the operations that this has been told of, sorted by name, newest version first."""
        return sorted(self._operations.values(), key=lambda operation: (operation.name, not operation.newest))

    def operation(self, reference: str, *, channel: str | None = None) -> Operation | None:  # noqa: ARG002 - as above
        """Return the operation of that `name` or `name@version`, if this has been told of it."""
        found = self._operations.get(reference)
        newest = (each for each in self._operations.values() if each.name == reference and each.newest)
        return found or next(newest, None)

    async def visible(self, caller: Caller) -> Sequence[Operation]:  # noqa: ARG002 - the server knows who asks
        """Return the workflows that the server shows to this caller."""
        await self.learn()
        return [operation for operation in self.operations() if operation.kind == "workflow"]

    # ---- the way of a request

    async def dispatch(self, request: Request, interaction: Interaction | None = None) -> Response:
        """
        Have a request carried out by the server.

        Never raises, except when its own task is cancelled: then the run is cancelled too.
        """
        try:
            built_in = BUILT_IN.get(request.operation)
            if built_in is not None:
                return await self._call(built_in, request)
            return await self._execute(request, interaction or Nobody())
        except NexusError as error:
            return Response(request_id="", error=error)

    async def reject(self, caller: Caller, error: NexusError, *, request_id: str | None = None) -> Response:  # noqa: ARG002
        """Answer what never became a request; the server does not hear of it."""
        return Response(request_id=request_id or "", error=error)

    async def _execute(self, request: Request, interaction: Interaction) -> Response:
        execution = Execution(self._connection, interaction, self.clock)
        path = f"{path_of(WORKFLOW, workflow=request.operation)}/execute"
        with ExitStack() as opened:
            body = body_of(request.arguments, self._schema(request.operation), opened)
            headers = {**body.get("headers", {}), **_headers_of(request)}
            try:
                reply = await execution.carry_out(path, {**body, "headers": headers})
            except NexusError as error:
                reply = Reply(error=error)
        if reply.error is not None:
            run_id = reply.error.details.get("run_id", execution.run_id)
            return Response(request_id=reply.request_id, error=reply.error, run=await self._run_of(run_id))
        run = self._run(request.operation, reply)
        try:
            results = await self._with_files(request.operation, reply.data)
        except NexusError as error:
            text = f"run {run.id} has succeeded, but its files can't be had: {error.message}"
            told = UnavailableError(f"{text}; its record still has the result: runs.get {run.id}", run_id=run.id)
            return Response(request_id=reply.request_id, error=told, run=run)
        return Response(request_id=reply.request_id, data=results, run=run)

    async def _with_files(self, reference: str, data: Mapping[str, Any]) -> Any:
        """Return the results, their files downloaded."""
        names = [file["name"] for file in data.get("files", ())]
        if not names:
            return data["results"]
        places = await Downloads(self._connection, self.folder, data["run_id"]).fetch(names)
        operation = self.operation(reference)
        schema = operation.output_schema if operation is not None else {}
        return named_here(data["results"], schema, {name: str(place) for name, place in places.items()})

    async def _call(self, built_in: BuiltIn, request: Request) -> Response:
        """Call what is built in; a run that it shows is shown as it is."""
        if request.idempotency_key is not None:
            raise InvalidArgumentError(f"{built_in.name} takes no idempotency key: only runs of workflows do")
        path, rest = built_in.placed(request.arguments)
        if built_in.name == "runs.file":
            run_id, name = request.arguments["run_id"], request.arguments["name"]
            places = await Downloads(self._connection, self.folder, run_id).fetch([name])
            return Response(request_id="", data={"name": name, "path": str(places[name])})
        if built_in.method == "GET":
            query = {name: _text(value) for name, value in rest.items() if value is not None}
            reply = await self._connection.get(path, query)
        else:
            reply = await self._connection.send(built_in.method, path, rest, {"prefer": LENIENT})
        return Response(request_id=reply.request_id, data=reply.data, error=reply.error)

    def _schema(self, reference: str) -> Mapping[str, Any]:
        operation = self.operation(reference)
        return {} if operation is None else operation.input_schema

    def _run(self, reference: str, reply: Reply) -> RunRecord:
        """Return what the last reply tells of the record of a run that succeeded."""
        data = reply.data
        if "status" in data:
            return _record_of(data, self.clock)
        metadata = data["metadata"]
        shown = {
            "run_id": data["run_id"],
            "workflow": reference.partition("@")[0],
            "status": "succeeded",
            "request_id": reply.request_id,
            **metadata,
        }
        return _record_of(shown, self.clock)

    async def _run_of(self, run_id: str) -> RunRecord | None:
        """Return the record of a run that has failed, where there is one to be had."""
        try:
            data = (await self._connection.get(path_of("/api/runs/{run_id}", run_id=run_id))).required() if run_id else {}
        except NexusError:
            return None
        return _record_of(data, self.clock) if data and has_ended(data) else None

    # ---- the rest of a gateway

    @property
    def ready(self) -> bool:
        """Whether requests are welcome here; whether they are over there, their replies tell."""
        return True

    @property
    def max_value_bytes(self) -> int:
        """The server has limits of its own."""
        return NO_LIMIT

    @property
    def run_retention(self) -> timedelta:
        """The server keeps the records, and does not tell for how long."""
        return timedelta(0)

    async def health(self) -> Mapping[str, bool]:
        """Nothing is open here that could be unwell."""
        return {}

    def encode(self, value: Any, *, remote: bool = False) -> bytes:  # noqa: ARG002 - all values came as JSON
        """Return JSON of a value that came as JSON."""
        return msgspec.json.encode(value)

    def to_builtins(self, value: Any) -> Any:
        """Return the value as its JSON would read."""
        return msgspec.json.decode(msgspec.json.encode(value))


def _record_of(shown: Mapping[str, Any], clock: Clock) -> RunRecord:
    return RunRecord(
        id=shown["run_id"],
        workflow=shown["workflow"],
        workflow_version=shown["workflow_version"],
        status=shown["status"],
        request_id=shown["request_id"],
        channel=shown.get("channel", ""),
        principal=shown.get("principal", ""),
        tenant=None,
        session=None,
        created_at=clock.now(),
        duration=shown["execution_time"],
        cached=shown.get("cached", False),
    )


def _headers_of(request: Request) -> dict[str, str]:
    """
    Return what goes along with an execution.

    Raises:
        InvalidArgumentError: The idempotency key can't be sent.
    """
    headers = {"prefer": LENIENT} if request.lenient else {}
    key = request.idempotency_key
    if key is None:
        return headers
    if not (key.isascii() and key.isprintable()):
        raise InvalidArgumentError("an idempotency key that is sent to a server has printable ASCII characters only")
    return {**headers, "idempotency-key": f'"{key}"'}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
