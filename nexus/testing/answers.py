"""What a test answers to the questions of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import attrs

from nexus.exceptions import CancelledError
from nexus.models import Question

__all__ = ["DECLINE", "Decline", "Script"]


class Decline(Enum):
    """The type of `DECLINE`."""

    DECLINE = "decline"


DECLINE: Final = Decline.DECLINE
"""Among the answers of a client: refuse to answer this question, as a person does who closes the form."""


@attrs.define(eq=False)
class Script:
    """
    Answers to questions, in the order in which they are asked.

    Attributes:
        unanswered: The message for the first question that had no answer.
    """

    given: Mapping[str, Any]
    to_builtins: Callable[[Any], Any]
    unanswered: str | None = attrs.field(default=None, init=False)
    _times: dict[str, int] = attrs.field(factory=dict, init=False)

    def answer(self, question: Question) -> Any:
        """
        Return the answer, as a JSON value.

        Raises:
            CancelledError: The script declines, or has no answer; then `unanswered` says so.
        """
        key = question.name if question.name in self.given else question.text
        if key not in self.given:
            raise self._nothing_for(question, f"`answers` has only {_listed(self.given)}" if self.given else "`answers` is empty")
        value = self.given[key]
        if _is_successive(value, question):
            number = self._times.get(key, 0)
            self._times[key] = number + 1
            if number >= len(value):
                raise self._nothing_for(question, f"`answers` has {len(value)} for it, which are used up")
            value = value[number]
        elif callable(value):
            value = value(question)
        if value is DECLINE:
            raise CancelledError(f"the caller declined to answer {question.text!r}", question=question.name)
        return self.to_builtins(value)

    def _nothing_for(self, question: Question, why: str) -> CancelledError:
        asked = f"the run asked {question.name!r} ({question.text!r})"
        wrong = "" if question.problem is None else f" again, because {question.problem}"
        self.unanswered = self.unanswered or f"{asked}{wrong}, and {why}; give answers={{{question.name!r}: …}}"
        return CancelledError(self.unanswered, question=question.name)


def _is_successive(value: Any, question: Question) -> bool:
    """Whether the value is one answer after the other; to a question for a list, a list of anything but lists is the answer."""
    if not isinstance(value, list):
        return False
    return question.schema.get("type") != "array" or all(isinstance(item, list | Decline) for item in value)


def _listed(given: Mapping[str, Any]) -> str:
    return ", ".join(repr(key) for key in given)
