"""
The settings of an application, and where they come from.

`NexusConfig(...)` reads nothing. `NexusConfig.from_env()` reads `nexus.toml`, then the table `[tool.nexus]` of
`pyproject.toml`, both in the current folder, then the environment: `NEXUS_` and the key in capitals, nested with two
underscores (`NEXUS_CHANNELS__API__PORT`). What comes later wins.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast, get_args

import attrs
import msgspec

from nexus.exceptions import ConfigurationError
from nexus.models import Role

__all__ = ["ApiConfig", "CacheConfig", "ChannelsConfig", "CliConfig", "McpConfig", "NexusConfig"]

PREFIX = "NEXUS_"
OF_CLIENTS = frozenset({"NEXUS_URL", "NEXUS_TOKEN"})
"""Where a server is, and what to show it: of those who call one, no settings of an application."""
NESTED = "__"
RELATIVE = "relative path"

T = TypeVar("T", bound=attrs.AttrsInstance)

SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SECONDS = {"ms": 0.001, "": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
HIGHEST_PORT = 65535
LARGEST = 2**63 - 1
MOST_DAYS = 100_000
SHORTEST_SECRET = 16

Overflow = Literal["drop_oldest", "refuse"]

# Every spelling of a `tool.nexus` table in TOML, to tell without parsing that a pyproject.toml has none.
TOOL_NEXUS = re.compile(r"""^\s*\[?\s*["']?tool["']?\s*(?:\.\s*["']?nexus\b|\]|=)""", re.MULTILINE)


def _naming(_section: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Let each converter say which setting it could not use."""
    return [field if field.converter is None else field.evolve(converter=_named(field.converter)) for field in fields]


def _named(parse: Any) -> attrs.Converter[Any, Any]:
    def convert(value: Any, field: attrs.Attribute[Any]) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise ConfigurationError(f"{field.name}: {error}", key=field.name, problem=str(error)) from None

    return attrs.Converter(convert, takes_field=True)


def _text(value: str) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"expected text, got {value!r}")


def _flag(value: bool | str) -> bool:  # noqa: FBT001 - a converter takes its value by position
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in FLAGS:
        return FLAGS[value.lower()]
    raise ValueError(f"expected true or false, got {value!r}")


def _port(value: int | str) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= HIGHEST_PORT:
        return number
    raise ValueError(f"expected a port number from 0 (any free one) to {HIGHEST_PORT}, got {value!r}")


def _size(value: int | str) -> int:
    number = _quantity(value, SIZES)
    if number is None or not 1 <= number <= LARGEST:
        raise ValueError(f"expected a number of bytes, or text like '10 MB' or '512 KiB', got {value!r}")
    return int(number)


def _count(value: int | str) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= LARGEST:
        return number
    raise ValueError(f"expected a whole number from 1 on, got {value!r}")


def _days(value: int | str) -> int:
    number = _count(value)
    if number > MOST_DAYS:
        raise ValueError(f"expected a whole number of days up to {MOST_DAYS}, got {value!r}")
    return number


def _duration(value: timedelta | float | str) -> timedelta:
    seconds = value.total_seconds() if isinstance(value, timedelta) else _quantity(value, SECONDS)
    if seconds is None or not 0 <= seconds <= timedelta.max.total_seconds():
        raise ValueError(f"expected seconds, a timedelta, or text like '10 s', '30 min' or '12 h', got {value!r}")
    return timedelta(seconds=seconds)


def _timeout(value: timedelta | float | str | None) -> timedelta | None:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return None
    duration = _duration(value)
    if not duration:
        raise ValueError(f"expected a duration longer than zero, or none, got {value!r}")
    return duration


def _lifetime(value: timedelta | float | str) -> timedelta:
    duration = _duration(value)
    if not duration:
        raise ValueError(f"expected a duration longer than zero, got {value!r}")
    return duration


def _path(value: str | os.PathLike[str] | None) -> Path | None:
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return Path(value)
    raise ValueError(f"expected a path, got {value!r}")


