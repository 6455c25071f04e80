"""Steps in processes of their own, which can be stopped."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import anyio

__all__ = ["call_in_process", "is_importable"]


def is_importable(function: Callable[..., Any]) -> bool:
    """Whether another process would find this very function under its name."""
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for name in getattr(function, "__qualname__", "<locals>").split("."):
        found = getattr(found, name, None)
    # While its module is being loaded it is not there yet; one at the top of its module will be.
    return found is function or (found is None and "." not in getattr(function, "__qualname__", "."))


async def call_in_process(function: Callable[..., Any], arguments: Mapping[str, Any], *, step: str) -> Any:
    """
    Call the function in a worker process, which is killed when the caller is cancelled; one that still starts is kept for others.

    Raises:
        TypeError: The arguments or the result can't be pickled.
        RuntimeError: The process has died.
    """
    try:
        work = pickle.dumps((function, dict(arguments)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"step {step!r} runs in a process, so its function and arguments must be picklable: {error}") from error
    # Only where a step runs in a process: the import takes a tenth of that of all of Nexus.
    from anyio import to_process  # noqa: PLC0415

    try:
        async with to_process.current_default_process_limiter():
            held = cast("anyio.CapacityLimiter", _Held())
            # One that is cancelled while it starts would be left behind. It is the first that the next call finds.
            with anyio.CancelScope(shield=True):
                await to_process.run_sync(_begin, limiter=held)
            result = await to_process.run_sync(_carry_out, work, step, cancellable=True, limiter=held)
    except anyio.BrokenWorkerProcess as error:
        raise RuntimeError(f"the process of step {step!r} has died: it was killed, or has crashed") from error
    return pickle.loads(result)  # noqa: S301 - written by a process of ours


class _Held:
    """In place of a limiter whose place is taken already, and which would let others have their turn in between."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


def _begin() -> None:
    """Have a process."""


def _carry_out(work: bytes, step: str) -> bytes:
    function, arguments = pickle.loads(work)  # noqa: S301 - written by the process that started this one
    result = function(**arguments)
    try:
        return pickle.dumps(result)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"step {step!r} runs in a process, so its result must be picklable: {error}") from error
