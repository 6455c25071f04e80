"""Files that a result names: saved here under names of ours, never over another file."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

import anyio
import attrs
import httpx

from nexus.exceptions import UnavailableError
from nexus_client.addresses import path_of
from nexus_client.connection import Connection
from nexus_client.schemas import item_of, may_be_path, member_of

__all__ = ["Downloads", "named_here", "safe_name"]

FILE: Final = "/api/runs/{run_id}/files/{name}"
FOUND: Final = 200
LONGEST_NAME: Final = 150
SEPARATORS: Final = re.compile(r"[/\\]")
RESERVED: Final = re.compile(r'[<>:"|?*]')
# What Windows takes for a device, whatever the ending.
DEVICE: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

Json = Mapping[str, Any]


def safe_name(sent: str) -> str:
    """Return the name of a file as a server gave it, without folders, dots before it, and what file systems may not like."""
    last = SEPARATORS.split(unicodedata.normalize("NFC", sent))[-1]
    name = RESERVED.sub("_", "".join(char for char in last if char.isprintable())).strip(" .") or "file"
    if DEVICE.fullmatch(name):
        name = f"_{name}"
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    kept = suffix if len(suffix.encode()) < LONGEST_NAME // 2 else ""
    cut = (stem if kept else name).encode()[: LONGEST_NAME - len(kept.encode())].decode(errors="ignore")
    return f"{cut}{kept}"


@attrs.define(eq=False, repr=False)
class Downloads:
    """
    Downloads the files of one run.

    Attributes:
        folder: Where they go; made when there is one.
    """

    connection: Connection
    folder: Path
    run_id: str

    async def fetch(self, names: Sequence[str]) -> dict[str, Path]:
        """
        Download files, and return where each of them is.

        Raises:
            UnavailableError: One can't be had or saved; those before it are there, and nothing of it is.
        """
        return {name: await self._fetch(name) for name in names}

    async def _fetch(self, name: str) -> Path:
        path = path_of(FILE, run_id=self.run_id, name=name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            async with self.connection.response("GET", path) as response:
                if response.status_code != FOUND:
                    (await self.connection.reply(response)).required()
                return await self._save(response, safe_name(name))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableError(f"file {name!r} of run {self.run_id} can't be saved in {self.folder}: {reason}") from error

    async def _save(self, response: httpx.Response, name: str) -> Path:
        partial = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            async with await anyio.open_file(partial, "xb") as file:
                async for piece in response.aiter_bytes():
                    await file.write(piece)
            return await anyio.to_thread.run_sync(_placed, partial, name)
        finally:
            partial.unlink(missing_ok=True)


def _placed(partial: Path, name: str) -> Path:
    """Give a file its name, or that name with a number where another has it."""
    for candidate in _candidates(name):
        place = partial.with_name(candidate)
        try:
            # Made first, and by nobody else at the same time: moving alone would replace what is there.
            with place.open("xb"):
                pass
        except FileExistsError:
            continue
        try:
            return partial.replace(place)
        except BaseException:
            place.unlink()
            raise
    raise AssertionError


def _candidates(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{PurePath(name).stem}-{number}{PurePath(name).suffix}"
        number += 1


def named_here(results: Any, schema: Json, files: Mapping[str, str]) -> Any:
    """
    Return results that name files as they are called here.

    Args:
        results: JSON value, which names files by the last part of their paths.
        schema: Of the results.
        files: By the name that the run gave each of them, in the order in which the results name them; how it is called here.
    """
    return _Renaming(schema, list(files), files.__getitem__).walk(results, schema)


@attrs.define(eq=False, repr=False)
class _Renaming:
    """
    Walks through results in the order in which the server did when it gave files of the same name numbers.

    Attributes:
        left: Names of files that were not met so far.
        met: By what the results have, the name of the last file that was meant.
    """

    root: Json
    left: list[str]
    here: Callable[[str], str]
    used: set[str] = attrs.field(factory=set)
    met: dict[str, str] = attrs.field(factory=dict)

    def walk(self, value: Any, part: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.walk(item, member_of(part, name, self.root)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.walk(item, item_of(part, number, self.root)) for number, item in enumerate(value)]
        return self.renamed(value) if isinstance(value, str) and may_be_path(part, self.root) else value

    def renamed(self, shown: str) -> str:
        expected = next(name for name in _candidates(shown) if name not in self.used)
        if self.left and self.left[0] == expected:
            self.met[shown] = self.left.pop(0)
            self.used.add(expected)
        # The same file again, or none: what a path leads to need not be there.
        return self.here(self.met[shown]) if shown in self.met else shown
