"""
Every contract that an adapter implements, and what the core gives to it.

Reads, listings and removals by id take `scope` first and never return what is outside it; `now` comes last, and no store
reads a clock. An absent record is `NotFoundError`. Changes of a record are compare-and-set on its `version`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from nexus.exceptions import NexusError, UnavailableError
from nexus.models import (
    Answers,
    ApiKey,
    Call,
    Caller,
    Decision,
    Event,
    Missing,
    Operation,
    Page,
    Principal,
    Question,
    Request,
    Response,
    RunRecord,
    Scope,
    Session,
)

__all__ = [
    "AccessControl",
    "Authenticator",
    "Cache",
    "Channel",
    "Clock",
    "Database",
    "Gateway",
    "Guard",
    "HttpFace",
    "Interaction",
    "KeyStore",
    "RemoteGateway",
    "RunStore",
    "Runtime",
    "Service",
    "SessionFinder",
    "SessionStore",
    "StepStore",
    "TimeoutScope",
]


class TimeoutScope(Protocol):
    """A cancel scope that a clock opened."""

    @property
    def cancel_called(self) -> bool:
        """Whether the time ran out, or somebody called `cancel`."""
        ...

    def cancel(self) -> None:
        """Cancel what runs inside."""
        ...


class Clock(ABC):
    """Time, and every wait of the core, so that a test can own both."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time, aware, in UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds from an arbitrary point, never going back."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait that long; a checkpoint also for zero."""

    @abstractmethod
    def timeout(self, seconds: float) -> AbstractContextManager[TimeoutScope]:
        """Open a scope that is cancelled, without an exception of its own, after that many seconds."""


class Service(ABC):  # noqa: B024 - a default start is the contract
    """A part of the application that may have something to open and close."""

    async def start(self, exit_stack: AsyncExitStack) -> None:  # noqa: B027 - nothing to open is the default
        """
        Open what is needed; by default nothing is.

        What must be undone goes on *exit_stack*, which is left in the reverse order, also when a later part fails to start.
        """


class Interaction(ABC):
    """How a run talks to its caller while it runs."""

    answers: Answers = Answers.NEVER
    """When this caller can answer a question; decides who carries the run, and is read once, before the first step."""

    listens: bool = True
    """Whether `tell` does anything."""

    follows: bool = False
    """Whether it is also told of the run itself: `run.started`, `run.waiting`, `run.succeeded` …"""

    @abstractmethod
    async def tell(self, event: Event) -> None:
        """Take an event of the run: `run.progress`, `run.log`, `run.chunk`. Awaited by the step, so a slow caller holds it."""

    @abstractmethod
    async def ask(self, question: Question) -> Any:
        """
        Return the answer as a JSON value (text is good enough); only called when `answers` is NOW.

        A wrong answer is asked for again, with `question.problem` set.

        Raises:
            CancelledError: The caller declined to answer.
        """


class Gateway(Protocol):
    """What a channel is given. `nexus.Nexus` is one."""

    @property
    def title(self) -> str:
        """The application's title."""
        ...

    @property
    def description(self) -> str:
        """What the application is for, Markdown."""
        ...

    @property
    def version(self) -> str:
        """The application's version."""
        ...

    @property
    def clock(self) -> Clock:
        """The application's clock; a channel waits on no other."""
        ...

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome: started, and not stopping."""
        ...

    @property
    def max_value_bytes(self) -> int:
        """How long a result, as JSON, may be that a channel sends to a remote caller."""
        ...

    @property
    def run_retention(self) -> timedelta:
        """How long the record of a run is kept after its end."""
        ...

    async def health(self) -> Mapping[str, bool]:
        """Return by name which open dependencies are well, of those that can say."""
        ...

    def encode(self, value: Any, *, remote: bool = False) -> bytes:
        """
        Return JSON (RFC 8259, UTF-8) of any value a workflow may return, alone or in mappings and sequences.

        Of a path a *remote* caller is shown the last part only, never where the files of this machine are.
        """
        ...

    def to_builtins(self, value: Any) -> Any:
        """Return the value as dict, list, str, int, float, bool and None, as its JSON would read."""
        ...

    async def dispatch(self, request: Request, interaction: Interaction | None = None) -> Response:
        """
        Carry out a request: the whole way, from guards to log line.

        Never raises, except when its own task is cancelled; what goes wrong is `Response.error`.
        """
        ...

    async def reject(self, caller: Caller, error: NexusError, *, request_id: str | None = None) -> Response:
        """Answer a message that never became a request; guards still see it, without an operation, and it is logged."""
        ...

    def operations(self, *, channel: str | None = None) -> Sequence[Operation]:
        """Return what may be called on *channel* (None: any), sorted by name, newest version first."""
        ...

    def operation(self, reference: str, *, channel: str | None = None) -> Operation | None:
        """Return the operation of that `name` (newest version) or `name@version` on *channel* (None: any), to whomever."""
        ...

    async def visible(self, caller: Caller) -> Sequence[Operation]:
        """
        Return what *caller* may use on its channel, sorted by name, newest version first: what a listing shows.

        Raises:
            NexusError: A guard refuses it; it was logged.
        """
        ...


class RemoteGateway(Gateway, ABC):
    """
    An application that a server has, as a client sees it: a gateway whose operations are those that it has been told of.

    Constructed with `(url, token=…)`, *token* being what the server shall know the caller by, or None. `async with` connects, as
    often as needed. A path among the arguments that is a file here is sent along; a file that a result names is downloaded.

    Attributes:
        folder: Where files go that results name.
    """

    folder: Path

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Connect."""

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""

    @abstractmethod
    async def learn(self, reference: str | None = None) -> None:
        """
        Be told of an operation, and nothing where there is none of that name; of None, of all workflows and the application.

        Raises:
            NexusError: The server is not there, or does not want this caller to know.
        """


