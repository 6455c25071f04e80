"""What classes consist of: attrs, dataclass, msgspec.Struct, TypedDict, NamedTuple."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
import msgspec

from nexus.exceptions import RegistrationError
from nexus.models import MISSING

__all__ = ["Part", "Shape", "hints_of", "shape_of"]

PLAIN_FACTORIES: Final = (list, dict, set, tuple, frozenset)


@attrs.frozen(kw_only=True)
class Part:
    """
    An attribute of a class, as its author wrote it.

    Attributes:
        argument: What the constructor calls it; None if it doesn't take it.
        taken: What the constructor takes, where a converter takes something else than the hint says.
        plain: msgspec would fill it as the constructor does.
    """

    name: str
    argument: str | None
    shown: str
    hint: Any
    required: bool
    taken: Any = MISSING
    default: Any = MISSING
    plain: bool = True


@attrs.frozen(kw_only=True)
class Shape:
    """
    A class, as its author wrote it.

    Attributes:
        plain: msgspec would make one as the constructor does.
    """

    parts: list[Part]
    build: Callable[..., Any]
    plain: bool
    instances: bool = True
    positional: bool = False
    strict: bool = False
    tag: tuple[str, Any] | None = None
    complete: bool = True


def hints_of(type_: Any, place: str, localns: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    Return the resolved hints of a class.

    Raises:
        RegistrationError: A name in them can't be found at run time.
    """
    try:
        return typing.get_type_hints(type_, include_extras=True)
    except NameError:
        pass
    known = {**(localns or {}), type_.__name__: type_}
    try:
        return typing.get_type_hints(type_, localns=known, include_extras=True)
    except NameError as error:
        raise RegistrationError(
            f"{place}: a field of {type_.__qualname__} names {error.name!r}, which can't be found at run time; import it outside "
            f"of `if TYPE_CHECKING`, or move it to module level"
        ) from None


def shape_of(hint: Any, place: str, localns: Mapping[str, Any] | None) -> Shape | None:
    """
    Return what the class consists of, or None if it is not of a known kind.

    Raises:
        RegistrationError: It can't be made from its attributes.
    """
    type_ = get_origin(hint) or hint
    if not isinstance(type_, type) and not typing.is_typeddict(type_):
        return None
    for fits, read in READERS:
        if fits(type_):
            return _with_arguments(read(type_, hints_of(type_, place, localns), place), hint, type_)
    return None


def _with_arguments(shape: Shape, hint: Any, type_: Any) -> Shape:
    """Put the arguments of a generic class where its type variables are."""
    variables = getattr(type_, "__parameters__", ())
    if not variables:
        return shape
    given = dict(zip(variables, get_args(hint) or [Any] * len(variables), strict=False))
    parts = [attrs.evolve(part, hint=_put(part.hint, given), plain=False) for part in shape.parts]
    return attrs.evolve(shape, parts=parts, plain=False)


def _put(hint: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return given.get(hint, Any)
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(variable, Any) for variable in variables)] if variables and get_origin(hint) else hint


def _attrs_shape(type_: Any, hints: Mapping[str, Any], place: str) -> Shape:
    if "__attrs_init__" in vars(type_):
        raise RegistrationError(f"{place}: {type_.__qualname__} has an __init__ of its own; teach it with app.codec(…)")
    parts = [_attrs_part(attribute, hints.get(attribute.name, Any)) for attribute in attrs.fields(type_)]
    hooks = any(hasattr(type_, name) for name in ("__attrs_pre_init__", "__attrs_post_init__"))
    return Shape(parts=parts, build=type_, plain=not hooks and all(part.plain for part in parts))


def _attrs_part(attribute: Any, hint: Any) -> Part:
    factory = attribute.default if isinstance(attribute.default, attrs.Factory) else None  # type: ignore[arg-type]
    default = MISSING if attribute.default is attrs.NOTHING or factory else attribute.default
    if factory is not None and not factory.takes_self and factory.factory in PLAIN_FACTORIES:
        default = factory.factory()
    changed = attribute.converter is not None or attribute.validator is not None or bool(factory and factory.takes_self)
    return Part(
        name=attribute.name,
        argument=attribute.alias if attribute.init else None,
        shown=attribute.alias if attribute.init else attribute.name,
        hint=hint,
        taken=_taken_by(attribute.converter),
        required=attribute.default is attrs.NOTHING,
        default=default,
        plain=not changed and attribute.init and attribute.alias == attribute.name,
    )


