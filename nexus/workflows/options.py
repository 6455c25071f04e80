"""What is said of a workflow as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypedDict

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import Hints, Rate
from nexus.models.rates import parse_rates
from nexus.workflows.caching import CachePolicy, policy_of
from nexus.workflows.retries import Retry
from nexus.workflows.schedules import Schedule, ScheduleOption, make_schedules
from nexus.workflows.steps import NAME, OnError, RunIn, seconds_of

__all__ = ["FunctionOptions", "WorkflowOptions", "make_options"]

VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PERMISSION: Final = re.compile(r"[^\s*]+")


@attrs.frozen(kw_only=True)
class WorkflowOptions:
    """What is said of a workflow as a whole; see `Workflow`."""

    name: str
    version: str = "1"
    output: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    channels: frozenset[str] | None = None
    hints: Hints = attrs.field(factory=Hints)
    timeout: float | None = None
    concurrency: int | None = None
    schedules: tuple[Schedule, ...] = ()
    cache: CachePolicy | None = None
    deprecated: str = ""
    background: bool = False
    durable: bool = False
    permission: str = ""
    public: bool = False
    rate_limit: tuple[Rate, ...] = ()


def make_options(
    name: str,
    *,
    place: str,
    version: str = "1",
    output: str | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    channels: Sequence[str] | set[str] | frozenset[str] | None = None,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    timeout: float | timedelta | None = None,
    concurrency: int | None = None,
    schedule: ScheduleOption = None,
    cache: CachePolicy | timedelta | float | None = None,
    deprecated: str | None = None,
    background: bool = False,
    durable: bool = False,
    permission: str | None = None,
    public: bool = False,
    rate_limit: str | Rate | Sequence[str | Rate] | None = None,
) -> WorkflowOptions:
    """Check a workflow's options, each by itself."""
    if not all(NAME.fullmatch(part) for part in name.split(".")):
        raise RegistrationError(
            f"{place}: {name!r} can't be a name: use lower-case letters, digits and _, dots between, and give name=…"
        )
    if not VERSION.fullmatch(version):
        raise RegistrationError(f"{place}: version={version!r}: use letters, digits, dots, - and _, like '2' or '1.10'")
    if isinstance(tags, str) or isinstance(channels, str):
        raise RegistrationError(
            f"{place}: tags= and channels= take several names: write [{(tags if isinstance(tags, str) else channels)!r}]"
        )
    if concurrency is not None and (isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1):
        raise RegistrationError(f"{place}: concurrency={concurrency!r}: give a whole number from 1 on")
    if deprecated is not None and not (isinstance(deprecated, str) and deprecated.strip()):
        raise RegistrationError(f"{place}: deprecated={deprecated!r}: say what to use instead, like deprecated='use report@2'")
    if permission is not None and not (isinstance(permission, str) and PERMISSION.fullmatch(permission)):
        raise RegistrationError(f"{place}: permission={permission!r}: give a name like 'reports:read', without spaces or *")
    if public and permission:
        raise RegistrationError(f"{place}: public=True lets everybody in, and permission={permission!r} does not; give one")
    return WorkflowOptions(
        name=name,
        version=version,
        output=output,
        description=description,
        tags=tuple(tags),
        channels=None if channels is None else frozenset(channels),
        hints=Hints(read_only=read_only, destructive=destructive, idempotent=idempotent),
        timeout=seconds_of(timeout, place=place),
        concurrency=concurrency,
        schedules=make_schedules(schedule, place=place),
        cache=policy_of(cache, read_only=read_only, place=place),
        deprecated=(deprecated or "").strip(),
        background=background,
        durable=durable,
        permission=permission or "",
        public=public,
        rate_limit=_rates(rate_limit, place=place),
    )


def _rates(value: Any, *, place: str) -> tuple[Rate, ...]:
    try:
        return parse_rates(value)
    except ValueError as error:
        raise RegistrationError(f"{place}: rate_limit=: {error}") from None


class FunctionOptions(TypedDict, total=False):
    """What `@workflow` takes: the options of `Workflow` and of its one step."""

    name: str | None
    version: str
    description: str
    tags: Sequence[str]
    channels: Sequence[str] | set[str] | frozenset[str] | None
    read_only: bool
    destructive: bool
    idempotent: bool
    concurrency: int | None
    schedule: ScheduleOption
    cache: CachePolicy | timedelta | float | None
    deprecated: str | None
    background: bool
    durable: bool
    permission: str | None
    public: bool
    rate_limit: str | Rate | Sequence[str | Rate] | None
    each: str | None
    limit: int | None
    on_error: OnError | None
    when: Callable[..., bool] | None
    retry: Retry | None
    timeout: float | timedelta | None
    run_in: RunIn | None
