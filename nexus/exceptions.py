"""
Every error that Nexus raises on purpose.

An error has a `code` (what kind of trouble, the same on every channel), a text that says what is wrong and what to do, and
`details` for programs. Core knows no HTTP: each channel translates the code.

    Exception
    └── NexusError                     code
        ├── MalformedRequestError      malformed_request      the message never became a request
        ├── InvalidArgumentError       invalid_argument       arguments don't fit the schema, all problems at once
        ├── UnauthenticatedError       unauthenticated        no or bad credentials (also named UnauthorizedError)
        ├── PermissionDeniedError      permission_denied      may not (also named ForbiddenError)
        ├── NotFoundError              not_found
        │   └── WorkflowNotFoundError
        ├── ConflictError              conflict               version, state
        ├── PayloadTooLargeError       payload_too_large
        ├── ResourceExhaustedError     resource_exhausted     rate, quota, concurrency
        │   └── RateLimitError
        ├── CancelledError             cancelled              by somebody
        ├── DeadlineExceededError      deadline_exceeded      timeout
        ├── UnavailableError           unavailable            a part is down, stopping, or nobody can answer
        ├── WorkflowFailedError        failed                 the workflow raised; `__cause__` is what it raised
        ├── Problem                    the workflow's choice  raised by a workflow to choose its own answer
        └── InternalError              internal               a fault of ours
            ├── RegistrationError                             a workflow that can't be registered
            ├── ConfigurationError                            a setting that can't be used
            └── AdapterError                                  an adapter that is not there, or not what it says
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import attrs

__all__ = [
    "CODES",
    "AdapterError",
    "ArgumentProblem",
    "CancelledError",
    "ConfigurationError",
    "ConflictError",
    "DeadlineExceededError",
    "ForbiddenError",
    "InternalError",
    "InvalidArgumentError",
    "MalformedRequestError",
    "NexusError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "Problem",
    "RateLimitError",
    "RegistrationError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnauthorizedError",
    "UnavailableError",
    "WorkflowFailedError",
    "WorkflowNotFoundError",
    "result_too_large",
]

CODES = frozenset(
    {
        "malformed_request",
        "invalid_argument",
        "unauthenticated",
        "permission_denied",
        "not_found",
        "conflict",
        "payload_too_large",
        "resource_exhausted",
        "cancelled",
        "deadline_exceeded",
        "unavailable",
        "failed",
        "internal",
    }
)


class NexusError(Exception):
    """
    The root of the tree.

    Attributes:
        code: One of `CODES`; the same on every channel.
        message: What is wrong and what to do; safe to show to the caller.
        details: More of it for programs, as JSON values; safe to show to the caller.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.code: str = self.default_code
        self.message = message
        self.details: dict[str, Any] = details


