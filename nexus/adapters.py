"""
Finds and loads adapters: entry points of the group `nexus.adapters`, each named `kind.name`.

Listing reads names only. Loading imports the one that is asked for, never all: an entry point runs somebody's code.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, TypeVar

from nexus.exceptions import AdapterError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "available", "load", "missing_dependency"]

GROUP = "nexus.adapters"
"""The group of entry points that a distribution declares its adapters in."""

OUR_DISTRIBUTION = "nexus-channels"

T = TypeVar("T")


def available(kind: str) -> tuple[str, ...]:
    """
    Return the names of the installed adapters of a kind, sorted; nothing is imported.

    Args:
        kind: What comes before the dot of an entry point's name: `channel`, …
    """
    return tuple(sorted({point.name.removeprefix(f"{kind}.") for point in _entry_points() if point.name.startswith(f"{kind}.")}))


def load(reference: str, base: type[T]) -> type[T]:
    """
    Import one adapter and return its class.

    Args:
        reference: `kind.name`, as in `channel.api`.
        base: The contract that it must be a subclass of.

    Raises:
        AdapterError: There is no such adapter, or two; what it needs is not installed; or it is not a *base*.
    """
    point = _find(reference)
    try:
        adapter = point.load()
    except ModuleNotFoundError as error:
        explained = missing_dependency(reference, point.module, error, distribution=_distribution(point))
        if explained is None:
            raise
        raise explained from error
    if not (isinstance(adapter, type) and issubclass(adapter, base)):
        wanted = f"{base.__module__}.{base.__qualname__}"
        raise AdapterError(
            f"adapter {reference!r} of {_distribution(point)!r} is {point.value}, which is not a subclass of {wanted}"
        )
    return adapter


def missing_dependency(
    reference: str, module: str, error: ModuleNotFoundError, *, distribution: str = OUR_DISTRIBUTION
) -> AdapterError | None:
    """
    Say which module an adapter lacks and how to get it, or return None where the failed import is a fault of the adapter.

    Args:
        reference: `kind.name` of the adapter.
        module: The module that the adapter is in.
        error: What its import raised.
        distribution: What the adapter was installed by.
    """
    package = module.partition(".")[0]
    needed = (error.name or "").partition(".")[0]
    if needed in {"", "nexus", package} or importlib.util.find_spec(needed) is not None:
        return None
    if distribution == OUR_DISTRIBUTION:
        return AdapterError(
            f"adapter {reference!r} needs {needed!r}; run: pip install '{distribution}[{package.removeprefix('nexus_')}]'"
        )
    return AdapterError(f"adapter {reference!r} needs {needed!r}, which {distribution!r} did not install; install it")


def _find(reference: str) -> EntryPoint:
    found = [point for point in _entry_points() if point.name == reference]
    if not found:
        kind = reference.partition(".")[0]
        names = ", ".join(f"{kind}.{name}" for name in available(kind)) or "none"
        raise AdapterError(f"there is no adapter {reference!r}; installed of this kind: {names}")
    if len(found) > 1:
        owners = " and ".join(sorted(repr(_distribution(point)) for point in found))
        raise AdapterError(f"adapter {reference!r} is installed by {owners}; uninstall all but one")
    return found[0]


def _entry_points() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - 30 ms that a start without adapters does not need

    return tuple(entry_points(group=GROUP))


def _distribution(point: EntryPoint) -> str:
    return point.value if point.dist is None else point.dist.name
