"""
The command line of Nexus, with click.

`main` is the `nexus` script; `cli(app)` gives an application's own script its commands. Nothing heavy is imported until it
is used: `nexus --help` needs click alone, and the script says what to install where even that is missing.
"""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus_click._channel import CliChannel
    from nexus_click._commands import cli
    from nexus_click._inprocess import Result, invoke
    from nexus_click._parsing import to_argv

__all__ = ["CliChannel", "Result", "cli", "invoke", "main", "to_argv"]

PLACES = {
    "CliChannel": "nexus_click._channel",
    "Result": "nexus_click._inprocess",
    "cli": "nexus_click._commands",
    "invoke": "nexus_click._inprocess",
    "to_argv": "nexus_click._parsing",
}


def main() -> int:
    """Run the `nexus` command with the arguments of the process, and return its exit status."""
    try:
        program = importlib.import_module("nexus_click._program")
    except ModuleNotFoundError as error:
        explained = importlib.import_module("nexus.adapters").missing_dependency("cli", __name__, error)
        if explained is None:
            raise
        sys.stderr.write(f"{explained.message}\n")
        return 1
    # What is imported stays: looking for garbage in it takes a tenth of the start. `_program` switches it on again.
    gc.disable()
    try:
        status: int = program.run_program()
    finally:
        gc.enable()
    return status


def __getattr__(name: str) -> Any:
    if name in PLACES:
        return getattr(importlib.import_module(PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
