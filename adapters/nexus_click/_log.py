"""The application's log on standard error, with tracebacks that begin where the user's code does."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio

import nexus

OURS: Final = (
    "<frozen importlib",
    *(f"{Path(place).parent}{os.sep}" for place in (__file__, nexus.__file__, anyio.__file__, importlib.__file__)),
)


@contextlib.contextmanager
def shown_log(*, refusals: bool) -> Iterator[None]:
    """
    Show the application's log on standard error, unless the application has arranged for it.

    Args:
        refusals: Show also the lines of requests that the caller was told the reason of.
    """
    log = logging.getLogger("nexus")
    if log.hasHandlers():
        yield
        return
    handler = LogHandler()
    if not refusals:
        handler.addFilter(_has_more_to_tell)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def trimmed(error: BaseException) -> str:
    """Return the traceback of an exception, without the frames that led into the user's code."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(OURS):
        found = found.tb_next
    # What can't be compiled has no frame of its own; anything else without one is a fault of ours.
    shown = found if found is not None or isinstance(error, SyntaxError) else error.__traceback__
    return "".join(traceback.format_exception(type(error), error, shown)).rstrip("\n")


class LogHandler(logging.Handler):
    """Writes records on standard error, whatever that is at the time: progress bars put themselves in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stderr.write(f"{self.format(record)}\n")


def _has_more_to_tell(record: logging.LogRecord) -> bool:
    return record.name != "nexus.request" or record.exc_info is not None


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gave it
        fields = dict(getattr(record, "nexus", {}))
        event = fields.pop("event", record.message)
        return "  ".join([f"{record.levelname.lower()}: {event}", *(f"{name}={value}" for name, value in fields.items())])

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that logging gave it
        return trimmed(ei[1])
