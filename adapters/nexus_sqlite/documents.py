"""
Records of runs as JSON: all that has no column of its own.

Inputs and outputs are written by the application's own encoder, and are JSON values when they are read. Of what JSON has no word
for there is left how it read, so that the record of a run is written whatever was in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from nexus.models import MISSING, Answer, Question, RunError, RunRecord, Unstored, Upload

__all__ = ["decoded", "encoded"]

RESULTS: Final = "/results"
INPUTS: Final = "/inputs/"

Encode = Callable[[Any], bytes]


class _Question(msgspec.Struct, omit_defaults=True):
    name: str
    text: str
    schema: Any
    step: str
    of: str = ""
    default: Any = msgspec.UNSET
    expires_at: datetime | None = None
    problem: str | None = None


class _Answer(msgspec.Struct, omit_defaults=True):
    value: Any
    schema: Any
    digest: str | None = None
    by: str = ""


class _Error(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    details: Any
    private: bool = False


class _Document(msgspec.Struct, omit_defaults=True):
    """
    The fields of a record, and what they were.

    Attributes:
        uploads: Names of inputs that came as files.
        unstored: JSON pointers to what is only how it read.
    """

    workflow_version: str
    request_id: str
    channel: str
    created_at: datetime
    inputs: Any = None
    parent: str | None = None
    ended_at: datetime | None = None
    duration: float | None = None
    questions: dict[str, _Question] = {}
    answers: dict[str, _Answer] = {}
    output: Any = None
    error: _Error | None = None
    step_rows: list[tuple[str, str, float, float, str | None, int]] = []
    file_rows: list[tuple[str, str]] = []
    redacted: tuple[str, ...] = ()
    cached: bool = False
    retry_of: str | None = None
    plan_hash: str = ""
    cancelling: bool = False
    uploads: list[str] = []
    unstored: list[str] = []


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(_Document).decode


def encoded(run: RunRecord, encode: Encode) -> bytes:
    """Return all of the record that has no column; never fails for what is in it."""
    unstored: list[str] = []
    document = _Document(
        workflow_version=run.workflow_version,
        request_id=run.request_id,
        channel=run.channel,
        created_at=run.created_at,
        inputs=_inputs(run.inputs, encode, unstored) if run.inputs else None,
        parent=run.parent,
        ended_at=run.ended_at,
        duration=run.duration,
        output=None if run.output is None else _value(run.output, RESULTS, encode, unstored),
        step_rows=list(run.step_rows),
        file_rows=list(run.file_rows),
        redacted=run.redacted,
        cached=run.cached,
        retry_of=run.retry_of,
        plan_hash=run.plan_hash,
        cancelling=run.cancelling,
        uploads=[name for name, value in run.inputs.items() if _is_upload(value)],
        unstored=unstored,
    )
    if run.questions:
        document.questions = {name: _question(question, encode) for name, question in run.questions.items()}
    if run.answers:
        document.answers = {
            name: _Answer(_value(answer.value, "", encode, []), answer.schema, answer.digest, answer.by)
            for name, answer in run.answers.items()
        }
    if run.error is not None:
        details = {name: _value(value, "", encode, []) for name, value in run.error.details.items()}
        document.error = _Error(run.error.code, run.error.message, details, run.error.private)
    try:
        return _write(document)
    except UnicodeEncodeError:
        return _write(_readable(document))


def decoded(document: bytes, **columns: Any) -> RunRecord:
    """Return the record of a document and the columns beside it."""
    kept = _read(document)
    output, inputs = kept.output, kept.inputs or {}
    for name in kept.uploads:
        inputs[name] = _upload(inputs[name])
    for pointer in kept.unstored:
        if pointer == RESULTS:
            output = Unstored(output)
        else:
            name = pointer.removeprefix(INPUTS)
            inputs[name] = Unstored(inputs[name])
    return RunRecord(
        workflow_version=kept.workflow_version,
        request_id=kept.request_id,
        channel=kept.channel,
        created_at=kept.created_at,
        inputs=inputs,
        parent=kept.parent,
        ended_at=kept.ended_at,
        duration=kept.duration,
        questions={name: _asked(question) for name, question in kept.questions.items()},
        answers={name: Answer(each.value, each.schema, each.digest, each.by) for name, each in kept.answers.items()},
        output=output,
        error=None if kept.error is None else RunError(**msgspec.structs.asdict(kept.error)),
        step_rows=kept.step_rows or (),  # type: ignore[arg-type]  # of the statuses that were written
        file_rows=kept.file_rows or (),
        redacted=kept.redacted,
        cached=kept.cached,
        retry_of=kept.retry_of,
        plan_hash=kept.plan_hash,
        cancelling=kept.cancelling,
        **columns,
    ).complete(as_json=True)


def _value(value: Any, pointer: str, encode: Encode, unstored: list[str]) -> Any:
    try:
        return msgspec.Raw(encode(value))
    except Exception:  # noqa: BLE001 - a record must not be lost for what is in it
        unstored.append(pointer)
        return _readable(_repr(value))


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - as above
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"


def _inputs(inputs: Mapping[str, Any], encode: Encode, unstored: list[str]) -> Any:
    try:
        return msgspec.Raw(encode(dict(inputs)))
    except Exception:  # noqa: BLE001 - then each by itself
        return {name: _value(value, INPUTS + name, encode, unstored) for name, value in inputs.items()}


def _question(question: Question, encode: Encode) -> _Question:
    return _Question(
        name=question.name,
        text=question.text,
        schema=question.schema,
        step=question.step,
        of=question.of,
        default=msgspec.UNSET if question.default is MISSING else _value(question.default, "", encode, []),
        expires_at=question.expires_at,
        problem=question.problem,
    )


def _asked(kept: _Question) -> Question:
    fields = msgspec.structs.asdict(kept)
    return Question(**{**fields, "default": MISSING if kept.default is msgspec.UNSET else kept.default})


def _is_upload(value: Any) -> bool:
    return isinstance(value, Upload) or (isinstance(value, list) and any(isinstance(item, Upload) for item in value))


def _upload(value: Any) -> Any:
    if isinstance(value, list):
        return [_upload(item) for item in value]
    return Upload(
        filename=value["filename"], media_type=value["media_type"], size=value["size"], sha256=value["sha256"], path=None
    )


def _readable(value: Any) -> Any:
    """Return the value with characters that UTF-8 has no code for (of undecodable file names) written as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_readable(name): _readable(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return type(value)(_readable(item) for item in value)  # type: ignore[call-arg]  # lists and tuples
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: _readable(item) for name, item in msgspec.structs.asdict(value).items()})
    return value