class MalformedRequestError(NexusError):
    """
    The message is not a request of its channel.

    Attributes:
        reason: What is wrong with the message: not the channel's format (JSON), a wrong content type, a wrong method, or a
            reply that the caller does not accept.
        allow: The methods that are allowed here, where the method was wrong.
    """

    default_code = "malformed_request"

    def __init__(
        self,
        message: str,
        /,
        *,
        reason: Literal["format", "content_type", "method", "not_acceptable"] = "format",
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(message, **({"allow": list(allow)} if allow else {}))
        self.reason = reason
        self.allow = tuple(allow)


@attrs.frozen
class ArgumentProblem:
    """
    One thing that is wrong with the arguments of a call.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the arguments: `/limit`, `/stops/0/city`; empty for the arguments as a whole.
        message: What was expected and what came.
    """

    pointer: str
    message: str


class InvalidArgumentError(NexusError):
    """
    The arguments don't fit the schema; all problems at once.

    Attributes:
        problems: Each with its place.
    """

    default_code = "invalid_argument"

    def __init__(self, message: str, /, problems: Sequence[ArgumentProblem] = ()) -> None:
        super().__init__(message, errors=[{"pointer": p.pointer, "message": p.message} for p in problems])
        self.problems = tuple(problems)


class UnauthenticatedError(NexusError):
    """No credential, or a bad one."""

    default_code = "unauthenticated"


class PermissionDeniedError(NexusError):
    """The caller is known, and may not."""

    default_code = "permission_denied"


class NotFoundError(NexusError):
    """There is no such thing, or it is not the caller's."""

    default_code = "not_found"


class WorkflowNotFoundError(NotFoundError):
    """There is no workflow or operation of that name for this caller."""


class ConflictError(NexusError):
    """The thing has changed, or is not in a state that allows this."""

    default_code = "conflict"


class PayloadTooLargeError(NexusError):
    """A body or a value over the limit."""

    default_code = "payload_too_large"


def result_too_large(size: int, limit: int) -> PayloadTooLargeError:
    """
    Return the error in place of a result that is longer than `max_value_bytes`; it is never cut.

    Args:
        size: Bytes of its JSON.
        limit: The setting.
    """
    return PayloadTooLargeError(
        f"the result is {size} bytes of JSON, and max_value_bytes is {limit}; return less, or where to find it",
        size=size,
        limit=limit,
    )


class ResourceExhaustedError(NexusError):
    """A rate, quota or capacity is used up."""

    default_code = "resource_exhausted"


class RateLimitError(ResourceExhaustedError):
    """The caller asks too often."""


class CancelledError(NexusError):
    """Somebody cancelled it, or declined to answer."""

    default_code = "cancelled"


class DeadlineExceededError(NexusError):
    """It took longer than it may."""

    default_code = "deadline_exceeded"


class UnavailableError(NexusError):
    """A part that this needs is down, stopping or not started, or nobody can answer."""

    default_code = "unavailable"


class WorkflowFailedError(NexusError):
    """The workflow raised. What it raised is the `__cause__`, in-process only; its text never leaves the process."""

    default_code = "failed"


class Problem(NexusError):  # noqa: N818 - a workflow raises a problem, which need not be an error
    """
    Raised by a workflow to choose its own answer.

    Args:
        code: One of `CODES`.
        message: What the caller is told.
        details: JSON values for programs, sent with the message.
    """

    def __init__(self, code: str, message: str, /, **details: Any) -> None:
        if code not in CODES:
            choices = ", ".join(sorted(CODES))
            raise ValueError(f"{code!r} is not an error code; use one of: {choices}")
        super().__init__(message, **details)
        self.code = code


class InternalError(NexusError):
    """A fault of Nexus, of an adapter, or of how they were put together."""


class RegistrationError(InternalError):
    """A workflow that can't be registered, or a dependency that can't be provided; the text names the place and the way out."""


class ConfigurationError(InternalError):
    """A setting that can't be used; the text names the key, where it came from, and what is allowed."""


class AdapterError(InternalError):
    """An adapter that is not installed, is there twice, or is not what it says it is."""


UnauthorizedError = UnauthenticatedError
ForbiddenError = PermissionDeniedError


def details_of(error: NexusError) -> Mapping[str, Any]:
    """Return the error as the object that channels send: code, message, details."""
    return {"code": error.code, "message": error.message, "details": error.details}


def error_of(details: Mapping[str, Any]) -> NexusError:
    """Return the error that was sent as such an object; one with a code that is not in `CODES` is an `InternalError`."""
    code, message, more = details["code"], details["message"], dict(details["details"])
    if code == InvalidArgumentError.default_code:
        problems = [ArgumentProblem(problem["pointer"], problem["message"]) for problem in more.get("errors", ())]
        error: NexusError = InvalidArgumentError(message, problems)
    else:
        error = BY_CODE.get(code, InternalError)(message)
    error.details = more
    return error


BY_CODE: Final[Mapping[str, type[NexusError]]] = {
    error.default_code: error
    for error in (
        CancelledError,
        ConflictError,
        DeadlineExceededError,
        InternalError,
        MalformedRequestError,
        NotFoundError,
        PayloadTooLargeError,
        PermissionDeniedError,
        ResourceExhaustedError,
        UnauthenticatedError,
        UnavailableError,
        WorkflowFailedError,
    )
}
