"""Cursors, and times as they are in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from nexus.models import Page

__all__ = ["instant", "page_of", "position", "time_of"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
CURSOR: Final = re.compile(r"(-?\d{1,18})~(.+)", re.DOTALL)


def instant(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - EPOCH) // MICROSECOND


def time_of(microseconds: int) -> datetime:
    """Return the time of that many microseconds since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def position(cursor: str) -> tuple[int, str]:
    """
    Return where a page starts.

    Raises:
        InvalidArgumentError: It is no cursor.
    """
    parts = CURSOR.fullmatch(cursor)
    if parts is not None:
        return int(parts[1]), parts[2]
    problem = ArgumentProblem("/after", "expected a cursor of an earlier page")
    raise InvalidArgumentError("this is not a cursor; leave it out to start from the beginning", [problem])


def page_of(chosen: Sequence[Any], limit: int) -> Page[Any]:
    """Cut a listing of up to *limit* + 1 records, and say where the next page starts."""
    if len(chosen) <= limit:
        return Page(list(chosen))
    last = chosen[limit - 1]
    return Page(list(chosen[:limit]), f"{instant(last.created_at)}~{last.id}")
