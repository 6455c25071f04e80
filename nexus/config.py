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
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import attrs

from nexus._converters import (
    Overflow,
    path_in,
    to_count,
    to_days,
    to_duration,
    to_flag,
    to_lifetime,
    to_names,
    to_networks,
    to_overflow,
    to_path,
    to_port,
    to_rates,
    to_roles,
    to_secrets,
    to_size,
    to_text,
    to_timeout,
    to_url,
    url_in,
)
from nexus.exceptions import ConfigurationError
from nexus.models import Rate, Role

__all__ = [
    "ApiConfig",
    "CacheConfig",
    "ChannelsConfig",
    "CliConfig",
    "Keeping",
    "McpConfig",
    "NetworkConfig",
    "NexusConfig",
    "keeping",
]

PREFIX = "NEXUS_"
OF_CLIENTS = frozenset({"NEXUS_URL", "NEXUS_TOKEN"})
"""Where a server is, and what to show it: of those who call one, no settings of an application."""
NESTED = "__"
RELATIVE = "relative path"

T = TypeVar("T", bound=attrs.AttrsInstance)

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


def _section(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    wanted: type = cast("Any", field.default).factory
    if not isinstance(value, wanted):
        problem = f"expected a {wanted.__name__}, got {value!r}"
        raise ConfigurationError(f"{field.name}: {problem}", key=field.name, problem=problem)


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
        rate_limit: How often a caller may use this channel, beside what `rate_limit` says of all of them; empty is without limit.
    """

    enabled: bool = attrs.field(default=True, converter=to_flag)
    host: str = attrs.field(default="127.0.0.1", converter=to_text)
    port: int = attrs.field(default=8000, converter=to_port)
    allowed_hosts: tuple[str, ...] = attrs.field(default=(), converter=to_names)
    rate_limit: tuple[Rate, ...] = attrs.field(default=(), converter=to_rates)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class CliConfig:
    """
    The command line.

    Attributes:
        enabled: Whether workflows can be run from it.
        rate_limit: How often a caller may use this channel, beside what `rate_limit` says of all of them; empty is without limit.
    """

    enabled: bool = attrs.field(default=True, converter=to_flag)
    rate_limit: tuple[Rate, ...] = attrs.field(default=(), converter=to_rates)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class McpConfig:
    """
    The MCP channel.

    Attributes:
        enabled: Whether it is served where its adapter is installed.
        rate_limit: How often a caller may use this channel, beside what `rate_limit` says of all of them; empty is without limit.
    """

    enabled: bool = attrs.field(default=True, converter=to_flag)
    rate_limit: tuple[Rate, ...] = attrs.field(default=(), converter=to_rates)


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

    memory_entries: int = attrs.field(default=1000, converter=to_count)
    memory_bytes: int = attrs.field(default=64_000_000, converter=to_size)
    ttl: timedelta = attrs.field(default=timedelta(hours=1), converter=to_lifetime)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class NetworkConfig:
    """
    Where callers may be, as networks: `10.0.0.0/8`, `2001:db8::/32`, or a single address.

    Attributes:
        allow: Only callers of these may call; empty is all. Callers without an address always may: those of the
            command line, of standard input, of a Unix socket.
        deny: Callers of these may not, whatever allows them.
        trusted_proxies: Where proxies are that say by `Forwarded` or `X-Forwarded-For` for whom they speak; what others say there
            counts for nothing.
    """

    allow: tuple[IPv4Network | IPv6Network, ...] = attrs.field(default=(), converter=to_networks)
    deny: tuple[IPv4Network | IPv6Network, ...] = attrs.field(default=(), converter=to_networks)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = attrs.field(default=(), converter=to_networks)


@attrs.frozen(kw_only=True, field_transformer=_naming)
class NexusConfig:
    """
    The settings of an application.

    A size is a number of bytes or text like `10 MB`; a duration is a number of seconds, a `timedelta`, or text like `30 min`; a
    limit is text like `100/minute`, or several with `;` between, all of which hold.

    Attributes:
        title: The application's title.
        description: What the application is for, Markdown.
        version: The application's version, as callers see it.
        files_root: The folder in which the files named by remote callers are; None: they can name none. Relative to where it
            was written: the folder of the toml file, or of the file that calls `create_nexus`, else the current folder.
        runs_root: The folder in which uploaded files, and those that runs make, are while they are needed; None: where temporary
            files are. Relative as `files_root` is.
        database_url: Where runs, sessions, API keys and results are kept: `sqlite:///nexus.db`, or `sqlite:////var/nexus.db`,
            which is absolute; None: in memory. Relative as `files_root` is.
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
            makes new ones, all are good for those there are. None: the hashes are not keyed.
        session_timeout: How long a session lasts without a call.
        session_lifetime: How long a session lasts at most.
        session_overflow: What one session too many of a principal does: `drop_oldest`, or `refuse`.
        max_sessions: How many sessions there are at once.
        max_sessions_per_principal: How many sessions a principal has at once.
        roles: What those who have a role may do: a list of patterns of permissions, or `allow`, `deny` and `inherits`.
        network: Where callers may be.
        address_rate_limit: How often callers of one address may ask, whoever they are; of an IPv6 address, of its /64.
        rate_limit: How often a caller may ask, over all channels: a principal, or an address where nobody is known.
        channels: The settings of each channel.
        cache: The settings of the cache.

    Raises:
        ConfigurationError: A value can't be used.
    """

    title: str = attrs.field(default="Nexus", converter=to_text)
    description: str = attrs.field(default="", converter=to_text)
    version: str = attrs.field(default="0.1.0", converter=to_text)
    files_root: Path | None = attrs.field(default=None, converter=to_path, metadata={RELATIVE: path_in})
    runs_root: Path | None = attrs.field(default=None, converter=to_path, metadata={RELATIVE: path_in})
    database_url: str | None = attrs.field(default=None, converter=to_url, metadata={RELATIVE: url_in})
    max_body_bytes: int = attrs.field(default=10_000_000, converter=to_size)
    max_upload_bytes: int = attrs.field(default=100_000_000, converter=to_size)
    max_value_bytes: int = attrs.field(default=10_000_000, converter=to_size)
    request_timeout: timedelta | None = attrs.field(default=None, converter=to_timeout)
    shutdown_grace: timedelta = attrs.field(default=timedelta(seconds=10), converter=to_duration)
    health_check_timeout: timedelta = attrs.field(default=timedelta(seconds=2), converter=to_duration)
    concurrency: int = attrs.field(default=1000, converter=to_count)
    queue_size: int = attrs.field(default=10_000, converter=to_count)
    max_chunks: int = attrs.field(default=10_000, converter=to_count)
    enable_schedules: bool = attrs.field(default=True, converter=to_flag)
    run_retention_days: int = attrs.field(default=30, converter=to_days)
    enable_auth: bool = attrs.field(default=False, converter=to_flag)
    secret_keys: tuple[str, ...] = attrs.field(default=(), converter=to_secrets, repr=False)
    session_timeout: timedelta = attrs.field(default=timedelta(minutes=30), converter=to_lifetime)
    session_lifetime: timedelta = attrs.field(default=timedelta(hours=12), converter=to_lifetime)
    session_overflow: Overflow = attrs.field(default="drop_oldest", converter=to_overflow)
    max_sessions: int = attrs.field(default=100_000, converter=to_count)
    max_sessions_per_principal: int = attrs.field(default=50, converter=to_count)
    roles: Mapping[str, Role] = attrs.field(factory=dict, converter=to_roles)
    network: NetworkConfig = attrs.field(factory=NetworkConfig, validator=_section)
    address_rate_limit: tuple[Rate, ...] = attrs.field(default=(), converter=to_rates)
    rate_limit: tuple[Rate, ...] = attrs.field(default=(), converter=to_rates)
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
class Keeping:
    """
    Where applications keep what they are told nowhere to keep, as the program says that loads them.

    Attributes:
        default_url: A `database_url` for those that have none, and no stores of their own; None: in memory.
        in_memory: Whatever their `database_url` is.
    """

    default_url: str | None = None
    in_memory: bool = False


keeping: Final[ContextVar[Keeping]] = ContextVar("keeping", default=Keeping())  # noqa: B039 - it is frozen
"""Set around the code that makes an application."""


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
        if self.base is not None and RELATIVE in field.metadata and value:
            return field.metadata[RELATIVE](self.base, value)
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