def _taken_by(converter: Any) -> Any:
    """Return what a converter says it takes; `MISSING` if it says nothing."""
    function = getattr(converter, "converter", converter)
    if function is None or isinstance(function, type):
        return MISSING
    try:
        first = next(iter(inspect.signature(function).parameters), None)
        return typing.get_type_hints(function, include_extras=True).get(first or "", MISSING)
    except (ValueError, TypeError, NameError):
        return MISSING


def _dataclass_shape(type_: Any, hints: Mapping[str, Any], place: str) -> Shape:
    # dataclasses keeps `InitVar`s where `fields()` does not show them.
    variables = [name for name, field in type_.__dataclass_fields__.items() if field._field_type is dataclasses._FIELD_INITVAR]  # type: ignore[attr-defined]  # noqa: SLF001
    if not type_.__dataclass_params__.init or variables:
        raise RegistrationError(
            f"{place}: {type_.__qualname__} has an InitVar or an __init__ of its own; teach it with app.codec(…)"
        )
    parts = [_dataclass_part(field, hints.get(field.name, Any)) for field in dataclasses.fields(type_)]
    return Shape(parts=parts, build=type_, plain=all(part.plain for part in parts) and not hasattr(type_, "__post_init__"))


def _dataclass_part(field: Any, hint: Any) -> Part:
    made = field.default_factory is not dataclasses.MISSING
    default = MISSING if field.default is dataclasses.MISSING else field.default
    if made and field.default_factory in PLAIN_FACTORIES:
        default = field.default_factory()
    return Part(
        name=field.name,
        argument=field.name if field.init else None,
        shown=field.name,
        hint=hint,
        required=field.init and not made and field.default is dataclasses.MISSING,
        default=default,
        plain=field.init,
    )


def _struct_shape(type_: Any, hints: Mapping[str, Any], place: str) -> Shape:
    config = type_.__struct_config__
    if config.array_like:
        raise RegistrationError(f"{place}: {type_.__qualname__} is array_like; take a NamedTuple, or a Struct without it")
    parts = [
        Part(
            name=field.name,
            argument=field.name,
            shown=field.encode_name,
            hint=hints[field.name],
            required=field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT,
            default=_struct_default(field),
        )
        for field in msgspec.structs.fields(type_)
    ]
    tag = None if config.tag is None else (config.tag_field, config.tag)
    return Shape(
        parts=parts,
        build=type_,
        plain=True,
        strict=config.forbid_unknown_fields,
        tag=tag,
        complete=not config.omit_defaults,
    )


def _struct_default(field: Any) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory in PLAIN_FACTORIES else MISSING


def _typeddict_shape(type_: Any, hints: Mapping[str, Any], _place: str) -> Shape:
    parts = []
    for name, hint in hints.items():
        required, bare = name in type_.__required_keys__, hint
        # The class itself does not see these words where annotations are text.
        while (word := getattr(get_origin(bare), "_name", "")) in {"Required", "NotRequired", "ReadOnly"}:
            required = word == "Required" or (word == "ReadOnly" and required)
            bare = get_args(bare)[0]
        parts.append(Part(name=name, argument=name, shown=name, hint=bare, required=required))
    return Shape(parts=parts, build=dict, plain=True, instances=False, complete=False)


def _namedtuple_shape(type_: Any, hints: Mapping[str, Any], _place: str) -> Shape:
    defaults = type_._field_defaults
    parts = [
        Part(
            name=name,
            argument=name,
            shown=name,
            hint=hints.get(name, Any),
            required=name not in defaults,
            default=defaults.get(name, MISSING),
        )
        for name in type_._fields
    ]
    return Shape(parts=parts, build=type_, plain=True, positional=True)


READERS: Final[tuple[tuple[Callable[[Any], bool], Callable[..., Shape]], ...]] = (
    (typing.is_typeddict, _typeddict_shape),
    (lambda type_: issubclass(type_, msgspec.Struct), _struct_shape),
    (attrs.has, _attrs_shape),
    (dataclasses.is_dataclass, _dataclass_shape),
    (lambda type_: issubclass(type_, tuple) and hasattr(type_, "_fields"), _namedtuple_shape),
)
