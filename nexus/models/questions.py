"""What runs ask, and what they are answered with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

import attrs

__all__ = ["MISSING", "Answer", "Answers", "Missing", "Question"]


class Missing(Enum):
    """The type of `MISSING`: no value at all, which `None` would not say."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Answers(Enum):
    """When a caller can answer a run's question: while it listens, by a later call, or not at all."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


@attrs.frozen(kw_only=True)
class Question:
    """
    What `run.ask` makes, and what an answer settles.

    Attributes:
        name: Given, or `step.1`.
        schema: JSON Schema (2020-12) of the answer: a scalar, an enum, a list of enums, or a flat object of those.
        of: Who may answer, `role:NAME` or `principal:ID`, and never who started the run; empty where it is that one's to answer.
        default: JSON value proposed to whoever answers, or `MISSING`.
        expires_at: Until when an answer is taken; None is without limit.
        problem: Why the last answer was not taken, where the question is asked again.
    """

    name: str
    text: str
    schema: Mapping[str, Any]
    step: str
    of: str = ""
    default: Any = MISSING
    expires_at: datetime | None = None
    problem: str | None = None

    def view(self) -> dict[str, Any]:
        """Return the question as channels show it."""
        shown: dict[str, Any] = {"name": self.name, "text": self.text, "schema": self.schema, "step": self.step}
        if self.of:
            shown["of"] = self.of
        if self.default is not MISSING:
            shown["default"] = self.default
        if self.expires_at is not None:
            shown["expires_at"] = self.expires_at
        return shown


@attrs.frozen
class Answer:
    """
    What a question was answered with.

    Attributes:
        value: A JSON value, with `***` in place of secrets.
        schema: JSON Schema of the question, by which the same answer is known when it comes again.
        digest: Of one with secrets, by which the process that took it knows it.
        by: The id of the principal who gave it.
    """

    value: Any
    schema: Mapping[str, Any]
    digest: str | None = None
    by: str = ""