class Channel(Service):
    """
    An adapter between one kind of caller and the gateway.

    Constructed with `(gateway, config)`, *config* being the `NexusConfig`; started after everything else, stopped first.
    """

    name: ClassVar[str]


class HttpFace(Protocol):
    """What a channel also is if it answers HTTP requests on the application's one port."""

    def matches(self, scope: Mapping[str, Any]) -> bool:
        """Whether the path of this ASGI scope is this channel's."""
        ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer it, as an ASGI application."""
        ...


class Guard(ABC):
    """One check before the work."""

    @abstractmethod
    async def check(self, call: Call) -> None:
        """
        Pass, fill in the call, or raise a `NexusError`. Guards run in order; `call.operation` is None where the name is unknown.

        An exception of another kind refuses the call too, as `internal`.
        """


class SessionFinder(Protocol):
    """What finds sessions."""

    async def find(self, token: str, *, now: datetime) -> Session:
        """
        Return the live session of that token.

        Raises:
            UnauthenticatedError: There is none.
        """
        ...


class Authenticator(Service):
    """Knows credentials of one kind."""

    @abstractmethod
    async def authenticate(self, credential: str, *, now: datetime) -> Principal | None:
        """
        Return whose credential it is, None where it is not of this kind.

        Raises:
            UnauthenticatedError: It is of this kind, and not good: forged, expired, revoked.
        """


class AccessControl(Service):
    """Decides who may do what."""

    @abstractmethod
    async def decide(self, call: Call, permission: str) -> Decision:
        """Decide whether the principal of *call* has that permission, as in `workflow:report:execute`."""


class Runtime(Service):
    """
    Carries runs.

    `work` is opaque here: the compiled plan and the checked arguments in the local runtime, a reference on an engine.
    """

    @property
    def owner(self) -> str | None:
        """Whose runs these are in the store, see `RunStore.claim`; None where this runtime keeps no lease."""
        return None

    def require_open(self, work: Any) -> None:
        """
        Let work pass that could be submitted now; asked before its record is made.

        Raises:
            UnavailableError: The application is not started, or is stopping.
            ResourceExhaustedError: As much waits already as may.
        """

    @abstractmethod
    async def submit(self, run: RunRecord, work: Any) -> None:
        """
        Own the run, whose record is in the store, from now on.

        Raises:
            UnavailableError: The application is not started, or is stopping.
        """

    @abstractmethod
    async def execute(self, run: RunRecord, work: Any, interaction: Interaction) -> RunRecord:
        """
        Carry the run until it ends, or waits for an answer, and return its record.

        The record is in the store when this returns, under a higher `version` if it was there before. Until it has waited, the
        run is cancelled when the caller of this is. An `Exception` of the workflow ends the run and is not raised here.
        """

    @abstractmethod
    async def settled(self, run_id: str) -> RunRecord:
        """
        Wait until the run has ended or waits for an answer, and return its record.

        Raises:
            NotFoundError: This runtime carries no such run, and the store has no record of it.
        """

    @abstractmethod
    async def resume(self, run_id: str, interaction: Interaction) -> None:
        """Go on: its answers are in the store. Talk to this caller from now on."""

    def hold(self, run_id: str, digest: str, answer: Any) -> None:
        """
        Keep an answer with secrets in memory for the run, before its record says that it was answered.

        The record has `***` and the digest, by which the run finds the answer when it is resumed.

        Raises:
            UnavailableError: This runtime does not carry the run, or takes no secrets.
        """
        raise UnavailableError(f"run {run_id} can't be given a secret here", digest=digest, answered=answer is not None)

    @abstractmethod
    async def cancel(self, run_id: str) -> None:
        """Cancel the run and wait until its clean-up is done. Nothing happens if it has ended."""

    def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """
        Yield the events of a run from number *after* + 1 on, as they come, until it has ended.

        Raises:
            UnavailableError: This runtime keeps none.
        """
        raise UnavailableError(f"the events of run {run_id}, from {after} on, are not kept here")


class RunStore(Service):
    """
    Keeps the records of runs.

    Inputs and output may be given back as JSON values, with `as_json` set: `record.complete(as_json=True)`. What JSON has no word
    for is then an `Unstored`; no record is refused for what is in it.
    """

    shared: bool = True
    """Whether other processes may have the same records, so that leases are to be kept; read once, at the start."""

    @abstractmethod
    async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
        """
        Keep a new record, and return it; where one is kept under *key* already, return that one and keep nothing.

        A key belongs to the tenant and principal of its run (of the anonymous: to their session too) and to its workflow,
        whatever version, and is kept as long as the run's record.

        Args:
            scope: Whose.
            run: The record.
            key: The caller's idempotency key.
            inputs_hash: Of the run's inputs; the same key with another one is an error.

        Raises:
            ConflictError: There is a record of that id, or the one under *key* is of other inputs.
            ResourceExhaustedError: The store is full of runs that have not ended.
        """

    @abstractmethod
    async def get(self, scope: Scope, run_id: str) -> RunRecord:
        """
        Return the record.

        Raises:
            NotFoundError: There is none in this scope.
        """

    @abstractmethod
    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        """
        Replace the record, and return it with its new version, *expected_version* + 1.

        Raises:
            NotFoundError: There is no record of that id.
            ConflictError: Its version is another.
        """

    @abstractmethod
    async def list(self, scope: Scope, *, where: Mapping[str, str], after: str | None, limit: int) -> Page[RunRecord]:
        """
        Return records of the scope, newest first; of the anonymous, those of the scope's session only, and none without one.

        Args:
            scope: Whose.
            where: `status`, `workflow` or both, compared for equality. Another key is `InvalidArgumentError`.
            after: The cursor of the page before.
            limit: At most this many.
        """

    @abstractmethod
    async def prune(self, *, ended_before: datetime) -> Sequence[str]:
        """Remove the records of runs that ended before, and return their ids."""

    @abstractmethod
    async def claim(self, owner: str, *, until: datetime, now: datetime) -> Sequence[RunRecord]:
        """
        Renew the lease of an owner of runs, and give it those that nobody carries any more.

        These are the runs of other owners that have not ended, where the owner is None, never had a lease, or one that has
        expired. Each has *owner* afterwards, and its next version; of two owners who claim at once, each run is given to one.

        Args:
            owner: Who claims, new or not.
            until: When its lease expires, unless it is renewed; *now* gives it up.
            now: The time; a lease that lasts until *now* has expired.
        """


class StepStore(Service):
    """Keeps results of steps, of durable runs and of those that may be retried; of no use without the run's record."""

    @abstractmethod
    async def put(self, run_id: str, step: str, result: bytes) -> None:
        """
        Keep the result of a step, in place of what is kept of it; once this has returned, it is not lost with the process.

        Raises:
            ResourceExhaustedError: There is no room for it.
        """

    @abstractmethod
    async def all(self, run_id: str) -> Mapping[str, bytes]:
        """Return what is kept of a run, by step, of an item of a fan-out by `name[i]`; empty where nothing is."""

    @abstractmethod
    async def remove(self, run_id: str) -> None:
        """Remove all that is kept of a run; nothing happens if that is nothing."""


