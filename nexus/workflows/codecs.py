"""What values look like outside, in JSON, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from nexus.exceptions import InvalidArgumentError, RegistrationError
from nexus.workflows.fields import Check, Field
from nexus.workflows.fields_outgoing import Preparer
from nexus.workflows.fits import named
from nexus.workflows.hints import Codec, Translator
from nexus.workflows.schema import Definitions

__all__ = ["Codecs"]

T = TypeVar("T")


class Codecs:
    """What values of an application look like outside; one per application."""

    def __init__(self) -> None:
        self._codecs: dict[Any, Codec] = {}
        self._preparer = Preparer(self._codecs)
        self._encoder = msgspec.json.Encoder(enc_hook=self._preparer.hook)
        self._remote_preparer = Preparer(self._codecs, attrgetter("name"))
        self._remote_encoder = msgspec.json.Encoder(enc_hook=self._remote_preparer.hook)

    def add(self, type_: type[T], *, encode: Callable[[T], Any], decode: Callable[[Any], T], schema: Mapping[str, Any]) -> None:
        """
        Teach a type; subclasses are encoded the same way.

        Args:
            type_: The class.
            encode: Makes JSON values (or other values that can be encoded) of an instance.
            decode: Makes an instance of JSON values; raises `ValueError` with a text for the caller if it can't.
            schema: JSON Schema of what *encode* makes and *decode* takes.

        Raises:
            RegistrationError: *type_* is not a class.
        """
        if not isinstance(type_, type):
            raise RegistrationError(f"codec({type_!r}, …): give the class itself")
        self._codecs[type_] = Codec(type=type_, encode=encode, decode=decode, schema=schema)
        self._preparer.forget()
        self._remote_preparer.forget()

    def field(self, hint: Any, *, place: str, localns: Mapping[str, Any] | None = None) -> Field:
        """
        Return the field of a hint.

        Raises:
            RegistrationError: JSON has no such values.
        """
        translator = Translator(self._codecs, place, localns)
        field = translator.field(hint)
        field.holds_secrets = translator.met_secrets
        return field

    def encode(self, value: Any) -> bytes:
        """
        Return the value as JSON, UTF-8. NaN and infinity become null.

        Raises:
            TypeError: There is something in it that JSON has no word for, and nobody taught it.
        """
        return self._encoder.encode(self._preparer.prepare(value))

    def encode_remote(self, value: Any) -> bytes:
        """
        Return the value as `encode` does, of each path its last part only: where our files are is nobody else's business.

        Raises:
            TypeError: As `encode`.
        """
        return self._remote_encoder.encode(self._remote_preparer.prepare(value))

    def paths_in(self, value: Any) -> Sequence[PurePath]:
        """
        Return the paths in a value, in the order in which its JSON has them.

        Raises:
            TypeError: As `encode`.
        """
        found: list[PurePath] = []

        def note(path: PurePath) -> str:
            found.append(path)
            return ""

        preparer = Preparer(self._codecs, note)
        msgspec.json.encode(preparer.prepare(value), enc_hook=preparer.hook)
        return found

    def to_builtins(self, value: Any, *, remote: bool = False) -> Any:
        """
        Return the value as dict, list, str, int, float, bool and None, as its JSON would read, that of `encode_remote` if asked.

        Raises:
            TypeError: As `encode`.
        """
        return msgspec.json.decode(self.encode_remote(value) if remote else self.encode(value))

    def output_schema(self, hint: Any, *, localns: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        Return the JSON Schema (2020-12) of a result, with its `$defs` inside.

        Args:
            hint: The result's.
            localns: Local names where it was written, in which hints of classes are looked up too.

        Raises:
            RegistrationError: JSON has no such values.
        """
        defs = Definitions("output")
        return defs.standalone(self.field(hint, place=f"the result {named(hint)}", localns=localns).schema(defs))

    def decode_builtins(self, hint: Any, value: Any, *, lenient: bool = False) -> Any:
        """
        Return the Python value of JSON values.

        Raises:
            InvalidArgumentError: It does not fit the hint; all problems at once.
            RegistrationError: JSON has no such values.
        """
        field = self.field(hint, place=named(hint))
        check = Check(lenient=lenient, discreet=field.holds_secrets)
        result = field.take(value, "", check)
        if check.problems:
            raise InvalidArgumentError("the value does not fit", check.outcome())
        return result
