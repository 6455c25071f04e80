"""Where callers are, and whether anybody may call from there."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nexus
from nexus import ConfigurationError, MalformedRequestError, Nexus, NexusConfig, PermissionDeniedError
from nexus.models import Caller, Request, Response
from nexus.security.addresses import holds, owner_of, parse_address
from nexus.security.network import NetworkGuard
from nexus.security.proxies import TrustedProxies
from nexus.testing import Client
from nexus_mcp._caller import caller_of_scope
from nexus_starlette import asgi
from nexus_starlette.parse import head_of

pytestmark = pytest.mark.anyio

PROXIES = "10.0.0.0/8, 2001:db8:ffff::/48"
TRUSTED = NexusConfig().merge(network={"trusted_proxies": PROXIES}).network.trusted_proxies


@nexus.workflow
async def hello() -> str:
    """Greet whoever asks."""
    return "hello"


def app_of(network: Any = None, **options: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig().merge(network=network or {}), **options)
    app.register(hello)
    return app


async def called(app: Nexus, address: str | None, **of_caller: Any) -> Response:
    caller = Caller(channel="api", address=address, **of_caller)
    return await app.dispatch(Request(operation="hello", arguments={}, caller=caller))


# ---- who is let in


@pytest.mark.parametrize(
    ("network", "address", "let_in"),
    [
        ({}, "203.0.113.9", True),
        ({"allow": "10.0.0.0/8"}, "10.255.255.255", True),
        ({"allow": "10.0.0.0/8"}, "11.0.0.0", False),
        ({"allow": "192.0.2.7"}, "192.0.2.7", True),
        ({"allow": "192.0.2.7"}, "192.0.2.8", False),
        ({"allow": ["10.0.0.0/8", "192.0.2.0/24"]}, "192.0.2.8", True),
        ({"deny": "10.0.0.0/8"}, "10.1.2.3", False),
        ({"deny": "10.0.0.0/8"}, "11.1.2.3", True),
        ({"allow": "10.0.0.0/8", "deny": "10.1.0.0/16"}, "10.1.2.3", False),
        ({"allow": "10.0.0.0/8", "deny": "10.1.0.0/16"}, "10.2.2.3", True),
        ({"allow": "10.1.0.0/16", "deny": "10.0.0.0/8"}, "10.1.2.3", False),
        ({"allow": "2001:db8::/32"}, "2001:db8:1::1", True),
        ({"allow": "2001:db8::/32"}, "2001:db9::1", False),
        ({"allow": "2001:db8::/32"}, "10.0.0.1", False),
        ({"allow": "fe80::/10"}, "fe80::1%eth0", True),
        ({"allow": "10.0.0.0/8"}, "::ffff:10.0.0.1", True),
        ({"deny": "10.0.0.0/8"}, "::ffff:10.0.0.1", False),
        ({"deny": "10.0.0.0/8"}, "::ffff:a00:1", False),
        ({"deny": "::ffff:10.0.0.0/104"}, "10.0.0.1", False),
        ({"deny": "::/0"}, "::1", False),
        ({"deny": "::/0"}, "10.0.0.1", True),
        ({"deny": "0.0.0.0/0"}, "::ffff:1.2.3.4", False),
        ({"deny": "10.0.0.0/8"}, "testclient", False),
        ({"allow": "10.0.0.0/8"}, "", False),
        ({"allow": "10.0.0.0/8"}, None, True),
        ({"deny": ["0.0.0.0/0", "::/0"]}, None, True),
    ],
)
async def test_networks_say_who_may_call_and_a_denial_wins(network: Any, address: str | None, let_in: bool) -> None:
    app = app_of(network)
    for _ in range(2):
        response = await called(app, address)
        assert (response.error is None) is let_in


async def test_who_may_not_call_is_told_no_more_than_that() -> None:
    error = (await called(app_of({"deny": "10.0.0.0/8"}), "10.0.0.1", credential="made up")).error
    assert isinstance(error, PermissionDeniedError)
    assert (str(error), error.details) == ("this may not be called from there", {})


async def test_who_may_not_call_is_not_told_what_there_is() -> None:
    app = app_of({"allow": "10.0.0.0/8"})
    with pytest.raises(PermissionDeniedError):
        await app.visible(Caller(channel="mcp", address="192.0.2.1"))
    refused = await app.reject(Caller(channel="api", address="192.0.2.1"), MalformedRequestError("not JSON"))
    assert isinstance(refused.error, PermissionDeniedError)


async def test_the_command_line_and_the_application_itself_have_no_address_and_may_call() -> None:
    app = app_of({"allow": "203.0.113.0/24"})
    assert (await app.execute_workflow("hello")).results == "hello"
    async with Client(app_of({"allow": "203.0.113.0/24"}), channel="cli") as client:
        assert await client.execute("hello") == "hello"


async def test_a_refused_address_is_answered_403_over_http() -> None:
    face = asgi(app_of({"deny": "192.0.2.0/24"}))
    async with app_running(face, "192.0.2.1") as client:
        reply = await client.post("/api/workflows/hello/execute")
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")


def test_an_address_is_that_of_its_caller_whatever_it_looks_like() -> None:
    assert owner_of("2001:db8::1") == owner_of("2001:DB8:0:0:ffff::2") == "2001:db8::/64"
    assert owner_of("2001:db8:0:1::1") != owner_of("2001:db8::1")
    assert owner_of("::ffff:192.0.2.1") == owner_of("192.0.2.1") == "192.0.2.1"
    assert owner_of("192.0.2.1") != owner_of("192.0.2.2")
    assert owner_of("somewhere") == "somewhere"


# ---- whom a proxy speaks for

PEER = "10.0.0.1"
V6 = "2001:db8::9"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.3, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("203.0.113.9:4711", "203.0.113.9"),
        (V6, V6),
        (f"[{V6}]", V6),
        (f"[{V6}]:443", V6),
        (f"{V6.upper()}, 2001:db8:ffff::1", V6),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9,10.0.0.2", "203.0.113.9"),
        ("6.6.6.6,garbage, 10.0.0.2", "10.0.0.2"),
        ("garbage, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, ", PEER),
        ("", PEER),
        (",", PEER),
        ("unknown", PEER),
        ("6.6.6.6 7.7.7.7", PEER),
        ("6.6.6.6:port", PEER),
        ("fe80::1%eth0", PEER),
        ("6.6.6", PEER),
        ("06.6.6.6", PEER),
        ("[6.6.6.6", PEER),
        ("6.6.6.6," + "10.0.0.2," * 1000 + "10.0.0.3", "10.0.0.2"),
    ],
)
def test_x_forwarded_for_is_read_from_the_right(header: str, expected: str) -> None:
    assert resolved(x_forwarded_for=header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ("proto=https; For=203.0.113.9", "203.0.113.9"),
        ("for=6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ("for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
        ("for=10.0.0.3,for=10.0.0.2", "10.0.0.3"),
        ('for="203.0.113.9:47011"', "203.0.113.9"),
        (f'for="[{V6}]"', V6),
        (f'for="[{V6}]:47011";proto=http', V6),
        (f'for="[{V6}]:_port"', V6),
        ('for="[2001:db8:ffff::7]:1", for=10.0.0.2', "2001:db8:ffff::7"),
        ('for="\\203.0.113.9"', "203.0.113.9"),
        ("for=unknown", PEER),
        ("for=6.6.6.6, for=unknown", PEER),
        ("for=6.6.6.6, for=unknown, for=10.0.0.2", "10.0.0.2"),
        ("for=_hidden", PEER),
        ('for=6.6.6.6, for="_SEVKISEK", for=10.0.0.2', "10.0.0.2"),
        ("proto=https", PEER),
        ("for=6.6.6.6, proto=https", PEER),
        ("for=6.6.6.6;for=7.7.7.7", PEER),
        (f"for={V6}", PEER),
        (f"for=[{V6}]", PEER),
        (f'for="{V6}"', PEER),
        ("for=6.6.6.6:80", PEER),
        ("6.6.6.6", PEER),
        ("", PEER),
        (",,,", PEER),
        ("for=", PEER),
        ('for="6.6.6.6', PEER),
        # What a caller has opened does not swallow what a proxy has written after it.
        ('for="6.6.6.6, for=203.0.113.9', "203.0.113.9"),
        ('for=6.6.6.6;x=", for="203.0.113.9"', "203.0.113.9"),
        ('for=6.6.6.6;x="\\, for="203.0.113.9:1";proto=http', "203.0.113.9"),
        ('nonsense, for="203.0.113.9"', "203.0.113.9"),
        # What a proxy has quoted is no element.
        ('for=203.0.113.9;host="a,for=6.6.6.6"', "203.0.113.9"),
        ('for=203.0.113.9;host="a,for=\\"6.6.6.6"', "203.0.113.9"),
        ('for=203.0.113.9;host="a,for=6.6.6.6;x=b"', "203.0.113.9"),
        ('for=203.0.113.9;host="a\\\\"', "203.0.113.9"),
        ("for=6.6.6.6," + "for=10.0.0.2," * 1000 + "for=10.0.0.3", "10.0.0.2"),
        ('"' * 5000 + "," * 5000, PEER),
    ],
)
def test_forwarded_is_read_from_the_right(header: str, expected: str) -> None:
    assert resolved(forwarded=header) == expected


def resolved(peer: str = PEER, *, forwarded: str | None = None, x_forwarded_for: str | None = None) -> str | None:
    proxies = TrustedProxies(TRUSTED)
    found = proxies.resolve(Caller(channel="api", address=peer, forwarded=forwarded, x_forwarded_for=x_forwarded_for))
    assert proxies.resolve(found) == found
    return found.address


def test_two_headers_that_agree_are_as_good_as_one() -> None:
    assert resolved(forwarded="for=203.0.113.9", x_forwarded_for="6.6.6.6, 203.0.113.9, 10.0.0.2") == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "x_forwarded_for"),
    [("for=6.6.6.6", "203.0.113.9"), ("for=203.0.113.9", "6.6.6.6"), ("nonsense", "203.0.113.9"), ("for=6.6.6.6", "")],
)
async def test_two_headers_that_disagree_are_refused_for_one_of_them_is_forged(forwarded: str, x_forwarded_for: str) -> None:
    app = app_of({"trusted_proxies": PROXIES})
    error = (await called(app, PEER, forwarded=forwarded, x_forwarded_for=x_forwarded_for)).error
    assert isinstance(error, MalformedRequestError)
    assert "tell of different callers" in str(error)
    with pytest.raises(MalformedRequestError):
        await app.visible(Caller(channel="mcp", address=PEER, forwarded=forwarded, x_forwarded_for=x_forwarded_for))


async def test_a_caller_that_is_denied_can_not_shed_its_address_by_a_second_header() -> None:
    app = app_of({"trusted_proxies": PROXIES, "deny": "203.0.113.9"})
    for forged in ("for=6.6.6.6", "for=unknown", '"', "for=10.0.0.1"):
        assert (await called(app, PEER, forwarded=forged, x_forwarded_for="203.0.113.9")).error is not None


ANY_TEXT = st.text(st.characters(codec="latin-1"), max_size=60)
ADDRESSES = st.ip_addresses().map(str)
UNTRUSTED = ADDRESSES.filter(lambda each: not holds(TRUSTED, parse_address(each) or ip_address("::")))
ELEMENTS = ADDRESSES.map(lambda each: f'for="[{each}]"' if ":" in each else f"for={each}")


@given(
    peer=UNTRUSTED,
    forwarded=st.none() | ANY_TEXT | st.lists(ELEMENTS, min_size=1).map(", ".join),
    x_forwarded_for=st.none() | ANY_TEXT | st.lists(ADDRESSES).map(", ".join),
)
def test_whatever_an_untrusted_peer_sends_its_address_is_its_own(
    peer: str, forwarded: str | None, x_forwarded_for: str | None
) -> None:
    assert resolved(peer, forwarded=forwarded, x_forwarded_for=x_forwarded_for) == peer


@given(written=ANY_TEXT, client=UNTRUSTED)
def test_whatever_a_caller_writes_before_what_a_proxy_writes_its_address_is_its_own(written: str, client: str) -> None:
    node = f'"[{client}]:80"' if ":" in client else client
    expected = str(parse_address(client))
    assert resolved(x_forwarded_for=f"{written}, {client}") == expected
    assert resolved(forwarded=f"{written}, for={node};proto=https") == expected


async def test_what_guards_workflows_and_the_log_see_is_the_address_behind_the_proxy(caplog: pytest.LogCaptureFixture) -> None:
    app = app_of({"trusted_proxies": PROXIES, "deny": "203.0.113.9"})
    with caplog.at_level(logging.INFO, logger="nexus"):
        assert isinstance((await called(app, PEER, x_forwarded_for="203.0.113.9")).error, PermissionDeniedError)
        assert (await called(app, PEER, x_forwarded_for="203.0.113.10")).error is None
        assert (await called(app, "203.0.113.10", x_forwarded_for="203.0.113.9")).error is None
    assert [record.__dict__["nexus"]["address"] for record in caplog.records] == ["203.0.113.9", "203.0.113.10", "203.0.113.10"]


async def test_without_trusted_proxies_the_headers_count_for_nothing() -> None:
    app = app_of({"deny": "10.0.0.1"})
    assert isinstance((await called(app, "10.0.0.1", x_forwarded_for="203.0.113.9")).error, PermissionDeniedError)


def app_running(face: Any, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(face, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("x-forwarded-for", "203.0.113.9")], 403),
        ([("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9")], 403),
        ([("forwarded", "for=6.6.6.6"), ("forwarded", "for=203.0.113.9;proto=http")], 403),
        ([("x-forwarded-for", "203.0.113.9, 6.6.6.6")], 200),
        ([("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.9")], 400),
        ([], 200),
    ],
)
async def test_over_http_and_mcp_the_headers_of_a_trusted_proxy_count(headers: list[tuple[str, str]], status: int) -> None:
    app = app_of({"trusted_proxies": PROXIES, "deny": "203.0.113.9"})
    face = asgi(app)
    async with app_running(face, PEER) as client, app:
        reply = await client.post("/api/workflows/hello/execute", headers=headers)
        listed = await client.post("/mcp", json=LIST, headers=[*headers, *LIST_HEADERS])
    assert reply.status_code == status
    assert ("error" in listed.json()) is (status != 200)


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
LIST_HEADERS = [
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/list"),
]


def test_both_channels_hand_on_headers_that_come_several_times_as_one_list() -> None:
    pairs = [
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"forwarded", b"for=a"),
        (b"x-forwarded-for", b"2.2.2.2"),
        (b"forwarded", b"for=b"),
    ]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": pairs, "client": ("10.0.0.1", 1)}
    for caller in (head_of(scope).caller, caller_of_scope(scope)):
        assert (caller.address, caller.forwarded, caller.x_forwarded_for) == ("10.0.0.1", "for=a, for=b", "1.1.1.1, 2.2.2.2")


# ---- settings


@pytest.mark.parametrize("key", ["allow", "deny", "trusted_proxies"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("10.0.0.0/33", "does not appear to be an IPv4 or IPv6 network"),
        ("localhost", "does not appear to be an IPv4 or IPv6 network"),
        ("", "does not appear to be an IPv4 or IPv6 network"),
        (7, "got 7"),
        ([7], r"got \[7\]"),
        ({"a": 1}, "got {'a': 1}"),
    ],
)
def test_what_is_no_network_is_an_error_that_names_key_and_place(key: str, value: Any, why: str) -> None:
    expected = rf"network\.{key}, given in code: expected networks like '10\.0\.0\.0/8' or '2001:db8::/32', .*{why}"
    with pytest.raises(ConfigurationError, match=expected):
        NexusConfig().merge(network={key: value})


def test_networks_are_read_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nexus.toml").write_text('[network]\nallow = ["10.0.0.0/8", "::1"]\ntrusted_proxies = "192.0.2.1"\n')
    monkeypatch.setenv("NEXUS_NETWORK__DENY", "10.1.0.0/16, 2001:db8::/32")
    network = NexusConfig.from_env().network
    assert [str(each) for each in network.allow] == ["10.0.0.0/8", "::1/128"]
    assert [str(each) for each in network.deny] == ["10.1.0.0/16", "2001:db8::/32"]
    assert [str(each) for each in network.trusted_proxies] == ["192.0.2.1/32"]
    assert NexusConfig().merge(network={"deny": None}).network.deny == ()


def test_without_a_setting_there_is_no_guard_for_it() -> None:
    assert not any(isinstance(guard, NetworkGuard) for guard in app_of().dispatcher.guards)
    assert app_of().dispatcher.proxies is None
