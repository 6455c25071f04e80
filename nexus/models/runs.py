"""What becomes of a run: its record, its questions, its events."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import attrs

from nexus.exceptions import ConflictError, UnavailableError
from nexus.models.files import RunFile
from nexus.models.gantt import gantt_of
from nexus.models.html import result_html, run_html
from nexus.models.questions import MISSING, Answer, Question

__all__ = [
    "Event",
    "ExecutionResult",
    "Page",
    "RunError",
    "RunRecord",
    "RunStatus",
    "StepRecord",
    "StepRow",
    "StepStatus",
    "Unstored",
]

T = TypeVar("T")

RunStatus = Literal["pending", "running", "waiting", "succeeded", "failed", "cancelled"]
StepStatus = Literal["succeeded", "failed", "cancelled", "skipped"]
StepRow = tuple[str, StepStatus, float, float, str | None, int]

UNKNOWN: Final = "application/octet-stream"
ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
INPUTS: Final = "/inputs/"
RESULTS: Final = "/results"


class Unstored:
    """
    What is left of a value that JSON has no word for, in a record that was written and read again: how it read.

    It is no attrs class, which JSON would have words for.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unstored) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@attrs.frozen(kw_only=True)
class RunError:
    """
    How a run failed: the code, and a text for those who may read the run's record.

    Attributes:
        private: The message is what a workflow raised, which is not for its callers.
        exception: What was raised, only in what the runtime returns in the process that carried the run; never stored.
    """

    code: str
    message: str
    details: Mapping[str, Any] = attrs.field(factory=dict)
    private: bool = False
    exception: BaseException | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class StepRecord:
    """
    What became of one step; items of a fan-out are `name[i]`.

    Attributes:
        started: Seconds since the run was started.
        ended: Seconds since the run was started.
        attempts: How often it was tried.
    """

    name: str
    status: StepStatus
    started: float
    ended: float
    error: str | None = None
    attempts: int = 1


