"""What becomes of the secrets of a run: the step has them, and what is recorded, logged and told of the run has `***`."""

from __future__ import annotations

import hashlib
import hmac
import os
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from nexus.models import Answer, Question, RunRecord
from nexus.models.runs import RESULTS, pointer_to_input
from nexus.workflows.codecs import Codecs
from nexus.workflows.fields import Field
from nexus.workflows.schema import Definitions
from nexus.workflows.secret_values import REDACTED, Redactor, holds_secrets, scrubbed
from nexus.workflows.signatures import Signature

__all__ = ["RunSecrets", "Secrecy", "digest_of", "sealed", "secrecy_of", "slow_hash"]

# Only this process knows it: by what is in a store nobody can try out which answer it was.
KEY: Final = os.urandom(32)


class ConcealedError(Exception):
    """What a run with secrets raised, as text for the log; the exception itself would have the secrets in its frames."""


@attrs.frozen(kw_only=True, eq=False)
class Secrecy:
    """
    What a workflow is discreet about; None of this is there for one without secrets.

    Attributes:
        inputs: By name, of those that may have secrets in them.
        output: None where no secret goes out.
    """

    codecs: Codecs
    inputs: Mapping[str, Redactor]
    output: Redactor | None

    def without_inputs(self, record: RunRecord) -> RunRecord:
        """Return the record of a run that nobody else has yet, with `***` in place of the secrets among its inputs."""
        shown = {name: self._shown(redactor, record.inputs[name], []) for name, redactor in self.inputs.items()}
        changed = {name: value for name, (value, is_redacted) in shown.items() if is_redacted}
        redacted = (*record.redacted, *(pointer_to_input(name) for name in changed))
        return record.complete(inputs={**record.inputs, **changed}, redacted=redacted)

    def shown_output(self, output: Any) -> tuple[Any, bool]:
        """Return the output as the record has it, and whether there was a secret in it."""
        return (output, False) if self.output is None else self._shown(self.output, output, [])

    def texts(self, inputs: Mapping[str, Any]) -> list[str]:
        """Return the secrets among the inputs."""
        found: list[str] = []
        for name, redactor in self.inputs.items():
            self._shown(redactor, inputs[name], found)
        return found

    def _shown(self, redactor: Redactor, value: Any, found: list[str]) -> tuple[Any, bool]:
        """Return the value itself where there is no secret in it."""
        try:
            plain = self.codecs.to_builtins(value, remote=True)
            shown = redactor.redact(plain, found)
        except Exception:  # noqa: BLE001 - what can't be looked at is hidden; it must not be what fails the run
            return REDACTED, True
        return (value, False) if shown == plain else (shown, True)


def secrecy_of(signature: Signature, output: Field, codecs: Codecs) -> Secrecy | None:
    """Return what a workflow is discreet about, None if its types have no secret in them."""
    if not signature.has_secrets and not output.holds_secrets:
        return None
    return Secrecy(
        codecs=codecs,
        inputs={name: _redactor(signature.field(name)) for name in signature.secrets},
        output=_redactor(output) if output.holds_secrets else None,
    )


def _redactor(field: Field) -> Redactor:
    defs = Definitions("output")
    return Redactor(defs.standalone(field.schema(defs)))


@attrs.define(eq=False, repr=False)
class RunSecrets:
    """
    The secrets of one run, in the process that carries it.

    Attributes:
        secrecy: What its workflow is discreet about; None where it has only asked for a secret.
        inputs: As the steps get them.
    """

    secrecy: Secrecy | None = None
    inputs: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    _answers: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)
    _texts: list[str] = attrs.field(factory=list, init=False, repr=False)

    def hold(self, digest: str, answer: Any) -> None:
        """Keep an answer, of which the store has only the digest."""
        self._answers[digest] = answer

    def answer(self, given: Answer) -> Any:
        """Return what was answered."""
        if given.digest is None:
            return given.value
        answer = self._answers[given.digest]
        self.note(given.schema, answer)
        return answer

    def note(self, schema: Mapping[str, Any], answer: Any) -> None:
        """Remember the secrets in an answer to a question of that schema."""
        Redactor(schema).redact(answer, self._texts)

    def shown_chunk(self, item: Any) -> Any:
        """Return one of the values that the workflow yields as events have it."""
        shown = None if self.secrecy is None else self.secrecy.shown_output([item])[0]
        return item if shown is None else shown[0]

    def concealed(self, record: RunRecord) -> RunRecord:
        """Return the record of the run, which has ended and which nobody else has, as a store may keep it."""
        output, is_redacted = (record.output, False) if self.secrecy is None else self.secrecy.shown_output(record.output)
        texts = self._all_texts()
        error = record.error
        return record.complete(
            output=output,
            redacted=(*record.redacted, RESULTS) if is_redacted else record.redacted,
            error=error
            and attrs.evolve(error, message=scrubbed(error.message, texts), details=_scrubbed_values(error.details, texts)),
            step_rows=[(*row[:4], row[4] and scrubbed(row[4], texts), row[5]) for row in record.step_rows],
        )

    def told(self, error: BaseException) -> BaseException:
        """Return the error as the log may have it."""
        return ConcealedError(scrubbed("".join(traceback.format_exception(error)).rstrip(), self._all_texts()))

    def _all_texts(self) -> Sequence[str]:
        return self._texts if self.secrecy is None else [*self._texts, *self.secrecy.texts(self.inputs)]


def _scrubbed_values(value: Any, texts: Sequence[str]) -> Any:
    if isinstance(value, str):
        return scrubbed(value, texts)
    if isinstance(value, Mapping):
        return {name: _scrubbed_values(item, texts) for name, item in value.items()}
    return [_scrubbed_values(item, texts) for item in value] if isinstance(value, list | tuple) else value


def sealed(question: Question, answer: Any) -> Answer:
    """
    Return an answer as the record has it: of a secret `***`, and by what it is known when it comes again.

    Args:
        question: What was asked.
        answer: The JSON value that `check_answer` returned.
    """
    if not holds_secrets(question.schema):
        return Answer(answer, question.schema)
    return Answer(Redactor(question.schema).redact(answer), question.schema, digest_of(answer))


def digest_of(answer: Any) -> str:
    """Return by what this process knows a JSON value again."""
    return hmac.digest(KEY, msgspec.json.encode(answer, order="sorted"), "sha256").hex()


def slow_hash(document: bytes, salt: str) -> str:
    """Return a hash for a store of what has secrets in it: by a fast one a short secret could be found by trying."""
    return hashlib.scrypt(document, salt=salt.encode(), n=2**14, r=8, p=1, dklen=32).hex()
