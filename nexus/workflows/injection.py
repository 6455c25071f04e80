"""Dependencies as workflows see them: a parameter that gets one, and who lends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import MISSING
from nexus.workflows.fits import named
from nexus.workflows.signatures import Parameter

__all__ = ["Inject", "Lender", "Loans", "injected_parameters", "injected_type", "not_provided"]

T = TypeVar("T")


@attrs.frozen
class Injected:
    """What `Inject` puts beside the type."""


Inject = Annotated[T, Injected()]
"""
`db: Inject[Pool]`: this parameter gets the application's `Pool`, see `Nexus.provide`; it is no input of the workflow.
"""


class Loans(Protocol):
    """What one run has borrowed."""

    async def get(self, step: str, dependency: Any) -> Any:
        """Return the dependency of that type, as long as it lasts the one that was opened before."""
        ...

    def of_step(self, step: str, injected: Mapping[str, Any]) -> AbstractAsyncContextManager[Mapping[str, Any]]:
        """Give one call of a step its dependencies by parameter, and close its own when it ends."""
        ...


class Lender(Protocol):
    """The application's dependencies, as those know them who carry out plans."""

    @property
    def lends(self) -> bool:
        """Whether there is any."""
        ...

    async def carry(self, live: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        """Carry out the work of a live run, during which it has `loans`, and close what is the run's."""
        ...


def injected_parameters(parameters: Sequence[Parameter], *, place: str) -> dict[str, Any]:
    """
    Return which parameters get a dependency, and of which type.

    Raises:
        RegistrationError: One has a default, or `Inject` somewhere inside of its type.
    """
    found = {}
    for parameter in parameters:
        wanted = injected_type(parameter.hint)
        if wanted is None:
            if _mentions(parameter.hint):
                raise RegistrationError(
                    f"{place}: parameter {parameter.name!r} has Inject inside of its type; "
                    f"a dependency is there or it is an error, so write `{parameter.name}: Inject[…]`"
                )
            continue
        if parameter.default is not MISSING:
            raise RegistrationError(
                f"{place}: parameter {parameter.name!r} gets a dependency, so its default would never be taken; remove it "
                f"(after parameters with defaults, put `*` before: `*, {parameter.name}: Inject[…]`)"
            )
        if isinstance(wanted, TypeVar):
            raise RegistrationError(f"{place}: parameter {parameter.name!r} is Inject without a type; write Inject[Type]")
        found[parameter.name] = wanted
    return found


def injected_type(hint: Any) -> Any:
    """Return the type that `Inject` was given, None where the hint is something else."""
    return get_args(hint)[0] if _is_injected(hint) else None


def _is_injected(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(isinstance(said, Injected) for said in get_args(hint)[1:])


def _mentions(hint: Any) -> bool:
    return _is_injected(hint) or any(_mentions(argument) for argument in get_args(hint))


def not_provided(taker: str, wanted: Any) -> RegistrationError:
    """Say that there is no dependency of that type."""
    return RegistrationError(
        f"{taker} takes {named(wanted)}, which nobody provides; say app.provide({named(wanted)}, …) for exactly this type"
    )