@attrs.frozen(kw_only=True, slots=False)
class RunRecord:
    """
    One execution of a workflow.

    Attributes:
        id: 128 random bits as hex; whoever holds the id of an anonymous run may read it.
        version: Rises with each change; changes are compare-and-set on it.
        inputs: The checked arguments, as Python values; those with secrets as JSON values with `***` in their place.
        parent: The run whose step started it.
        answers: By question, in the order in which they came.
        output: The result, where it succeeded; one with secrets as a JSON value with `***` in their place.
        redacted: JSON pointers (RFC 6901) into `view()` to what has `***` in place of secrets: `/inputs/token`, `/results`.
        file_rows: What `files` shows: the name and the path of each.
        step_rows: What `steps` shows, as rows of `StepRecord`'s fields.
        returned: The result with its secrets, only in what the runtime returns in the process that carried the run. It is no
            field, so that no store writes it.
        partial: It has only what concerns one who did not start the run, and was asked; it is no field either.
        as_json: Inputs and output are JSON values, as the store kept them; it is no field either.
        cached: The output is one that was kept: no step was run for it.
        owner: Who carries it, see `RunStore.claim`; None where it was stored when it had ended.
        retry_of: The run of which this is a retry.
        plan_hash: Of the workflow, where results of its steps are kept; else empty.
        cancelling: Another process than the one that carries it was asked to cancel it.
    """

    returned: ClassVar[Any] = MISSING
    partial: ClassVar[bool] = False
    as_json: ClassVar[bool] = False

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
    inputs: Mapping[str, Any] = attrs.field(factory=dict)
    parent: str | None = None
    ended_at: datetime | None = None
    duration: float | None = None
    questions: Mapping[str, Question] = attrs.field(factory=dict)
    answers: Mapping[str, Answer] = attrs.field(factory=dict)
    output: Any = None
    error: RunError | None = None
    step_rows: Sequence[StepRow] = ()
    file_rows: Sequence[tuple[str, str]] = ()
    redacted: tuple[str, ...] = ()
    cached: bool = False
    owner: str | None = None
    retry_of: str | None = None
    plan_hash: str = ""
    cancelling: bool = False

    def changed(self, **fields: Any) -> RunRecord:
        """Return a copy with other values in these fields: `attrs.evolve` without its price, for what every run does."""
        copy = object.__new__(RunRecord)
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(fields)
        return copy

    def complete(self, **fields: Any) -> RunRecord:
        """Put other values into these fields of this very record, which must be known to its maker alone; return it."""
        self.__dict__.update(fields)
        return self

    @property
    def steps(self) -> Sequence[StepRecord]:
        """What became of each step, in the order in which they ended."""
        return tuple(
            StepRecord(name=name, status=status, started=started, ended=ended, error=error, attempts=attempts)
            for name, status, started, ended, error, attempts in self.step_rows
        )

    @property
    def files(self) -> Sequence[RunFile]:
        """The files that the output names, in the order in which it does; those that were there when the run ended."""
        return tuple(
            RunFile(name=name, path=Path(path), media_type=mimetypes.guess_type(name)[0] or UNKNOWN)
            for name, path in self.file_rows
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    @property
    def own_questions(self) -> Sequence[Question]:
        """The open questions that are for the one who started it to answer."""
        return [question for question in self.questions.values() if not question.of]

    def unfinished(self) -> UnavailableError:
        """Return why a run that has not ended has no output yet: what it waits for."""
        if self.status != "waiting":
            return UnavailableError(f"run {self.id} has not ended yet; look for it by its id", run_id=self.id)
        asked = self.questions.values()
        open_ones = ", ".join(f"{each.name!r} ({each.text})" + (f" of {each.of}" if each.of else "") for each in asked)
        return UnavailableError(f"run {self.id} waits for an answer: {open_ones}", run_id=self.id)

    def whole_inputs(self) -> Mapping[str, Any]:
        """
        Return the inputs, with which the workflow can be run again.

        Raises:
            ConflictError: There were secrets among them, which are kept nowhere.
        """
        names = [pointer.removeprefix(INPUTS) for pointer in self.redacted if pointer.startswith(INPUTS)]
        if names:
            raise ConflictError(
                f"run {self.id} can't be run again: its inputs had secrets ({', '.join(names)}), which are kept nowhere; "
                f"call {self.workflow!r} anew",
                run_id=self.id,
            )
        return self.inputs

    def whole_output(self) -> Any:
        """
        Return the result with its secrets.

        Raises:
            ConflictError: There were some, and they are kept nowhere.
        """
        if not self.redacted and not self.as_json:
            return self.output
        if self.returned is not MISSING:
            return self.returned
        if isinstance(self.output, Unstored):
            raise ConflictError(
                f"the result of run {self.id} is not JSON, and is kept nowhere: only who waits for the end of a run gets it; "
                f"its record shows how it reads",
                run_id=self.id,
            )
        if RESULTS in self.redacted:
            raise ConflictError(
                f"the result of run {self.id} had secrets, which are kept nowhere: only who waits for the end of a run gets "
                f"them; its record shows the rest",
                run_id=self.id,
            )
        return self.output

    def view(self) -> dict[str, Any]:
        """
        Return the record as channels show it; `inputs` and `output` are still Python values, for `Gateway.encode`.

        What a workflow raised is not told: whoever holds the id of an anonymous run may read this.
        """
        shown: dict[str, Any] = {
            "run_id": self.id,
            "workflow": self.workflow,
            "workflow_version": self.workflow_version,
            "status": self.status,
            "version": self.version,
            "request_id": self.request_id,
            "channel": self.channel,
            "principal": self.principal,
            "parent": self.parent,
            "retry_of": self.retry_of,
            "created_at": self.created_at,
            "ended_at": self.ended_at,
            "execution_time": self.duration,
            "cached": self.cached,
            "inputs": dict(self.inputs),
            "redacted": list(self.redacted),
            "questions": [question.view() for question in self.questions.values()],
            "steps": [
                {"name": name, "status": status, "started": started, "ended": ended, "attempts": attempts}
                for name, status, started, ended, _, attempts in self.step_rows
            ],
        }
        if self.status == "succeeded" and not self.partial:
            shown["results"] = self.output.text if isinstance(self.output, Unstored) else self.output
        if self.file_rows:
            shown["files"] = [{"name": file.name, "media_type": file.media_type} for file in self.files]
        if self.error is not None:
            hidden = f"the workflow failed; the log has the reason, under request id {self.request_id}"
            shown["error"] = {
                "code": self.error.code,
                "message": hidden if self.error.private else self.error.message,
                "details": self.error.details,
            }
        return shown

    def event(self, number: int, type_: str, data: Mapping[str, Any], *, time: datetime | None = None) -> Event:
        """Make an event of this run, by default of the time when it ended."""
        return Event(
            id=f"{self.id}-{number}",
            type=type_,
            data=data,
            time=time or self.ended_at or self.created_at,
            run_id=self.id,
            request_id=self.request_id,
            source_channel=self.channel,
            session_id=self.session,
            tenant_id=self.tenant,
            principal_id=self.principal,
        )

    def gantt(self) -> str:
        """Return the steps and their timings in milliseconds as a Mermaid Gantt chart; a fan-out's items are in one section."""
        return gantt_of(f"{self.workflow}@{self.workflow_version}", self.view()["steps"])

    def _repr_html_(self) -> str:
        return run_html(self.view())


# Made for every run, as above.
@attrs.frozen(repr=False, slots=False)
class ExecutionResult(Generic[T]):
    """
    What `execute_workflow` returns.

    Attributes:
        results: The workflow's output.
        execution_time: Seconds.
        shown: The output as the run's record has it, with `***` in place of secrets.
        cached: The results are those of an earlier run of the same inputs.
    """

    run_id: str
    results: T
    execution_time: float
    workflow_version: str
    shown: Any = attrs.field(default=MISSING, eq=False)
    cached: bool = False

    def __repr__(self) -> str:
        said = f"run_id={self.run_id!r}, results={self._results_shown!r}, execution_time={self.execution_time!r}"
        return f"ExecutionResult({said}, workflow_version={self.workflow_version!r})"

    @property
    def _results_shown(self) -> Any:
        return self.results if self.shown is MISSING else self.shown

    def _repr_html_(self) -> str:
        return result_html(
            run_id=self.run_id,
            results=self._results_shown,
            execution_time=self.execution_time,
            workflow_version=self.workflow_version,
        )


@attrs.frozen(kw_only=True)
class Event:
    """
    A fact that was published.

    Attributes:
        id: Of a run's events `{run id}-{number}`, numbered from 1 on.
        type: A dotted name: `run.progress`, `run.log`, `run.chunk`, `run.started`, `run.waiting`, `run.succeeded`, `run.failed`,
            `run.cancelled`, and `run.missed` in place of events that are kept no more.
        data: JSON values. `run.progress` has `done`, `total`, `message`, `step`; `run.log` has `level`, `message`, `fields`,
            `step`; `run.chunk` has `value`, `step`; `run.waiting` has `questions`; `run.failed` has `code`; `run.missed` has
            `count`.
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


@attrs.frozen
class Page(Generic[T]):
    """
    A piece of a listing.

    Attributes:
        cursor: Passed as `after` it gives the next piece; None at the end.
    """

    items: Sequence[T]
    cursor: str | None = None


def pointer_to_input(name: str) -> str:
    """Return the JSON pointer (RFC 6901) to an input in `RunRecord.view()`; names of parameters need no escapes."""
    return f"{INPUTS}{name}"