def _section(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    wanted: type = cast("Any", field.default).factory
    if not isinstance(value, wanted):
        problem = f"expected a {wanted.__name__}, got {value!r}"
        raise ConfigurationError(f"{field.name}: {problem}", key=field.name, problem=problem)


def _quantity(value: Any, units: Mapping[str, float]) -> float | None:
    """Return a number, or text of a number and one of the *units*, in the smallest; None where it is neither."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        return None
    return float(match[1]) * units[match[2].lower()]


def _overflow(value: Overflow) -> Overflow:
    if value in get_args(Overflow):
        return value
    raise ValueError(f"expected {' or '.join(get_args(Overflow))}, got {value!r}")


def _secrets(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(map(_secret, [part.strip() for part in value.split(",")] if isinstance(value, str) else value))


def _secret(value: str) -> str:
    """Return what `env:NAME` or `file:PATH` stands for, or the text itself; no message shows any of it."""
    if not isinstance(value, str):
        raise ValueError("expected text, env:NAME or file:PATH")  # noqa: TRY004 - converters tell by ValueError
    where, _, name = value.partition(":")
    found: str | None = value
    if where == "env":
        found = os.environ.get(name)
    elif where == "file":
        try:
            found = Path(name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{value} can't be read: {error}") from None
    if found is None:
        raise ValueError(f"there is no environment variable {name}")
    if len(found) < SHORTEST_SECRET:
        raise ValueError(f"expected a secret of {SHORTEST_SECRET} characters or more")
    return found


def _roles(value: Mapping[str, Any] | str) -> Mapping[str, Role]:
    found = msgspec.json.decode(value) if isinstance(value, str) else value
    if isinstance(found, Mapping):
        return {name: _role(name, role) for name, role in found.items()}
    raise ValueError(f"expected roles by name, got {value!r}")


def _role(name: str, value: Any) -> Role:
    if isinstance(value, Role):
        return value
    parts = value if isinstance(value, Mapping) else {"allow": value}
    known = attrs.fields_dict(Role)
    if not parts.keys() <= known.keys():
        raise ValueError(f"{name}: expected {', '.join(known)}, got {', '.join(sorted(parts.keys() - known.keys()))}")
    for part, patterns in parts.items():
        if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
            raise ValueError(f"{name}.{part}: expected a list of patterns like 'workflow:report:*', got {patterns!r}")
    return Role(**parts)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"expected names, as a list or with commas between, got {value!r}")
    return tuple(names)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class ApiConfig:
    """
    The API channel.

    Attributes:
        enabled: Whether it is served where its adapter is installed.
        host: The address to listen on.
        port: The TCP port to listen on; 0 is any free one.
        allowed_hosts: The names by which callers may reach `nexus serve` and MCP at a loopback address, beside those of loopback
            and `host`: for a reverse proxy that hands on the public name.
    """

    enabled: bool = attrs.field(default=True, converter=_flag)
    host: str = attrs.field(default="127.0.0.1", converter=_text)
    port: int = attrs.field(default=8000, converter=_port)
    allowed_hosts: tuple[str, ...] = attrs.field(default=(), converter=_names)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class CliConfig:
    """
    The command line.

    Attributes:
        enabled: Whether workflows can be run from it.
    """

    enabled: bool = attrs.field(default=True, converter=_flag)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class McpConfig:
    """
    The MCP channel.

    Attributes:
        enabled: Whether it is served where its adapter is installed.
    """

    enabled: bool = attrs.field(default=True, converter=_flag)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class ChannelsConfig:
    """The channels that come with Nexus, each with its settings."""

    api: ApiConfig = attrs.field(factory=ApiConfig, validator=_section)
    cli: CliConfig = attrs.field(factory=CliConfig, validator=_section)
    mcp: McpConfig = attrs.field(factory=McpConfig, validator=_section)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class CacheConfig:
    """
    The results that are kept of workflows with `cache`.

    Attributes:
        memory_entries: At most this many in memory.
        memory_bytes: They take at most this much.
        ttl: How long, where a workflow does not say.
    """

    memory_entries: int = attrs.field(default=1000, converter=_count)
    memory_bytes: int = attrs.field(default=64_000_000, converter=_size)
    ttl: timedelta = attrs.field(default=timedelta(hours=1), converter=_lifetime)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class NexusConfig:
    """
    The settings of an application.

    A size is a number of bytes or text like `10 MB`; a duration is a number of seconds, a `timedelta`, or text like `30 min`.

    Attributes:
        title: The application's title.
        description: What the application is for, Markdown.
        version: The application's version, as callers see it.
        files_root: The folder in which the files named by remote callers are; None: they can name none. Relative to where it
            was written: the folder of the toml file, or of the file that calls `create_nexus`, else the current folder.
        runs_root: The folder in which uploaded files, and those that runs make, are while they are needed; None: where temporary
            files are. Relative as `files_root` is.
        max_body_bytes: A longer request is refused.
        max_upload_bytes: A longer request with files is refused.
        max_value_bytes: A longer result is refused with `payload_too_large` by the channels that send it, never cut; measured as
            the JSON that is sent.
        request_timeout: How long a request may take; None is without limit.
        shutdown_grace: How long runs in flight may go on when the application stops, and then dependencies take to close.
        health_check_timeout: How long a dependency may take to say that it is well.
        concurrency: How many runs go on at once.
        queue_size: How many runs may wait for their turn, in all and of each workflow that has a `concurrency`; one more is
            refused with `resource_exhausted`.
        max_chunks: How many values a workflow may yield.
        enable_schedules: Whether this process fires schedules.
        run_retention_days: How long the record of a run is kept after its end.
        enable_auth: Whether callers have to be known: all but those of operations that are `public`.
        secret_keys: What the hashes of API keys are keyed with: 16 characters or more, `env:NAME` or `file:PATH`. The first
            makes new ones, all are good for those there are. None: one that is made, and gone with the process.
        session_timeout: How long a session lasts without a call.
        session_lifetime: How long a session lasts at most.
        session_overflow: What one session too many of a principal does: `drop_oldest`, or `refuse`.
        max_sessions: How many sessions there are at once.
        max_sessions_per_principal: How many sessions a principal has at once.
        roles: What those who have a role may do: a list of patterns of permissions, or `allow`, `deny` and `inherits`.
        channels: The settings of each channel.
        cache: The settings of the cache.

    Raises:
        ConfigurationError: A value can't be used.
    """

    title: str = attrs.field(default="Nexus", converter=_text)
    description: str = attrs.field(default="", converter=_text)
    version: str = attrs.field(default="0.1.0", converter=_text)
    files_root: Path | None = attrs.field(default=None, converter=_path, metadata={RELATIVE: True})
    runs_root: Path | None = attrs.field(default=None, converter=_path, metadata={RELATIVE: True})
    max_body_bytes: int = attrs.field(default=10_000_000, converter=_size)
    max_upload_bytes: int = attrs.field(default=100_000_000, converter=_size)
    max_value_bytes: int = attrs.field(default=10_000_000, converter=_size)
    request_timeout: timedelta | None = attrs.field(default=None, converter=_timeout)
    shutdown_grace: timedelta = attrs.field(default=timedelta(seconds=10), converter=_duration)
    health_check_timeout: timedelta = attrs.field(default=timedelta(seconds=2), converter=_duration)
    concurrency: int = attrs.field(default=1000, converter=_count)
    queue_size: int = attrs.field(default=10_000, converter=_count)
    max_chunks: int = attrs.field(default=10_000, converter=_count)
    enable_schedules: bool = attrs.field(default=True, converter=_flag)
    run_retention_days: int = attrs.field(default=30, converter=_days)
    enable_auth: bool = attrs.field(default=False, converter=_flag)
    secret_keys: tuple[str, ...] = attrs.field(default=(), converter=_secrets, repr=False)
    session_timeout: timedelta = attrs.field(default=timedelta(minutes=30), converter=_lifetime)
    session_lifetime: timedelta = attrs.field(default=timedelta(hours=12), converter=_lifetime)
    session_overflow: Overflow = attrs.field(default="drop_oldest", converter=_overflow)
    max_sessions: int = attrs.field(default=100_000, converter=_count)
    max_sessions_per_principal: int = attrs.field(default=50, converter=_count)
    roles: Mapping[str, Role] = attrs.field(factory=dict, converter=_roles)
    channels: ChannelsConfig = attrs.field(factory=ChannelsConfig, validator=_section)
    cache: CacheConfig = attrs.field(factory=CacheConfig, validator=_section)

    @classmethod
    def from_env(cls) -> Self:
        """
        Read the files of the current folder, then the environment; without any of them, the defaults.

        Raises:
            ConfigurationError: A key is unknown, a value can't be used, or a file is not TOML. The text names the key, where it
                came from, and what is allowed.
        """
        config = cls()
        for source, settings in _read(Path.cwd()):
            config = source.apply(config, settings)
        return config

    def merge(self, base: Path | None = None, /, **settings: Any) -> Self:
        """
        Return these settings with others in their place; a section is given as a mapping of what differs.

        Args:
            base: The folder that a relative path among them is relative to; None leaves it as it is.
            settings: `channels={"api": {"port": 9000}}`, `title="Desk"`.

        Raises:
            ConfigurationError: A key is unknown, or a value can't be used.
        """
        return _Source(place="given in code", base=base).apply(self, settings)


@attrs.frozen(kw_only=True)
class _Source:
    """Where settings come from, and how their keys are spelt there."""

    place: str
    base: Path | None
    spell: Callable[[str], str] = str

    def apply(self, section: T, settings: Mapping[str, Any], within: str = "") -> T:
        changed: Any = section
        fields = attrs.fields_dict(type(section))
        for name, value in settings.items():
            key = within + name
            if name not in fields:
                raise self.unknown(key)
            present = getattr(section, name)
            new = self._section(present, value, key) if attrs.has(type(present)) else self._placed(fields[name], value)
            try:
                changed = attrs.evolve(changed, **{name: new})
            except ConfigurationError as error:
                raise self.problem(key, error.details["problem"]) from None
        return cast("T", changed)

    def _section(self, present: T, value: Any, key: str) -> T:
        if isinstance(value, type(present)):
            return value
        if isinstance(value, Mapping):
            return self.apply(present, value, f"{key}.")
        names = ", ".join(attrs.fields_dict(type(present)))
        raise self.problem(key, f"expected a table of settings ({names}), got {value!r}")

    def _placed(self, field: attrs.Attribute[Any], value: Any) -> Any:
        """Make a relative path absolute."""
        if self.base is not None and RELATIVE in field.metadata and value and isinstance(value, str | os.PathLike):
            return self.base / value
        return value

    def unknown(self, key: str) -> ConfigurationError:
        allowed = list(_keys(NexusConfig()))
        near = [known for known in allowed if known.endswith(f".{key}")] or difflib.get_close_matches(key, allowed, n=1)
        hint = f" did you mean {' or '.join(map(self.spell, near))}?" if near else ""
        return ConfigurationError(
            f"unknown setting {self.spell(key)}, {self.place};{hint} allowed: {', '.join(map(self.spell, allowed))}",
            key=key,
            source=self.place,
        )

    def problem(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self.spell(key)}, {self.place}: {problem}", key=key, source=self.place, problem=problem)


def _keys(section: attrs.AttrsInstance, within: str = "") -> Iterator[str]:
    for name in attrs.fields_dict(type(section)):
        value = getattr(section, name)
        if attrs.has(type(value)):
            yield from _keys(value, f"{within}{name}.")
        else:
            yield within + name


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", NESTED)


def _read(folder: Path) -> Iterator[tuple[_Source, Mapping[str, Any]]]:
    """Read what is there; where nothing is, no library is loaded for it."""
    own, project = folder / "nexus.toml", folder / "pyproject.toml"
    if own.is_file():
        yield _Source(place=f"in {own}", base=folder), _read_toml(own, None)
    if project.is_file() and TOOL_NEXUS.search(project.read_text(encoding="utf-8", errors="replace")):
        yield _Source(place=f"in [tool.nexus] of {project}", base=folder), _read_toml(project, "tool.nexus")
    variables = [name for name in os.environ if name.startswith(PREFIX) and name not in OF_CLIENTS]
    if variables:
        yield _Source(place="in the environment", base=folder, spell=_variable), _read_environment(variables)


def _read_toml(path: Path, section: str | None) -> Mapping[str, Any]:
    from typed_settings.exceptions import ConfigFileLoadError  # noqa: PLC0415 - 50 ms, only where there is something to read
    from typed_settings.loaders import TomlFormat  # noqa: PLC0415 - the same

    try:
        settings: object = TomlFormat(section)(path, NexusConfig, ())
    except (ConfigFileLoadError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read as TOML: {error}", source=str(path)) from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{section} in {path}: expected a table, got {settings!r}", key=section, source=str(path))
    return settings


def _read_environment(variables: list[str]) -> Mapping[str, Any]:
    from typed_settings.cls_utils import deep_options  # noqa: PLC0415 - 50 ms, only where there is something to read
    from typed_settings.loaders import EnvLoader  # noqa: PLC0415 - the same

    options = deep_options(NexusConfig)
    loader = EnvLoader(PREFIX, nested_delimiter=NESTED)
    unknown = sorted(set(variables) - {loader.get_envvar(option) for option in options})
    if unknown:
        key = unknown[0].removeprefix(PREFIX).lower().replace(NESTED, ".")
        raise _Source(place="in the environment", base=None, spell=_variable).unknown(key)
    return loader(NexusConfig, options).settings
