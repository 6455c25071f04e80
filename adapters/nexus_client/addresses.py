"""Where a server is, and what may be sent there: pure functions."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from nexus.exceptions import ConfigurationError

__all__ = ["checked_token", "checked_url", "path_of"]

HIGHEST_ASCII: Final = 126


def checked_url(url: str) -> str:
    """
    Return the address of a server without a slash at its end.

    Raises:
        ConfigurationError: It is not one, or has more in it than that.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url!r} is no address of a server: {error}") from None
    if parts.username is not None or parts.password is not None:
        # Not shown: one of them is a secret.
        raise ConfigurationError("the address of a server has no name or password in it; give a token instead")
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        raise ConfigurationError(f"{url!r} is no address of a server; write it like http://127.0.0.1:8000")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r} has a ? or # in it; the address of a server ends with its path")
    return url.rstrip("/")


def checked_token(token: str | None) -> str | None:
    """
    Return the token without the white space around it; None for none.

    Raises:
        ConfigurationError: It can't be sent; the text does not show it.
    """
    stripped = (token or "").strip()
    if not all(char > " " and ord(char) <= HIGHEST_ASCII for char in stripped):
        raise ConfigurationError("the token has characters in it that no token has; is it the right file?")
    return stripped or None


def path_of(template: str, **parts: str) -> str:
    """Return a path with these parts in it, percent-encoded so that each of them stays one part."""
    return template.format_map({name: quote(part, safe="@") for name, part in parts.items()})
