"""Whether a step's result may be another step's parameter; nothing cleverer than a person would do by eye."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

__all__ = ["fits", "item_of", "named"]

UNIONS = (Union, types.UnionType)
TEXT = (str, bytes, bytearray)


def named(hint: Any) -> str:
    """Return the hint as a person would write it."""
    if hint is Any:
        return "Any"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "")


def _bare(hint: Any) -> Any:
    """Take off what says nothing of the type: Annotated, NewType, an alias."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif hint is None:
            return type(None)
        else:
            return hint


def fits(result: Any, wanted: Any) -> bool:
    """Equal, a subclass, `Any`, a member of the union, or the same origin with arguments that fit."""
    result, wanted = _bare(result), _bare(wanted)
    if result is Any or wanted is Any or wanted is object or result == wanted:
        return True
    if get_origin(result) in UNIONS:
        return all(fits(member, wanted) for member in get_args(result))
    if get_origin(wanted) in UNIONS:
        return any(fits(result, member) for member in get_args(wanted))
    if get_origin(result) is Literal:
        choices = get_args(wanted) if get_origin(wanted) is Literal else None
        return all(fits(type(v), wanted) if choices is None else v in choices for v in get_args(result))
    return _generic_fits(result, wanted)


def _generic_fits(result: Any, wanted: Any) -> bool:
    result_class, wanted_class = get_origin(result) or result, get_origin(wanted) or wanted
    if not isinstance(result_class, type) or not isinstance(wanted_class, type):
        # A type variable, a Literal that is wanted: only equality could say yes, and a type variable says nothing.
        return isinstance(result_class, typing.TypeVar) or isinstance(wanted_class, typing.TypeVar)
    try:
        related = issubclass(result_class, wanted_class) or (wanted_class is float and result_class is int)
    except TypeError:  # a Protocol that can't be checked at run time
        return True
    if not related:
        return False
    given, needed = _arguments(result), _arguments(wanted)
    if len(given) != len(needed):
        return True
    return all(fits(a, b) for a, b in zip(given, needed, strict=True))


def _arguments(hint: Any) -> tuple[Any, ...]:
    arguments = get_args(hint)
    if get_origin(hint) is tuple and arguments[-1:] == (Ellipsis,):
        return arguments[:1]
    return arguments


def item_of(hint: Any) -> Any:
    """
    Return the type of an item of what the hint says, `Any` where it doesn't tell.

    Raises:
        TypeError: It can't be iterated, or not for its items (text, a mapping).
    """
    hint = _bare(hint)
    origin = get_origin(hint) or hint
    if origin is Any:
        return Any
    if not isinstance(origin, type) or not issubclass(origin, Iterable) or issubclass(origin, (*TEXT, Mapping)):
        raise TypeError(named(hint))
    arguments = _arguments(hint)
    if origin is tuple and len(arguments) > 1:
        return Union[arguments]  # noqa: UP007 - made at run time
    return arguments[0] if arguments else Any
