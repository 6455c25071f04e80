"""A step wired by the names of its parameters, and what can be wrong with it by itself."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Optional, get_args, get_origin

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import MISSING
from nexus.workflows.fits import named
from nexus.workflows.injection import injected_parameters
from nexus.workflows.processes import is_importable
from nexus.workflows.run import BlockingRun, Run
from nexus.workflows.signatures import Parameter, parameters_of, returns_of
from nexus.workflows.steps import StepDefinition, StepFailure

__all__ = ["StepNode", "wire"]


@attrs.frozen(kw_only=True, eq=False)
class StepNode:
    """
    A step, wired.

    Attributes:
        run_parameter: The parameter that gets the run, by its type.
        injected: The parameters that get dependencies, and their types.
        from_steps: `(parameter, step's name)`; without the one of `each`.
        from_inputs: `(parameter, workflow's input)`; without the one of `each`.
        each: `(parameter, is a step, name)` of what is iterated.
        when: `(steps, inputs)` by which it is decided whether it is run.
        result: The type of its result; of one item where it has `each` or yields.
        yields: It is an async generator.
        may_skip: It, or what it can't do without, has a `when`.
    """

    definition: StepDefinition
    is_async: bool
    run_parameter: str | None
    injected: Mapping[str, Any]
    parameters: Sequence[Parameter]
    from_steps: Sequence[tuple[str, str]]
    from_inputs: Sequence[tuple[str, str]]
    each: tuple[str, bool, str] | None
    when: tuple[Sequence[str], Sequence[str]]
    result: Any
    yields: bool
    may_skip: bool = False

    @property
    def name(self) -> str:
        """The step's name."""
        return self.definition.name

    @property
    def needs(self) -> Sequence[str]:
        """The steps that come before."""
        return list(dict.fromkeys((*self.takes, *self.definition.after)))

    @property
    def takes(self) -> Sequence[str]:
        """The steps whose results it takes."""
        names = [name for _, name in self.from_steps]
        if self.each is not None and self.each[1]:
            names.append(self.each[2])
        return [*names, *self.when[0]]

    @property
    def whole_result(self) -> Any:
        """The type of what its followers get, if it is not skipped."""
        if self.each is None and not self.yields:
            return self.result
        collects = self.each is not None and self.definition.on_error == "collect"
        return list[self.result | StepFailure] if collects else list[self.result]  # type: ignore[name-defined]

    @property
    def final_result(self) -> Any:
        """The type of the workflow's result, where this step makes it."""
        return Optional[self.whole_result] if self.may_skip else self.whole_result  # noqa: UP045 - made at run time

    def can_do_without(self, name: str) -> bool:
        """Whether the parameter has a default, which it takes where the step of that name was skipped."""
        return any(parameter.name == name and parameter.default is not MISSING for parameter in self.parameters)


def wire(step: StepDefinition, names: set[str]) -> StepNode:
    """
    Find what each parameter of a step gets.

    Args:
        step: As it was written.
        names: Of all steps of its workflow.

    Raises:
        RegistrationError: The step is wrong by itself; the text names the place and the way out.
    """
    function, place = step.function, step.place
    if inspect.isgeneratorfunction(function):
        raise RegistrationError(f"{place}: a step can't be a plain generator; make it `async def`, or return a list")
    everything = parameters_of(function, place=place, localns=step.namespace)
    yields = inspect.isasyncgenfunction(function)
    is_async = yields or _is_async(function, everything)
    run_parameter = _run_parameter(everything, is_async=is_async, place=place)
    _check_place_of_run(step, is_async=is_async, run_parameter=run_parameter)
    _check_after(step, names)
    injected = injected_parameters(everything, place=place)
    if injected and step.run_in == "process":
        raise RegistrationError(
            f"{place}: a step with run_in='process' can't take dependencies, for they stay in this one; "
            f"pass it what it needs of them, from a step before"
        )
    parameters = [parameter for parameter in everything if parameter.name not in {run_parameter, *injected}]
    by_name = {parameter.name for parameter in parameters}
    each = None
    for name, source in step.each.items():
        if name not in by_name:
            raise RegistrationError(f"{place}: each= names parameter {name!r}, which step {step.name!r} does not have")
        if source not in names and source != name:
            raise RegistrationError(
                f"{place}: each={{{name!r}: {source!r}}} names a step that isn't there; steps: {', '.join(sorted(names))}; "
                f"to iterate over an input, write each={name!r}"
            )
        each = (name, source in names, source)
    if yields and each is not None:
        raise RegistrationError(f"{place}: a step with each= can't yield; return a list")
    rest = [parameter.name for parameter in parameters if each is None or parameter.name != each[0]]
    return StepNode(
        definition=step,
        is_async=is_async,
        run_parameter=run_parameter,
        injected=injected,
        parameters=parameters,
        from_steps=[(name, name) for name in rest if name in names],
        from_inputs=[(name, name) for name in rest if name not in names],
        each=each,
        when=_when(step, names),
        result=_yielded(step) if yields else returns_of(function, place=place, localns=step.namespace),
        yields=yields,
    )


