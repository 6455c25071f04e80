"""The signature of a workflow: what its callers may give, checked in one pass, and described as JSON Schema."""

from __future__ import annotations

import copy
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final

import attrs
import msgspec
from msgspec import MsgspecError, convert
from msgspec.structs import asdict

from nexus.exceptions import InvalidArgumentError, RegistrationError
from nexus.models import MISSING
from nexus.workflows.codecs import Codecs
from nexus.workflows.fields import Check, Fast, Field, Marker, NullField, token
from nexus.workflows.fields_nested import UnionField
from nexus.workflows.fields_objects import as_json, unknown
from nexus.workflows.fields_text import shorten
from nexus.workflows.files import FilesRoot
from nexus.workflows.hints_docs import Description, describe
from nexus.workflows.schema import Definitions
from nexus.workflows.secret_values import SECRET

__all__ = ["Description", "Parameter", "Signature", "describe", "parameters_of", "resolved", "returns_of"]

UNMOVED: Final = (type(None), bool, int, float, str, bytes)


@attrs.frozen(kw_only=True)
class Parameter:
    """
    A parameter of a function.

    Attributes:
        hint: Resolved, `Annotated` kept.
        default: `MISSING` if it is required.
        place: `module:qualname` of the function, for messages.
        localns: Local names where the function was written, in which hints of classes are looked up too.
    """

    name: str
    hint: Any
    default: Any = MISSING
    description: str = ""
    place: str = ""
    localns: Mapping[str, Any] | None = attrs.field(default=None, eq=False, repr=False)


def parameters_of(function: Any, *, place: str, localns: Mapping[str, Any] | None = None) -> list[Parameter]:
    """
    Return the parameters of a function with their hints resolved.

    Args:
        function: What was registered.
        place: `module:qualname`, for messages.
        localns: Local names where it was written, in which its hints are looked up too.

    Raises:
        RegistrationError: A parameter can't be given by name, has no type, or one that can't be found at run time.
    """
    descriptions = describe(function).parameters
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RegistrationError(f"{place}: {parameter} can't be an input: name each parameter, or take one dict")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise RegistrationError(f"{place}: {parameter.name!r} is positional-only, but inputs are given by name: remove the /")
        if parameter.annotation is parameter.empty:
            raise RegistrationError(
                f"{place}: parameter {parameter.name!r} has no type: give it one, like `{parameter.name}: str`"
            )
        found.append(
            Parameter(
                name=parameter.name,
                hint=resolved(function, parameter.annotation, f"{place}: parameter {parameter.name!r}", localns),
                default=MISSING if parameter.default is parameter.empty else parameter.default,
                description=descriptions.get(parameter.name, ""),
                place=place,
                localns=localns,
            )
        )
    return found


def returns_of(function: Any, *, place: str, localns: Mapping[str, Any] | None = None) -> Any:
    """
    Return the resolved hint of what the function returns, `Any` if there is none.

    Raises:
        RegistrationError: It can't be found at run time.
    """
    annotation = inspect.signature(function).return_annotation
    return Any if annotation is inspect.Signature.empty else resolved(function, annotation, f"{place}: the result", localns)


def resolved(function: Any, annotation: Any, where: str, localns: Mapping[str, Any] | None) -> Any:
    """
    Return an annotation of the function as the type that it names.

    Args:
        function: In whose module it was written.
        annotation: The type, or its text.
        where: The place, for messages.
        localns: More names to look it up in.

    Raises:
        RegistrationError: It can't be found at run time.
    """
    home = _home(function)
    cells = zip(home.__code__.co_freevars, home.__closure__ or (), strict=True)
    known = {**(localns or {}), **{name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}}
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, home.__globals__, known, include_extras=True)["it"]
    except NameError as error:
        raise RegistrationError(
            f"{where}: its type names {error.name!r}, which can't be found at run time; import it outside of `if TYPE_CHECKING`, "
            f"or move it to module level"
        ) from None
    except (AttributeError, SyntaxError, TypeError) as error:
        raise RegistrationError(f"{where}: {annotation!r} is not a type: {error}") from None


