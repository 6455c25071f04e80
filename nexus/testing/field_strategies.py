"""Hypothesis strategies of the Python values that a field takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import singledispatchmethod
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from hypothesis import strategies as st
from msgspec import Meta

from nexus.models import MISSING
from nexus.testing.scalar_strategies import json_values, path_names, scalar_strategy
from nexus.testing.schema_strategies import schema_strategy
from nexus.workflows.codecs import Codecs
from nexus.workflows.fields import AnyField, Check, Field, NullField, PathField, Scalar
from nexus.workflows.fields_bounds import Bounds
from nexus.workflows.fields_choice import Choice
from nexus.workflows.fields_nested import ListField, MappingField, TupleField, UnionField
from nexus.workflows.fields_objects import ObjectField, TaggedField
from nexus.workflows.fields_pydantic import ModelField
from nexus.workflows.fields_wrapped import CodecField, GuardedField, LateField

__all__ = ["Fields", "kept"]

Strategy = st.SearchStrategy[Any]
Inside = tuple[Hashable, ...]

DEEPEST: Final = 2
"""How often a class that is part of itself is in itself."""

FEW: Final = 2
"""How many items more than it needs a list has that is in such a class."""

PATIENCE: Final = 40
"""How many values may be bad before one is good; hypothesis gives up after 50 tests."""

ITS_NAME: Final = "'name of the input'"
"""What a message names where no type can be named."""


@attrs.define(eq=False)
class Sieve:
    """
    Lets the good values pass; where none of many is good, it says that a better strategy is needed.

    Attributes:
        place: What the values are for, for the message.
        key: What `strategies=` would name, as one would write it.
    """

    good: Callable[[Any], bool]
    place: str
    key: str
    _refused: int = attrs.field(default=0, init=False)
    _has_passed: bool = attrs.field(default=False, init=False)

    def __call__(self, value: Any) -> bool:
        """Whether the value is good."""
        if self.good(value):
            # Having given up stays: hypothesis looks for a simpler failure afterwards, and may come upon a good value.
            self._has_passed = self._has_passed or self._refused < PATIENCE
            return True
        self._refused += not self._has_passed
        if self._refused >= PATIENCE:
            # hypothesis would only say that too much is filtered out.
            raise TypeError(f"{self.place}: of {PATIENCE} generated values none is good; {_way_out(self.key)}")
        return False


def _way_out(key: str) -> str:
    return f"give a strategy of good ones: inputs(…, strategies={{{key}: …}})"


def kept(strategy: Strategy, field: Field, place: str) -> Strategy:
    """Return the strategy without what the field does not take."""

    def takes(value: Any) -> bool:
        check = Check()
        field.take(value, "", check)
        return not check.refused

    return strategy.filter(Sieve(takes, place, "…"))


@attrs.define(eq=False)
class Fields:
    """
    Makes the strategies of one workflow.

    Attributes:
        given: By type, instead of those made here.
    """

    codecs: Codecs
    given: Mapping[type[Any], Strategy]
    _made: dict[tuple[Field, Inside], Strategy] = attrs.field(factory=dict, init=False)

    def strategy(self, field: Field, place: str, inside: Inside = ()) -> Strategy:
        """
        Return a strategy of what the field takes.

        Args:
            field: What the values must be.
            place: What they are for, for messages.
            inside: Which classes they are in, of those that are parts of themselves.

        Raises:
            TypeError: There are values that nothing is known of; the text says what to give.
        """
        key = (field, inside)
        if key not in self._made:
            given = self.given.get(_type_of(field))
            self._made[key] = self._make(field, place, inside) if given is None else kept(given, field, place)
        return self._made[key]

    @singledispatchmethod
    def _make(self, field: Field, place: str, inside: Inside) -> Strategy:  # noqa: ARG002 - for those that follow
        raise TypeError(f"{place}: nothing is known of {field.expected}; {_way_out(ITS_NAME)}")

    @_make.register
    def _(self, field: Scalar, place: str, _inside: Inside) -> Strategy:
        return _within(scalar_strategy(field.type, field.bounds), field.bounds, place, field.type.__name__)

    @_make.register
    def _(self, field: PathField, place: str, _inside: Inside) -> Strategy:
        return _within(path_names().map(Path), field.bounds, place, "Path")

    @_make.register
    def _(self, field: Choice, _place: str, _inside: Inside) -> Strategy:
        return st.sampled_from([value for _, value in field.choices])

    @_make.register
    def _(self, _field: AnyField, _place: str, _inside: Inside) -> Strategy:
        return json_values()

    @_make.register
    def _(self, _field: NullField, _place: str, _inside: Inside) -> Strategy:
        return st.none()

    @_make.register
    def _(self, field: GuardedField, place: str, inside: Inside) -> Strategy:
        return _within(self.strategy(field.inner, place, inside), field.bounds, place, _key_of(field.inner))

    @_make.register
    def _(self, field: LateField, place: str, inside: Inside) -> Strategy:
        return self._nested(field, inside, lambda deeper: self.strategy(field.target, place, deeper))

    @_make.register
    def _(self, field: CodecField, place: str, _inside: Inside) -> Strategy:
        shown = schema_strategy(field.rendering)
        if shown is None:
            raise TypeError(f"{place}: the schema of {field.type.__name__} says too little; {_way_out(field.type.__name__)}")
        return _built(shown, field.decode, place, field.type.__name__)

    @_make.register
    def _(self, field: ListField, place: str, inside: Inside) -> Strategy:
        item = self.strategy(field.item, place, inside)
        several = st.sets if field.type in (set, frozenset) else st.lists
        made = _sized(lambda **sizes: several(item, **sizes), [item], field.bounds, inside)
        return _within(made.map(field.type), field.bounds, place, field.type.__name__)

    @_make.register
    def _(self, field: MappingField, place: str, inside: Inside) -> Strategy:
        key, value = self.strategy(field.key, place, inside), self.strategy(field.value, place, inside)
        made = _sized(lambda **sizes: st.dictionaries(key, value, **sizes), [key, value], field.bounds, inside)
        return _within(made.map(dict), field.bounds, place, "dict")

    @_make.register
    def _(self, field: TupleField, place: str, inside: Inside) -> Strategy:
        return st.tuples(*(self.strategy(item, place, inside) for item in field.items))

    @_make.register
    def _(self, field: UnionField, place: str, inside: Inside) -> Strategy:
        return st.one_of([self.strategy(member, place, inside) for member in field.members])

    @_make.register
    def _(self, field: TaggedField, place: str, inside: Inside) -> Strategy:
        return st.one_of([self.strategy(member, place, inside) for member in field.members.values()])

    @_make.register
    def _(self, field: ObjectField, place: str, inside: Inside) -> Strategy:
        members = [
            (member.argument, member.required, self.strategy(member.field, f"{place}, {field.name}.{member.name}", inside))
            for member in field.arguments
        ]
        return _built(_named(members), lambda taken: field.build(**taken), place, field.name)

    @_make.register
    def _(self, field: ModelField, place: str, inside: Inside) -> Strategy:
        return self._nested(field.type, inside, lambda deeper: self._model(field, place, deeper))

    def _model(self, field: ModelField, place: str, inside: Inside) -> Strategy:
        members = []
        for name, member in field.type.model_fields.items():
            here = f"{place}, {field.name}.{name}"
            alias = member.validation_alias or member.alias
            made = self.strategy(self.codecs.field(_hint_of(member), place=here), here, inside)
            members.append((alias if isinstance(alias, str) else name, member.is_required(), made))
        return _built(_named(members), field.type.model_validate, place, field.name)

    def _nested(self, class_: Hashable, inside: Inside, make: Callable[[Inside], Strategy]) -> Strategy:
        # Where it is deep enough there is nothing: optional members are left out then, and lists are empty.
        return st.nothing() if inside.count(class_) >= DEEPEST else make((*inside, class_))


def _named(members: Iterable[tuple[Any, bool, Strategy]]) -> Strategy:
    required: dict[str, Strategy] = {}
    optional: dict[str, Strategy] = {}
    for name, is_required, strategy in members:
        (required if is_required else optional)[name] = strategy
    return st.fixed_dictionaries(required, optional=optional)


def _type_of(field: Field) -> Any:
    return Path if isinstance(field, PathField) else getattr(field, "type", None)


def _key_of(field: Field) -> str:
    return getattr(_type_of(field), "__name__", ITS_NAME)


def _hint_of(member: Any) -> Any:
    """Return the hint of a pydantic model's field, with its constraints; pydantic keeps patterns where nobody else looks."""
    patterns = [Meta(pattern=item.pattern) for item in member.metadata if isinstance(getattr(item, "pattern", None), str)]
    said = [*member.metadata, *patterns]
    return Annotated[(member.annotation, *said)] if said else member.annotation


def _sized(several: Callable[..., Strategy], items: Iterable[Strategy], bounds: Bounds, inside: Inside) -> Strategy:
    least, most = bounds.min_length or 0, bounds.max_length
    if any(item.is_empty for item in items):
        return st.nothing() if least else st.just(())
    few = least + FEW
    return several(min_size=least, max_size=most if not inside else few if most is None else min(few, most))


def _within(strategy: Strategy, bounds: Bounds, place: str, key: str) -> Strategy:
    return strategy.filter(Sieve(bounds.hold, place, key)) if bounds.any else strategy


def _built(arguments: Strategy, build: Callable[[Any], Any], place: str, key: str) -> Strategy:
    def attempt(taken: Any) -> Any:
        try:
            return build(taken)
        except (ValueError, TypeError):
            return MISSING

    return arguments.map(attempt).filter(Sieve(lambda made: made is not MISSING, place, key))