class SessionStore(Service):
    """Keeps sessions, by the SHA-256 of their token."""

    @abstractmethod
    async def add(self, session: Session, *, token_hash: bytes) -> None:
        """
        Keep a new session.

        Raises:
            ConflictError: There is a session of that id or token.
            ResourceExhaustedError: There are as many live sessions as the store may hold.
        """

    @abstractmethod
    async def find(self, token_hash: bytes, *, now: datetime) -> Session:
        """
        Return the live session of that token.

        Raises:
            NotFoundError: There is none, or it has expired.
        """

    @abstractmethod
    async def save(self, session: Session, *, expected_version: int) -> Session:
        """
        Replace the session, and return it with its new version, *expected_version* + 1.

        Raises:
            NotFoundError: There is no session of that id.
            ConflictError: Its version is another.
        """

    @abstractmethod
    async def remove(self, scope: Scope, session_id: str) -> None:
        """
        Remove the session; its token is good for nothing from now on. An anonymous scope reaches its own session only.

        Raises:
            NotFoundError: There is none in this scope.
        """

    @abstractmethod
    async def list(self, scope: Scope, *, now: datetime, after: str | None, limit: int) -> Page[Session]:
        """Return live sessions of the scope, oldest first; an anonymous scope has its own session only."""

    @abstractmethod
    async def prune(self, *, now: datetime) -> int:
        """Remove the sessions that have expired, and return how many."""