def _home(function: Any) -> types.FunctionType:
    """Return the function in whose module the hints were written."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif isinstance(function, types.FunctionType):
            return function
        else:
            function = type(function).__call__


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asked only whether it is there
    except ValueError:
        return True
    return False


class Signature:
    """
    What the callers of a workflow may give.

    Args:
        name: The workflow's.
        parameters: Its inputs.
        codecs: What values look like outside.
        place: `module:qualname`, for messages.

    Attributes:
        secrets: The names of the parameters that may have a secret in them.

    Raises:
        RegistrationError: A hint is not supported; the text names the place and the way out.
    """

    def __init__(self, name: str, parameters: Sequence[Parameter], *, codecs: Codecs, place: str) -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self._fields = {p.name: _field(p, codecs, p.place or place) for p in self.parameters}
        self._pointers = {p.name: token(p.name) for p in self.parameters}
        self.secrets = tuple(name for name, field in self._fields.items() if field.holds_secrets)
        self._defaults = {p.name: _default_of(p) for p in self.parameters if p.default is not MISSING}
        self._struct = msgspec.defstruct(
            "Arguments",
            [(p.name, self._fields[p.name].native, *self._struct_default(p)) for p in self.parameters],
            kw_only=True,
            forbid_unknown_fields=True,
            module=__name__,
        )
        # A plain call of `convert` costs half of one with a hook.
        self._needs_hook = any(_has_marker(field.native) for field in self._fields.values())

    def _struct_default(self, parameter: Parameter) -> tuple[Any, ...]:
        if parameter.default is MISSING:
            return ()
        if type(parameter.default) in UNMOVED:
            return (parameter.default,)
        return (msgspec.field(default_factory=self._defaults[parameter.name]),)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the arguments, an object with its `$defs` inside."""
        defs = Definitions()
        properties = {p.name: self._property(p, defs) for p in self.parameters}
        root: dict[str, Any] = {"type": "object", "properties": properties}
        required = [p.name for p in self.parameters if p.default is MISSING]
        if required:
            root["required"] = required
        return defs.standalone({**root, "additionalProperties": False})

    @property
    def has_secrets(self) -> bool:
        """Whether a secret may be among the arguments."""
        return bool(self.secrets)

    def field(self, name: str) -> Field:
        """Return what that parameter must be."""
        return self._fields[name]

    def _property(self, parameter: Parameter, defs: Definitions) -> dict[str, Any]:
        shown = self._fields[parameter.name].schema(defs)
        if parameter.description and "description" not in shown:
            shown["description"] = parameter.description
        if parameter.default is not MISSING and (default := as_json(parameter.default)) is not MISSING:
            shown["default"] = default
        return shown

    def check(self, arguments: Mapping[str, Any], *, lenient: bool = False, files: FilesRoot | None = None) -> dict[str, Any]:
        """
        Return the keyword arguments, defaults filled in.

        Args:
            arguments: JSON values by name; Python values that are of the type already are taken as they are.
            lenient: Values came as text: "3" is good enough for an int, "yes" for a bool, JSON text for a list.
            files: Where paths may lead, at any depth; None: anywhere.

        Raises:
            InvalidArgumentError: They don't fit; all problems at once.
        """
        if not lenient:
            try:
                if self._needs_hook:
                    hook = TRUSTED if files is None else partial(_ask, Fast(files=files))
                    return asdict(convert(arguments, self._struct, dec_hook=hook))
                return asdict(convert(arguments, self._struct))
            except (MsgspecError, OverflowError, RecursionError):
                pass
        return self._check_each(arguments, Check(lenient=lenient, files=files, discreet=self.has_secrets))

    def _check_each(self, arguments: Mapping[str, Any], check: Check) -> dict[str, Any]:
        if not isinstance(arguments, Mapping):
            came = SECRET if check.discreet else shorten(arguments)
            check.refuse("", f"expected an object of arguments by name, got {came}")
            raise self._refusal(check)
        try:
            taken = self._take(arguments, check)
        except RecursionError:
            check.refuse("", "the arguments are nested too deeply")
        if check.refused:
            raise self._refusal(check)
        return taken

    def _take(self, arguments: Mapping[str, Any], check: Check) -> dict[str, Any]:
        taken = {}
        for name, field in self._fields.items():
            if name in arguments:
                taken[name] = field.take(arguments[name], self._pointers[name], check)
            elif name in self._defaults:
                taken[name] = self._defaults[name]()
            else:
                check.refuse(self._pointers[name], f"missing; expected {field.expected}")
        for name in arguments:
            if name not in self._fields:
                check.refuse(token(name), unknown(name, self._pointers, "argument"))
        return taken

    def _refusal(self, check: Check) -> InvalidArgumentError:
        problems = check.outcome()
        first, more = problems[0], f" (and {check.refused - 1} more)" if check.refused > 1 else ""
        return InvalidArgumentError(
            f"the arguments of {self.name!r} don't fit: {first.pointer or 'all of them'}: {first.message}{more}", problems
        )


def _field(parameter: Parameter, codecs: Codecs, place: str) -> Field:
    field = codecs.field(parameter.hint, place=f"{place}: parameter {parameter.name!r}", localns=parameter.localns)
    # `limit: int = None` says that null is good, too.
    if parameter.default is not None or "null" in field.kinds:
        return field
    implicit = UnionField([field, NullField()])
    implicit.holds_secrets = field.holds_secrets
    return implicit


def _default_of(parameter: Parameter) -> Callable[[], Any]:
    default = parameter.default
    if isinstance(default, list | dict | set | bytearray):
        return lambda: copy.copy(default)
    return lambda: default


def _ask(check: Check, kind: Marker, value: Any) -> Any:
    return kind.field.take(value, "", check)


# A check that stops at the first problem keeps nothing, so that one is enough for all.
TRUSTED: Final = partial(_ask, Fast())


def _has_marker(native: Any) -> bool:
    return isinstance(native, Marker) or any(_has_marker(argument) for argument in typing.get_args(native))
