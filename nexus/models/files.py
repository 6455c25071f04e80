"""Files that come with a request, and files that a run hands out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Form", "RunFile", "Upload"]


@attrs.frozen(kw_only=True, repr=False)
class Upload:
    """
    A file that came with a request; as an argument it is good for a `Path`, wherever `files_root` is.

    Attributes:
        filename: As the caller called it, without folders and control characters; `path` ends with it.
        media_type: As the caller said.
        size: Bytes.
        sha256: Of the content, hexadecimal.
        path: Where it is until the run has ended; None in the run's record, which outlives the file.
    """

    filename: str
    media_type: str
    size: int
    sha256: str
    path: Path | None = None

    def __repr__(self) -> str:
        return f"the uploaded file {self.filename!r}"


@attrs.frozen(kw_only=True)
class RunFile:
    """
    A file that a run's output names.

    Attributes:
        name: Its own among the files of the run; the last part of the path, but for a number where two have the same.
        media_type: By the ending of the name.
    """

    name: str
    path: Path
    media_type: str


@attrs.define(eq=False, repr=False)
class Form:
    """
    Arguments of a request that are still to be read, with files among them. Like a `Call` it is filled in on the way.

    It is read when the guards have let the request pass, so nobody else can fill the disk.

    Args:
        read: Reads the body, writes its files below the folder that it is given, and returns the arguments, each file an
            `Upload`, several of one name a list.

    Attributes:
        arguments: What was read.
        folder: Where the files are.
        taken: A run has the folder, and removes it at its end: set by the runtime that carries it.
    """

    read: Callable[[Path], Awaitable[Mapping[str, Any]]]
    arguments: Mapping[str, Any] = attrs.field(factory=dict, init=False, repr=False)
    folder: Path | None = attrs.field(default=None, init=False)
    taken: bool = attrs.field(default=False, init=False)

    def recorded(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the checked arguments as the run's record has them: of a file what it was, not where."""
        return {name: _without_path(self.arguments.get(name), value) for name, value in inputs.items()}


def _without_path(given: Any, checked: Any) -> Any:
    if isinstance(given, Upload):
        return attrs.evolve(given, path=None)
    if isinstance(given, list) and any(isinstance(item, Upload) for item in given):
        return [_without_path(item, item) for item in given]
    return checked