class KeyStore(Service):
    """Keeps API keys, by their ids, with a keyed hash of their secret."""

    @abstractmethod
    async def add(self, key: ApiKey, *, secret_hash: bytes) -> None:
        """
        Keep a new key.

        Raises:
            ConflictError: There is a key of that id.
        """

    @abstractmethod
    async def find(self, key_id: str) -> tuple[ApiKey, bytes]:
        """
        Return the key, expired or not, and the hash of its secret.

        Raises:
            NotFoundError: There is none.
        """

    @abstractmethod
    async def remove(self, scope: Scope, key_id: str) -> None:
        """
        Remove the key; it is good for nothing from now on.

        Raises:
            NotFoundError: There is none in this scope.
        """

    @abstractmethod
    async def list(self, scope: Scope, *, after: str | None, limit: int) -> Page[ApiKey]:
        """Return keys of the scope, oldest first, those that have expired too."""


class Cache(Service):
    """
    Keeps bytes for a time. It may forget any of them sooner, and is asked for nothing that can't be made again.

    `MISSING` says that there is nothing: an empty value is a value.
    """

    @abstractmethod
    async def get(self, key: str, *, now: datetime) -> tuple[bytes, datetime | None] | Missing:
        """Return the value and when it expires, None for never; `MISSING` where there is none, or it has expired."""

    @abstractmethod
    async def set(self, key: str, value: bytes, *, expires_at: datetime | None, tags: Sequence[str] = ()) -> None:
        """Keep the value, in place of the one before with its expiry and its tags; one that is too long need not be kept."""

    @abstractmethod
    async def discard(self, key: str) -> None:
        """Forget the value. Nothing happens if there is none."""

    @abstractmethod
    async def discard_tag(self, tag: str) -> None:
        """Forget every value that was set with that tag. Nothing happens if there is none."""


class Database(Service):
    """
    One place for all that an application keeps.

    Attributes:
        run_store: Records of runs.
        session_store: Sessions.
        key_store: API keys.
        step_store: Results of steps.
        cache: Results that are kept for a time.
    """

    run_store: RunStore
    session_store: SessionStore
    key_store: KeyStore
    step_store: StepStore
    cache: Cache

    @abstractmethod
    def __init__(self, url: str, *, encode: Callable[[Any], bytes], report: Callable[[str, BaseException], None]) -> None:
        """
        Take note of the place; nothing is opened before the start.

        Args:
            url: Where it is: its scheme names the adapter, `sqlite:///nexus.db` that of the entry point `database.sqlite`.
            encode: Makes JSON of any value that a workflow may take or return, see `Gateway.encode`.
            report: Told what could not be done, of which no caller is told.

        Raises:
            ConfigurationError: The URL can't be used.
        """

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for whoever starts the application; no secrets are in it."""

    @property
    @abstractmethod
    def is_well(self) -> bool:
        """Whether it is open, and could be written when that was last tried; known without waiting."""
