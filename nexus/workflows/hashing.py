"""Hashes of what was written, the same in every process."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from types import CodeType
from typing import Any, Final, get_args, get_origin

import msgspec

__all__ = ["code_hash", "digest", "hint_of"]

ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def digest(value: Any) -> str:
    """Return the SHA-256, as hex, of a value's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def hint_of(hint: Any) -> str:
    """Return a hint in full: classes with their modules, arguments and metadata."""
    arguments = get_args(hint)
    if arguments:
        # In Python 3.11 to 3.13 a union has two classes, that of `int | str` and that of `Optional[int]`.
        origin = re.sub("^types.UnionType$", "typing.Union", hint_of(get_origin(hint)))
        return f"{origin}[{', '.join(map(hint_of, arguments))}]"
    if isinstance(hint, type):
        return f"{hint.__module__}.{hint.__qualname__}"
    if isinstance(hint, list):
        return f"[{', '.join(map(hint_of, hint))}]"
    return _shown(hint)


def code_hash(function: Callable[..., Any]) -> str:
    """Return the SHA-256, as hex, of a function's bytecode, wherever its lines are; empty where there is none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return digest(_code(code)) if isinstance(code, CodeType) else ""


def _code(code: CodeType) -> list[Any]:
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), [_constant(value) for value in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, tuple):
        return [_constant(item) for item in value]
    return sorted(map(repr, value)) if isinstance(value, frozenset) else _shown(value)


def _shown(value: Any) -> str:
    return ADDRESS.sub("", repr(value))
