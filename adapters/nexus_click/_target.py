"""Loads the application that a TARGET names: `module:attribute` or `path/to/file.py[:attribute]`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click

from nexus import Nexus
from nexus.exceptions import ConfigurationError, RegistrationError
from nexus_click._log import trimmed
from nexus_click._rendering import clean

DEFAULT_ATTRIBUTE: Final = "app"
FILE: Final = re.compile(r"(?P<path>.*\.py)(?::(?P<attribute>[^/\\]*))?", re.DOTALL)
MODULE: Final = re.compile(r"(?P<module>[^:/\\]+)(?::(?P<attribute>[^/\\]*))?")


class TargetError(click.ClickException):
    """A TARGET that names no application."""

    exit_code = 2


class BrokenTargetError(click.ClickException):
    """A TARGET whose own code raised; the message has its traceback."""

    exit_code = 1


def is_target(word: str) -> bool:
    """Whether a word can only be a TARGET, for no workflow has such a name."""
    return FILE.fullmatch(word) is not None or not {":", "/", "\\"}.isdisjoint(word.partition("@")[0])


def load_target(target: str) -> Nexus:
    """
    Import what the target names, and return the application in it.

    Args:
        target: `module:attribute`, looked for from the current folder on, or `path/to/file.py:attribute`. Without an attribute it
            is `app`, else the only application in the module; with `()` behind it, a function that returns one.

    Raises:
        TargetError: There is no such file, module, attribute or application.
        BrokenTargetError: The code there raised.
    """
    with contextlib.redirect_stdout(sys.stderr):
        file, module = FILE.fullmatch(target), MODULE.fullmatch(target)
        if file is not None:
            return _application(_from_file(Path(file["path"])), file["attribute"], target)
        if module is None:
            raise TargetError(f"{target!r} is no target; write module:attribute or path/to/file.py:attribute")
        return _application(_from_module(module["module"]), module["attribute"], target)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"there is no file {str(path)!r}, seen from {Path.cwd()}")
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_target"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{str(path)!r} can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _told(str(path)):
        spec.loader.exec_module(module)
    return module


def _from_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    with _told(name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            hint = f"; for a file write {name}.py" if error.name != name else ""
            raise TargetError(f"there is no module {error.name!r}, seen from {Path.cwd()}{hint}") from error


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Show what the user's code raises as the user's traceback."""
    try:
        yield
    except click.ClickException:
        raise
    except (ConfigurationError, RegistrationError) as error:
        # The text says where and what; the way there is Nexus' own.
        raise BrokenTargetError(f"{what} can't be loaded: {clean(error.message)}") from error
    except Exception as error:
        raise BrokenTargetError(f"{what} can't be loaded\n{trimmed(error)}") from error


def _application(module: ModuleType, attribute: str | None, target: str) -> Nexus:
    if not attribute:
        return _only(module, target)
    path, makes, _ = attribute.partition("()")
    value: Any = module
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise TargetError(f"{target!r}: there is no {name!r} there; {_found(module)}") from None
    if makes:
        with _told(target):
            value = value()
    if isinstance(value, Nexus):
        return value
    if callable(value) and not makes:
        raise TargetError(f"{target!r} is a function; if it returns the application, write '{target}()'")
    raise TargetError(f"{target!r} is {type(value).__name__}, not an application; {_found(module)}")


def _only(module: ModuleType, target: str) -> Nexus:
    applications = _applications(module)
    if DEFAULT_ATTRIBUTE in applications:
        return applications[DEFAULT_ATTRIBUTE]
    different = {id(application): application for application in applications.values()}
    if len(different) != 1:
        raise TargetError(f"{target!r} does not say which application; {_found(module)}")
    return next(iter(different.values()))


def _applications(module: ModuleType) -> dict[str, Nexus]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Nexus)}


def _found(module: ModuleType) -> str:
    names = ", ".join(_applications(module))
    return f"applications there: {names}" if names else "no application is there; make one with nexus.create_nexus()"