def _yielded(step: StepDefinition) -> Any:
    hint = returns_of(step.function, place=step.place, localns=step.namespace)
    if get_origin(hint) not in (AsyncIterator, AsyncIterable, AsyncGenerator):
        raise RegistrationError(
            f"{step.place}: it yields, so its result is AsyncIterator[…] of what it yields, not {named(hint)}"
        )
    return get_args(hint)[0]


def _check_place_of_run(step: StepDefinition, *, is_async: bool, run_parameter: str | None) -> None:
    if step.run_in is not None and is_async:
        raise RegistrationError(f"{step.place}: run_in={step.run_in!r} is for `def`; an `async def` step runs on the event loop")
    if step.run_in in ("process", "inline") and run_parameter is not None:
        way_out = "leave it out" if step.run_in == "process" else "run it in a thread"
        raise RegistrationError(f"{step.place}: a step with run_in={step.run_in!r} can't take BlockingRun; {way_out}")
    if step.run_in == "process" and not is_importable(step.function):
        raise RegistrationError(
            f"{step.place}: run_in='process' needs a function that another process can import: move it to the top of a module"
        )


def _check_after(step: StepDefinition, names: set[str]) -> None:
    for name in step.after:
        if name not in names:
            raise RegistrationError(f"{step.place}: after={name!r} is not a step; steps: {', '.join(sorted(names))}")


def _when(step: StepDefinition, names: set[str]) -> tuple[list[str], list[str]]:
    if step.when is None:
        return [], []
    if inspect.iscoroutinefunction(step.when):
        raise RegistrationError(f"{step.place}: when= can't be `async def`; put the work into a step, and look at its result")
    taken = list(inspect.signature(step.when).parameters)
    return [name for name in taken if name in names], [name for name in taken if name not in names]


def _is_async(function: Callable[..., Any], parameters: Sequence[Parameter]) -> bool:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004 - an instance with an async __call__
        return True
    # A `def` that functools.wraps an `async def` most likely hands on its coroutine; who takes `Run` counts on it.
    return inspect.iscoroutinefunction(inspect.unwrap(function)) and any(parameter.hint is Run for parameter in parameters)


def _run_parameter(parameters: Sequence[Parameter], *, is_async: bool, place: str) -> str | None:
    found = [p for p in parameters if p.hint in (Run, BlockingRun)]
    if len(found) > 1:
        raise RegistrationError(f"{place}: two parameters get the run, {found[0].name!r} and {found[1].name!r}; one is enough")
    for parameter in found:
        if parameter.hint is Run and not is_async:
            raise RegistrationError(
                f"{place}: `{parameter.name}: Run` on a `def` step; take `BlockingRun`, or make the step `async def`"
            )
        if parameter.hint is BlockingRun and is_async:
            raise RegistrationError(f"{place}: `{parameter.name}: BlockingRun` on an `async def` step; take `Run`")
        return parameter.name
    return None
