"""Stores that outlive their process: memory's, pickled to a file with each change."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nexus.memory import MemoryRunStore, MemoryStepStore
from nexus.models import RunRecord, Scope


def written(path: Path, value: Any) -> None:
    """Write a file so that a process that is killed leaves the old one or the new one."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(pickle.dumps(value))
    draft.replace(path)


class FileRunStore(MemoryRunStore):
    """Records of runs in a file."""

    shared = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if path.exists():
            self._runs, self._leases = pickle.loads(path.read_bytes())  # noqa: S301 - written by this class

    def _write(self) -> None:
        written(self.path, (self._runs, self._leases))

    async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
        created = await super().create(scope, run, key=key, inputs_hash=inputs_hash)
        self._write()
        return created

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        saved = await super().save(run, expected_version=expected_version)
        self._write()
        return saved

    async def claim(self, owner: str, *, until: datetime, now: datetime) -> Sequence[RunRecord]:
        claimed = await super().claim(owner, until=until, now=now)
        self._write()
        return claimed


class FileStepStore(MemoryStepStore):
    """
    Results of steps in a file.

    Args:
        then: Called after each result that was kept, with how many there are.
    """

    def __init__(self, path: Path, then: Callable[[int], None] = lambda _count: None) -> None:
        super().__init__()
        self.path = path
        self.then = then
        if path.exists():
            self._results.update(pickle.loads(path.read_bytes()))  # noqa: S301 - as above

    async def put(self, run_id: str, step: str, result: bytes) -> None:
        await super().put(run_id, step, result)
        written(self.path, dict(self._results))
        self.then(len(self._results[run_id]))

    async def remove(self, run_id: str) -> None:
        await super().remove(run_id)
        written(self.path, dict(self._results))


def note(folder: Path, line: str) -> None:
    """Append a line to the file in which steps note that they were called."""
    with (folder / "calls").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def noted(folder: Path) -> list[str]:
    """Return the lines."""
    file = folder / "calls"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
