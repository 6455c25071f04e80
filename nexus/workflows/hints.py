"""Turns type hints into fields."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Hashable, Iterable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import MISSING
from nexus.workflows.fields import ANY_KIND, AnyField, Field, NullField, PathField, Scalar, scalar
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.fields_choice import Choice
from nexus.workflows.fields_nested import ListField, MappingField, TupleField, UnionField, native_or_marker
from nexus.workflows.fields_objects import Member, ObjectField, TaggedField
from nexus.workflows.fields_pydantic import ModelField, is_model
from nexus.workflows.fields_wrapped import CodecField, GuardedField, LateField
from nexus.workflows.fits import named
from nexus.workflows.hints_bounds import bounds_of, unfit
from nexus.workflows.hints_classes import Part, Shape, shape_of
from nexus.workflows.secret_values import holds_secrets

__all__ = ["Codec", "Translator"]

LISTS: Final[Mapping[Any, type[Any]]] = {
    **dict.fromkeys((list, Sequence, MutableSequence, Collection, Iterable), list),
    **dict.fromkeys((set, AbstractSet, MutableSet), set),
    frozenset: frozenset,
}
MAPPINGS: Final = (dict, Mapping, MutableMapping)
UNIONS: Final = (Union, types.UnionType)
NOTHING: Final = Bounds()


@attrs.frozen(kw_only=True)
class Codec:
    """How a type that somebody taught looks outside."""

    type: type[Any]
    encode: typing.Callable[[Any], Any]
    decode: typing.Callable[[Any], Any]
    schema: Mapping[str, Any]


class Translator:
    """
    Turns the hints of one place into fields.

    Args:
        codecs: Types that somebody taught.
        place: Where the hints were written, for messages.
        localns: Local names there, in which hints of classes are looked up too.

    Attributes:
        met_secrets: Whether a hint had a secret in it.
    """

    def __init__(self, codecs: Mapping[Any, Codec], place: str, localns: Mapping[str, Any] | None = None) -> None:
        self.codecs = codecs
        self.place = place
        self.localns = localns
        self.met_secrets = False
        self._made: dict[Any, Field] = {}

    def field(self, hint: Any, bounds: Bounds = NOTHING) -> Field:
        """
        Return the field of a hint.

        Raises:
            RegistrationError: JSON has no such values, or they can't be told apart; the text names the way out.
        """
        hint = self._expanded(hint)
        if not isinstance(hint, Hashable):
            raise self._unsupported(hint)
        if _is_alias(hint):
            return self._marked_alias(hint, bounds) if bounds.secret else self._guarded(self._alias(hint), bounds)
        if get_origin(hint) is Annotated:
            inner, *metadata = get_args(hint)
            bounds = bounds_of([*metadata, bounds], self.place)
            self.met_secrets = self.met_secrets or bounds.secret
            return self.field(inner, bounds)
        if isinstance(hint, TypeVar):
            return self.field(hint.__bound__ or Any, bounds)
        if hint in (Any, object):
            return self._guarded(AnyField(), bounds)
        made = self._special(hint, bounds) or self._container(hint, bounds)
        if made is None:
            made = self._class(hint, bounds)
        if made is None:
            raise self._unsupported(hint)
        return made

    def _expanded(self, hint: Any) -> Any:
        """Return what a NewType or an alias stands for."""
        while True:
            if isinstance(hint, NewType):
                hint = hint.__supertype__
            elif _is_alias(get_origin(hint)):
                hint = get_origin(hint).__value__[get_args(hint)]
            else:
                return type(None) if hint is None else hint

    def _alias(self, hint: Any) -> Field:
        made = self._made.get(hint)
        if made is None:
            late = self._made[hint] = LateField(ANY_KIND, hint.__name__)
            late.target = self.field(hint.__value__)
            late.kinds = late.target.kinds
            made = self._made[hint] = late if late.used else late.target
        elif isinstance(made, LateField):
            made.used = True
        return made

    def _marked_alias(self, hint: Any, bounds: Bounds) -> Field:
        return self.field(hint.__value__, bounds)

    def _special(self, hint: Any, bounds: Bounds) -> Field | None:
        codec = self.codecs.get(hint)
        if codec is not None:
            self.met_secrets = self.met_secrets or holds_secrets(codec.schema)
            return self._guarded(CodecField(codec.type, codec.decode, codec.schema), bounds)
        if hint is type(None):
            return self._guarded(NullField(), bounds)
        if get_origin(hint) is Literal:
            return self._guarded(self._literal(hint), bounds)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return self._guarded(self._enum(hint), bounds)
        made = PathField(bounds) if hint is Path else scalar(hint, bounds)
        if made is not None:
            self._check_fit(bounds, hint)
        return made

    def _literal(self, hint: Any) -> Field:
        values = get_args(hint)
        shown = [(value.value if isinstance(value, Enum) else value, value) for value in values]
        self._check_choices(hint, [value for value, _ in shown])
        simple = all(value is None or type(value) in (str, int) for value in values)
        return Choice(shown, native=hint if simple else None)

    def _enum(self, hint: type[Enum]) -> Field:
        choices = [(member.value, member) for member in hint]
        if not choices:
            raise RegistrationError(f"{self.place}: {named(hint)} has no members")
        self._check_choices(hint, [value for value, _ in choices])
        kinds = {type(value) for value, _ in choices}
        choice = Choice(choices, type_=hint)
        if kinds in ({str}, {int}):
            choice.native = native_or_marker(hint, choice)
        return choice

    def _check_choices(self, hint: Any, values: Sequence[Any]) -> None:
        odd = [value for value in values if value is not None and type(value) not in (str, int, float, bool)]
        if odd:
            raise RegistrationError(
                f"{self.place}: {named(hint)} has the value {odd[0]!r}, which JSON can't write; use strings or integers, "
                f"or teach it with app.codec(…)"
            )

    def _container(self, hint: Any, bounds: Bounds) -> Field | None:
        origin, arguments = get_origin(hint) or hint, get_args(hint)
        if origin in UNIONS:
            return self._union(arguments, bounds)
        if origin is tuple:
            return self._tuple(arguments, bounds)
        if origin in LISTS:
            return self._list(LISTS[origin], arguments[0] if arguments else Any, bounds)
        if origin in MAPPINGS:
            return self._mapping(hint, arguments or (str, Any), bounds)
        return None

    def _tuple(self, arguments: tuple[Any, ...], bounds: Bounds) -> Field:
        if not arguments or arguments[-1:] == (Ellipsis,):
            return self._list(tuple, arguments[0] if arguments else Any, bounds)
        return self._guarded(TupleField([self.field(item) for item in arguments if item != ()]), bounds)

    def _list(self, type_: type[Any], item: Any, bounds: Bounds) -> Field:
        self._check_fit(bounds, type_)
        field = self.field(item)
        if issubclass(type_, AbstractSet) and not field.hashable:
            raise RegistrationError(f"{self.place}: {named(item)} can't be in a set; use list[{named(item)}]")
        return ListField(type_, field, bounds)

    def _mapping(self, hint: Any, arguments: tuple[Any, ...], bounds: Bounds) -> Field:
        self._check_fit(bounds, dict)
        key_hint = str if arguments[0] is Any else arguments[0]
        key = self.field(key_hint)
        if not key.hashable or not key.kinds <= {"string", "integer", "number"}:
            raise RegistrationError(f"{self.place}: {named(hint)}: the keys of a JSON object are text; use a list of pairs")
        if isinstance(key, Scalar) and key.bounds.secret:
            raise RegistrationError(f"{self.place}: {named(hint)}: a key can't be a Secret(), it names a place; mark the values")
        return MappingField(key, self.field(arguments[1]), bounds)

    def _union(self, arguments: Sequence[Any], bounds: Bounds) -> Field:
        said = [self._expanded(argument) for argument in arguments]
        # A bound of the whole is one of each member but null, as `Annotated[int | None, Ge(1)]` means.
        each = attrs.evolve(bounds, extra={})
        members = [NullField() if item is type(None) else self.field(item, each) for item in said]
        members = self._tagged(members)
        for i, member in enumerate(members):
            for other in members[i + 1 :]:
                if not _differ(member, other):
                    raise RegistrationError(
                        f"{self.place}: {' | '.join(named(item) for item in said)}: JSON can't tell these apart; use one of "
                        f"them, msgspec.Struct classes with tag=True, or teach a type of your own with app.codec(…)"
                    )
        union = UnionField(members) if len(members) > 1 else members[0]
        return GuardedField(union, Bounds(extra=bounds.extra)) if bounds.extra else union

    def _tagged(self, members: list[Field]) -> list[Field]:
        tagged = [member for member in members if isinstance(member, ObjectField) and member.tag is not None]
        tags = {member.tag[1]: member for member in tagged if member.tag is not None}
        fields = {member.tag[0] for member in tagged if member.tag is not None}
        if len(tagged) < 2 or len(tags) < len(tagged) or len(fields) > 1:  # noqa: PLR2004 - several, and all different
            return members
        return [TaggedField(fields.pop(), tags), *(member for member in members if member not in tagged)]

    def _class(self, hint: Any, bounds: Bounds) -> Field | None:
        made = self._made.get(hint)
        if made is None:
            if is_model(hint):
                model = ModelField(hint, self.place)
                self.met_secrets = self.met_secrets or model.holds_secrets
                return self._guarded(model, bounds)
            shape = shape_of(hint, self.place, self.localns)
            if shape is None:
                return None
            late = self._made[hint] = LateField(frozenset({"array", "object"} if shape.positional else {"object"}))
            made = self._made[hint] = late.target = self._object(hint, shape)
        return self._guarded(made, bounds)

    def _object(self, hint: Any, shape: Shape) -> Field:
        members = [self._member(part) for part in shape.parts]
        made = ObjectField(
            type=get_origin(hint) or hint,
            members=members,
            build=shape.build,
            instances=shape.instances,
            positional=shape.positional,
            strict=shape.strict,
            tag=shape.tag,
            complete=shape.complete,
            hashable=shape.instances and getattr(get_origin(hint) or hint, "__hash__", None) is not None,
        )
        if shape.plain and all(member.field.native == part.hint for member, part in zip(members, shape.parts, strict=True)):
            made.native = native_or_marker(hint, made)
        return made

    def _member(self, part: Part) -> Member:
        output = self.field(part.hint)
        # What a converter makes of text could be a path that nobody holds below files_root; so a path is taken as a path. And a
        # secret as one, for what the converter takes is not marked.
        as_it_is = part.taken is MISSING or output.holds_paths or (isinstance(output, Scalar) and output.bounds.secret)
        taken = output if as_it_is else self.field(part.taken)
        return Member(
            name=part.name,
            argument=part.argument,
            shown=part.shown,
            field=taken,
            output=output,
            required=part.required,
            default=part.default,
        )

    def _guarded(self, field: Field, bounds: Bounds) -> Field:
        if bounds == NOTHING:
            return field
        self._check_fit(bounds, field)
        return GuardedField(field, bounds)

    def _check_fit(self, bounds: Bounds, type_: Any) -> None:
        name = unfit(bounds, type_)
        is_marked = bounds.secret and type_ not in (str, bytes)
        if name is not None or is_marked:
            shown = type_.expected if isinstance(type_, Field) else named(type_)
            if is_marked:
                raise RegistrationError(
                    f"{self.place}: Secret() marks a str or bytes, not {shown}; take a str, or mark what is secret in it"
                )
            raise RegistrationError(f"{self.place}: {name} says nothing about {shown}; take it out, or use Predicate(function)")

    def _unsupported(self, hint: Any) -> RegistrationError:
        return RegistrationError(
            f"{self.place}: {named(hint)} can't be written in JSON; use a type that can (a dataclass, attrs class, TypedDict, "
            f"dict, list, str, …), or teach it: app.codec({named(hint)}, encode=…, decode=…, schema=…)"
        )


def _is_alias(hint: Any) -> bool:
    # Of typing or of typing_extensions; `type Json = …` makes one.
    return type(hint).__name__ == "TypeAliasType"


def _differ(one: Field, other: Field) -> bool:
    """Whether JSON can tell values of the two apart, or need not."""
    one, other = (field.inner if isinstance(field, GuardedField) else field for field in (one, other))
    common = one.kinds & other.kinds
    if not common or ANY_KIND in (one.kinds, other.kinds):
        return True
    if isinstance(one, Choice) and isinstance(other, Choice):
        return not set(one.by_value) & set(other.by_value)
    if common == {"integer"} and {one.kinds, other.kinds} == {frozenset({"integer"}), frozenset({"integer", "number"})}:
        return True
    return _is_part_of(one, other) or _is_part_of(other, one)


def _is_part_of(literal: Field, whole: Field) -> bool:
    """Whether it is a Literal beside the type that its values are of anyway."""
    simple = isinstance(whole, Scalar) and whole.type in (str, int)
    return simple and isinstance(literal, Choice) and literal.type is None
