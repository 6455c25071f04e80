"""Files among the arguments: those that are here go along with the request."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from nexus_client.schemas import alternatives, item_of, says_path

__all__ = ["body_of", "files_among"]

REST: Final = "inputs"
"""The part of a form that has all arguments without a part of their own, unless a workflow has an input of that name."""
UNKNOWN: Final = "application/octet-stream"

Json = Mapping[str, Any]


def files_among(arguments: Json, schema: Json) -> dict[str, Any]:
    """
    Return the arguments that name files here, each as a path, or a list with paths in it; text that names none stays text.

    Args:
        arguments: By name.
        schema: JSON Schema of the arguments, an object.
    """
    found = {}
    for name, part in schema.get("properties", {}).items():
        value = arguments.get(name)
        if isinstance(value, str) and says_path(part, schema):
            value = _local(value)
        elif isinstance(value, list) and any("items" in each for each in alternatives(part, schema)):
            value = [
                _local(item) if says_path(item_of(part, number, schema), schema) else item for number, item in enumerate(value)
            ]
        if isinstance(value, Path) or (isinstance(value, list) and any(isinstance(item, Path) for item in value)):
            found[name] = value
    return found


def _local(value: Any) -> Any:
    """Return the path of a file that is here; anything else is a path over there, or wrong, which the server can tell."""
    try:
        return Path(value) if isinstance(value, str) and Path(value).is_file() else value
    except (OSError, ValueError):
        return value


def body_of(arguments: Json, schema: Json, opened: ExitStack) -> dict[str, Any]:
    """
    Return what httpx takes as the body of an execution: JSON, or a form where files are among the arguments.

    Args:
        arguments: By name.
        schema: JSON Schema of the arguments, an object.
        opened: Closes the files.

    Raises:
        InvalidArgumentError: A file can't be read.
    """
    files = files_among(arguments, schema)
    if not files:
        return {"content": msgspec.json.encode({"inputs": arguments}), "headers": {"content-type": "application/json"}}
    others = {name: value for name, value in arguments.items() if name not in files}
    if REST in schema.get("properties", {}):
        parts: list[tuple[str, Sequence[Any]]] = [(name, _json(value)) for name, value in others.items()]
    else:
        parts = [(REST, _json(others))]
    problems: list[ArgumentProblem] = []
    for name, value in files.items():
        for item in value if isinstance(value, list) else [value]:
            try:
                parts.append((name, _part(item, opened)))
            except OSError as error:
                problems.append(ArgumentProblem(f"/{name}", f"can't read {str(item)!r}: {error.strerror}"))
    if problems:
        raise InvalidArgumentError("a file can't be read", problems)
    return {"files": parts}


def _json(value: Any) -> tuple[None, bytes, str]:
    return None, msgspec.json.encode(value), "application/json"


def _part(item: Any, opened: ExitStack) -> Sequence[Any]:
    if not isinstance(item, Path):
        return None, str(item).encode()
    media = mimetypes.guess_type(item.name)[0] or UNKNOWN
    return item.name, opened.enter_context(item.open("rb")), media
