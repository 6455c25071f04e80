"""Folders that are there as long as a run: for the files that came with it, and for those that it makes."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import attrs

from nexus.abc import Clock, RunStore, Service
from nexus.exceptions import DeadlineExceededError, NotFoundError, UnavailableError
from nexus.models import Call, Form, RunFile, RunRecord, Scope
from nexus.workflows.codecs import Codecs

__all__ = ["Folders", "find_file"]

CLEAN_UP_S: Final = 5.0
LOOKED_AT: Final = 2
"""Folders whose records are looked for when another one stays: more than one, so that they can't pile up."""

LOG: Final = logging.getLogger("nexus.folders")

FileRow = tuple[str, str]
T = TypeVar("T")


@attrs.define(eq=False, repr=False)
class Folders(Service):
    """
    Makes folders, and removes them.

    All are in one that is made when the first is needed, that nobody else may enter, and that goes when the application stops.
    A run's own folder stays after its end only where the run's output names a file in it, and goes with the run's record.

    Args:
        root: Where it is made; None: where temporary files are.
        runs: Tells which records are there.

    Attributes:
        stay: What runs hand out stays when the application stops.
        lock: Held while a run's own folder is made, for its steps may ask for it in several threads.
    """

    root: Path | None
    runs: RunStore
    clock: Clock
    codecs: Codecs
    stay: bool = attrs.field(default=False, init=False)
    lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _started: bool = attrs.field(default=False, init=False)
    _base: Path | None = attrs.field(default=None, init=False)
    _kept: dict[str, Path] = attrs.field(factory=dict, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Let folders be made until the application stops."""
        self._started = True
        exit_stack.push_async_callback(self._stop)

    async def _stop(self) -> None:
        self._started = False
        base, self._base = self._base, None
        kept, self._kept = set(self._kept.values()), {}
        if base is not None and not (self.stay and kept):
            await _removed(base)
        elif base is not None:
            for folder in set(base.iterdir()) - kept:
                await _removed(folder)

    def make(self) -> Path:
        """
        Make a folder, and return it.

        Raises:
            UnavailableError: The application is not started.
        """
        if not self._started:
            raise UnavailableError("there are no folders for files yet: start the application first, with `async with app:`")
        if self._base is None or not self._base.is_dir():
            if self.root is not None:
                self.root.mkdir(parents=True, exist_ok=True)
            self._base = Path(tempfile.mkdtemp(prefix="nexus-", dir=self.root)).absolute()
        return Path(tempfile.mkdtemp(dir=self._base))

    # ---- files that come with a request

    async def receive(self, call: Call, form: Form) -> Mapping[str, Any]:
        """
        Read the arguments of a request that are still to be read, and return them; the time that takes is the caller's.

        Raises:
            NexusError: They can't be read.
        """
        form.folder = self.make()
        deadline = call.request.deadline
        seconds = None if deadline is None else max(0.0, (deadline - call.now).total_seconds())
        with nullcontext() if seconds is None else self.clock.timeout(seconds):
            form.arguments = await form.read(form.folder)
            call.now = self.clock.now()
            return form.arguments
        raise DeadlineExceededError(f"the body did not come to its end in time ({seconds:g} s)")

    async def release(self, form: Form) -> None:
        """Remove the files of a request that is over, unless a run has taken them."""
        if form.folder is not None and not form.taken:
            await _removed(form.folder)

    # ---- files that a run makes

    async def settle(self, output: Any, *, uploads: Path | None, folder: Path | None) -> tuple[Sequence[FileRow], bool]:
        """
        Remove what is not needed after a run's end.

        Args:
            output: The run's; None where it has none.
            uploads: The folder of the files that came with it.
            folder: Its own.

        Returns:
            The files that the output names and that are there, and whether its own folder stays.
        """
        paths = self._paths_in(output)
        stays = folder is not None and (paths is None or any(path.is_relative_to(folder) for path in paths))
        gone = [unneeded for unneeded in (uploads, None if stays else folder) if unneeded is not None]

        def work() -> Sequence[FileRow]:
            for unneeded in gone:
                _remove(unneeded)
            return _named(path for path in paths or () if path.is_file())

        rows: Sequence[FileRow] = ()
        if not gone and not paths:
            return rows, stays
        with anyio.move_on_after(CLEAN_UP_S, shield=True):
            rows = await _in_thread(work)
            if stays:
                await self._look_at_kept()
        return rows, stays

    def _paths_in(self, output: Any) -> list[Path] | None:
        """Return the paths that the output names, absolute; None where that can't be told."""
        try:
            return [Path(path).absolute() for path in self.codecs.paths_in(output)]
        except Exception:  # noqa: BLE001 - JSON has no word for it: a channel will say so, and in-process it is good
            return None

    def keep(self, run_id: str, folder: Path) -> None:
        """Let a run's folder be, until its record is gone."""
        self._kept[run_id] = folder

    async def _look_at_kept(self) -> None:
        """Remove the oldest folders if their records are gone; else have them looked at last."""
        for run_id in list(self._kept)[:LOOKED_AT]:
            folder = self._kept.pop(run_id)
            try:
                await self.runs.get(Scope.ALL, run_id)
            except NotFoundError:
                await _removed(folder)
            except Exception:  # noqa: BLE001 - a store that fails is not this run's trouble; it is asked again
                self.keep(run_id, folder)
            except BaseException:
                self.keep(run_id, folder)
                raise
            else:
                self.keep(run_id, folder)


async def find_file(record: RunRecord, name: str) -> RunFile:
    """
    Return the file of that name that the run's output names.

    Raises:
        NotFoundError: It names no such file, or the file is gone.
    """
    file = next((file for file in record.files if file.name == name), None)
    if file is None:
        named = ", ".join(repr(file.name) for file in record.files) or "none"
        raise NotFoundError(f"run {record.id} hands out no file {name!r}; it hands out: {named}", run_id=record.id)
    if not await anyio.Path(file.path).is_file():
        raise NotFoundError(f"file {name!r} of run {record.id} is not there any more; run it again", run_id=record.id, gone=True)
    return file


def _named(paths: Iterable[Path]) -> Sequence[FileRow]:
    """Give each file its name, once."""
    names: dict[Path, str] = {}
    for path in paths:
        if path not in names:
            name, number = path.name, 2
            while name in names.values():
                name, number = f"{path.stem}-{number}{path.suffix}", number + 1
            names[path] = name
    return tuple((name, str(path)) for path, name in names.items())


async def _removed(folder: Path) -> None:
    with anyio.move_on_after(CLEAN_UP_S, shield=True):
        await _in_thread(partial(_remove, folder))


async def _in_thread(work: Callable[[], T]) -> T:
    # Not one of those that workflows may all have taken.
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError:
        # A workflow may have made folders that may not be written to.
        for place, _, _ in os.walk(folder):
            Path(place).chmod(0o700)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            LOG.warning("%s can't be removed, and stays: %s", folder, error)
