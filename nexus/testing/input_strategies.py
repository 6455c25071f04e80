"""Hypothesis strategies of the inputs that a workflow takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nexus._gateway import Nexus
from nexus.exceptions import WorkflowNotFoundError
from nexus.models import MISSING
from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import Workflow, definition_of
from nexus.workflows.signatures import Parameter

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("nexus.testing.inputs needs 'hypothesis'; run: pip install hypothesis", name=error.name) from error

from nexus.testing.field_strategies import Fields, kept

__all__ = ["inputs"]


def inputs(
    workflow: str | Callable[..., Any] | Workflow,
    *,
    app: Nexus | None = None,
    files: Sequence[str | Path] | None = None,
    strategies: Mapping[str | type[Any], st.SearchStrategy[Any]] | None = None,
) -> st.SearchStrategy[dict[str, Any]]:
    """
    Return a strategy of valid inputs, by name: Python values of the hinted types, within their constraints.

        @given(inputs(ranked))
        def test_a_ranking_has_no_more_than_it_was_asked_for(given):
            assert len(ranked(**given)) <= given.get("top", 10)

    Inputs that have a default are left out now and then. What is generated passes the check of the arguments, and is what the
    function itself may be called with.

    Args:
        workflow: A function, a `Workflow`, or the name (`name@version`) of what *app* has.
        app: The application; needed for a name, and where it has taught types with `app.codec`.
        files: What inputs of type `Path` are chosen from; without it they are plausible names of files that are not there.
        strategies: Better ones than those that come from the hints, for an input by its name, or for a type wherever it occurs: a
            type that a codec teaches, a class whose constructor or a constraint whose function is choosy. What they give and the
            hint does not allow is left out.

    Raises:
        RegistrationError: There is something wrong with the workflow.
        WorkflowNotFoundError: *app* has none of that name.
        TypeError: A name without *app*; or, for some type, no strategy is known: the text says how to give one.
    """
    given = dict(strategies or {})
    if files is not None:
        given.setdefault(Path, st.sampled_from([Path(file) for file in files]))
    codecs = Codecs() if app is None else app.codecs
    fields = Fields(codecs, {type_: strategy for type_, strategy in given.items() if isinstance(type_, type)})
    parameters = _parameters(workflow, app)
    _check_names(given, parameters)
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for parameter in parameters:
        place = f"{parameter.place}: parameter {parameter.name!r}"
        field = codecs.field(parameter.hint, place=place, localns=parameter.localns)
        own = given.get(parameter.name)
        made = fields.strategy(field, place) if own is None else kept(own, field, place)
        (required if parameter.default is MISSING else optional)[parameter.name] = made
    return st.fixed_dictionaries(required, optional=optional)


def _parameters(workflow: str | Callable[..., Any] | Workflow, app: Nexus | None) -> Sequence[Parameter]:
    if not isinstance(workflow, str):
        return definition_of(workflow).graph().inputs
    if app is None:
        raise TypeError(f"inputs({workflow!r}): a name says nothing without an application; give app=…, or the workflow itself")
    entry = app.catalogue.find(workflow)
    if entry is None:
        raise WorkflowNotFoundError(f"there is no workflow {workflow!r} in {app.title!r}; register it first", name=workflow)
    return entry.signature.parameters


def _check_names(given: Mapping[Any, Any], parameters: Sequence[Parameter]) -> None:
    names = [parameter.name for parameter in parameters]
    unknown = sorted(name for name in given if isinstance(name, str) and name not in names)
    if unknown:
        raise TypeError(f"strategies= names {', '.join(unknown)}, but the inputs are: {', '.join(names) or 'none'}")
