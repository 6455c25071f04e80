"""
A client of a Nexus server, with httpx: the gateway that a remote command line works on.

`HttpGateway` speaks to the API channel of an application, and is a `nexus.abc.RemoteGateway`.
"""

from __future__ import annotations

from nexus_client.gateway import HttpGateway

__all__ = ["HttpGateway"]
