"""From what was written for a setting to its value; a ValueError says what is allowed. The key is named by who calls."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import attrs
import msgspec

from nexus.models import Rate, Role
from nexus.models.rates import parse_rates

__all__ = [
    "Overflow",
    "path_in",
    "to_count",
    "to_days",
    "to_duration",
    "to_flag",
    "to_lifetime",
    "to_names",
    "to_networks",
    "to_overflow",
    "to_path",
    "to_port",
    "to_rates",
    "to_roles",
    "to_secrets",
    "to_size",
    "to_text",
    "to_timeout",
    "to_url",
    "url_in",
]

SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SECONDS = {"ms": 0.001, "": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
HIGHEST_PORT = 65535
LARGEST = 2**63 - 1
MAPPED = IPv6Network("::ffff:0:0/96")
MOST_DAYS = 100_000
SHORTEST_SECRET = 16
URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.+)", re.DOTALL)
IN_A_FILE = re.compile(r"(?P<scheme>sqlite):///(?P<path>[^/?].*)", re.DOTALL)

Overflow = Literal["drop_oldest", "refuse"]


def to_text(value: str) -> str:
    """Take text."""
    if isinstance(value, str):
        return value
    raise ValueError(f"expected text, got {value!r}")


def to_flag(value: bool | str) -> bool:  # noqa: FBT001 - a converter takes its value by position
    """Take a boolean, or text that is one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in FLAGS:
        return FLAGS[value.lower()]
    raise ValueError(f"expected true or false, got {value!r}")


def to_port(value: int | str) -> int:
    """Take a TCP port."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= HIGHEST_PORT:
        return number
    raise ValueError(f"expected a port number from 0 (any free one) to {HIGHEST_PORT}, got {value!r}")


def to_size(value: int | str) -> int:
    """Take a number of bytes, or text with a unit."""
    number = _quantity(value, SIZES)
    if number is None or not 1 <= number <= LARGEST:
        raise ValueError(f"expected a number of bytes, or text like '10 MB' or '512 KiB', got {value!r}")
    return int(number)


def to_count(value: int | str) -> int:
    """Take a whole number from 1 on."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= LARGEST:
        return number
    raise ValueError(f"expected a whole number from 1 on, got {value!r}")


def to_days(value: int | str) -> int:
    """Take a whole number of days."""
    number = to_count(value)
    if number > MOST_DAYS:
        raise ValueError(f"expected a whole number of days up to {MOST_DAYS}, got {value!r}")
    return number


def to_duration(value: timedelta | float | str) -> timedelta:
    """Take seconds, a timedelta, or text with a unit."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else _quantity(value, SECONDS)
    if seconds is None or not 0 <= seconds <= timedelta.max.total_seconds():
        raise ValueError(f"expected seconds, a timedelta, or text like '10 s', '30 min' or '12 h', got {value!r}")
    return timedelta(seconds=seconds)


def to_timeout(value: timedelta | float | str | None) -> timedelta | None:
    """Take a duration that is not zero, or none."""
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return None
    duration = to_duration(value)
    if not duration:
        raise ValueError(f"expected a duration longer than zero, or none, got {value!r}")
    return duration


def to_lifetime(value: timedelta | float | str) -> timedelta:
    """Take a duration that is not zero."""
    duration = to_duration(value)
    if not duration:
        raise ValueError(f"expected a duration longer than zero, got {value!r}")
    return duration


def to_path(value: str | os.PathLike[str] | None) -> Path | None:
    """Take a path, or None."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return Path(value)
    raise ValueError(f"expected a path, got {value!r}")


def to_url(value: str | None) -> str | None:
    """Return the URL of a database, or None."""
    if value is None or (isinstance(value, str) and URL.fullmatch(value)):
        return value
    raise ValueError(f"expected a URL such as sqlite:///nexus.db, got {value!r}")


def path_in(base: Path, value: Any) -> Any:
    """Make a relative path one of that folder."""
    return base / value if isinstance(value, str | os.PathLike) else value


def url_in(base: Path, value: Any) -> Any:
    """Make the path of a file's URL absolute: of three slashes there are four."""
    file = IN_A_FILE.fullmatch(value) if isinstance(value, str) else None
    return value if file is None else f"{file['scheme']}:///{quote(str(base.absolute()))}/{file['path']}"


def _quantity(value: Any, units: Mapping[str, float]) -> float | None:
    """Return a number, or text of a number and one of the *units*, in the smallest; None where it is neither."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        return None
    return float(match[1]) * units[match[2].lower()]


def to_overflow(value: Overflow) -> Overflow:
    """Take what one session too many does."""
    if value in get_args(Overflow):
        return value
    raise ValueError(f"expected {' or '.join(get_args(Overflow))}, got {value!r}")


def to_secrets(value: str | Sequence[str]) -> tuple[str, ...]:
    """Take secrets, or where they are: `env:NAME`, `file:PATH`."""
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


def to_roles(value: Mapping[str, Any] | str) -> Mapping[str, Role]:
    """Take roles by name, or JSON that is some."""
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


def to_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Take names, or text with commas between."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"expected names, as a list or with commas between, got {value!r}")
    return tuple(names)


def to_networks(value: str | Sequence[Any] | None) -> tuple[IPv4Network | IPv6Network, ...]:
    """Take networks, or text of them with commas between; one of IPv4-mapped IPv6 addresses is the IPv4 network."""
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise _no_networks(value)
    return tuple(_network(part, value) for part in parts)


def _network(part: Any, value: Any) -> IPv4Network | IPv6Network:
    if not isinstance(part, str | IPv4Network | IPv6Network):
        raise _no_networks(value)
    try:
        network = ip_network(part.strip() if isinstance(part, str) else part)
    except ValueError as error:
        raise _no_networks(value, f": {error}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - MAPPED.prefixlen))
    return network


def _no_networks(value: Any, why: str = "") -> ValueError:
    return ValueError(
        f"expected networks like '10.0.0.0/8' or '2001:db8::/32', as a list or with commas between, got {value!r}{why}"
    )


def to_rates(value: str | Rate | Sequence[Any] | None) -> tuple[Rate, ...]:
    """Take rates, or text of them."""
    return parse_rates(value)
