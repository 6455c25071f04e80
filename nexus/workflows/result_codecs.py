"""Results of steps as bytes, for a store, by their hints."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from nexus.exceptions import RegistrationError
from nexus.workflows.codecs import Codecs
from nexus.workflows.fields import Check, Field
from nexus.workflows.fits import named
from nexus.workflows.graph import Graph
from nexus.workflows.signatures import Signature
from nexus.workflows.wiring import StepNode

__all__ = ["ResultCodec", "require_storable", "result_codec"]


@attrs.frozen(eq=False)
class ResultCodec:
    """How the results of a step are stored, those of a fan-out item by item."""

    field: Field
    codecs: Codecs

    def encode(self, value: Any) -> bytes:
        """
        Return what `decode` makes such a value of.

        Raises:
            TypeError: JSON has no word for something in it.
            ValueError: It is not what the step's hint says.
        """
        result = self.codecs.encode(value)
        self.decode(result)
        return result

    def decode(self, result: bytes) -> Any:
        """
        Return the value.

        Raises:
            ValueError: The hint is another now, or was never right.
        """
        check = Check()
        value = self.field.take(msgspec.json.decode(result), "", check)
        if check.problems:
            problem = check.problems[0]
            raise ValueError(f"{problem.pointer or 'the result'}: {problem.message}")
        return value


def result_codec(step: StepNode, codecs: Codecs) -> ResultCodec:
    """
    Return how the results of a step are stored.

    Raises:
        RegistrationError: They can't be; the text names the step and the way out.
    """
    hint = step.result if step.each is not None else step.whole_result
    place, name = step.definition.place, step.name
    if hint in (Any, object):
        raise RegistrationError(f"{place}: step {name!r} of a durable workflow does not say what it returns; write `-> …`")
    try:
        field = codecs.field(hint, place=place, localns=step.definition.namespace)
    except RegistrationError as error:
        raise RegistrationError(
            f"{place}: step {name!r} of a durable workflow returns {named(hint)}, which can't be stored: return what JSON has "
            f"words for, or teach the type with app.codec(…) ({error.message.removeprefix(f'{place}: ')})"
        ) from None
    if field.holds_secrets:
        raise RegistrationError(
            f"{place}: step {name!r} of a durable workflow returns a secret, which is not stored: "
            "get it in the step that needs it, from a dependency"
        )
    return ResultCodec(field, codecs)


def require_storable(graph: Graph, signature: Signature, codecs: Codecs) -> None:
    """
    Let the graph of a durable workflow pass.

    Raises:
        RegistrationError: The inputs, or the results of a step, can't be stored.
    """
    for parameter in signature.parameters:
        if parameter.name in signature.secrets:
            raise RegistrationError(
                f"{parameter.place}: input {parameter.name!r} of a durable workflow is a secret, which is not stored: "
                "get it in the step that needs it, from a dependency"
            )
    for step in graph.steps:
        result_codec(step, codecs)
