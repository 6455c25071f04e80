"""Sessions and API keys: opened, known again, ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import anyio
import attrs
import httpx
import pytest

import nexus
from nexus import (
    ConfigurationError,
    ConflictError,
    InvalidArgumentError,
    Nexus,
    NexusConfig,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    Run,
    UnauthenticatedError,
)
from nexus.memory import MemoryKeyStore, MemorySessionStore
from nexus.models import ANONYMOUS, APPLICATION, Caller, Principal, Request, Response
from nexus.testing import Client, FakeClock
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio

ADA = Principal(id="ada", roles=["user", "finance"], attributes={"team": "weather"})
BOB = Principal(id="bob")
ADMIN = Principal(id="root", roles=["admin"])
NORTH = Principal(id="nora", roles=["admin"], tenant_id="north")
MINUTE = timedelta(minutes=1)
MODERN = "2026-07-28"


@nexus.workflow
async def whoami(run: Run) -> Mapping[str, Any]:
    """Say who is asking."""
    return {**run.principal.view(), "session": run.session.id, "attributes": run.principal.attributes}


@nexus.workflow
async def report() -> int:
    return 3


def app_of(clock: FakeClock | None = None, **settings: Any) -> Nexus:
    stores = {name: settings.pop(name) for name in ("session_store", "key_store") if name in settings}
    app = nexus.create_nexus(NexusConfig(**{"enable_auth": True, **settings}), clock=clock or FakeClock(), **stores)
    app.register(whoami, report)
    return app


@pytest.fixture
async def app() -> AsyncIterator[Nexus]:
    async with app_of() as app:
        yield app


async def call(app: Nexus, operation: str, who: str | Principal | None = None, /, **arguments: Any) -> Any:
    """Call as the bearer of a credential, or as somebody whom the channel has verified; raise why it failed."""
    credential = who if isinstance(who, str) else None
    caller = Caller(channel="api", credential=credential, principal=who if isinstance(who, Principal) else None)
    response: Response = await app.dispatch(Request(operation=operation, arguments=arguments, caller=caller))
    if response.error is not None:
        raise response.error
    return response.data


# ---- sessions


async def test_the_token_of_a_session_stands_for_its_principal(app: Nexus) -> None:
    session, token = await app.open_session(ADA)
    shown = await call(app, "whoami", token)
    assert (shown["principal"], shown["roles"], shown["session"]) == ("ada", ["finance", "user"], session.id)
    assert shown["attributes"] == {"team": "weather"}
    assert session.id not in token


async def test_a_session_is_opened_by_a_call_and_shown_by_another(app: Nexus) -> None:
    opened = await call(app, "sessions.open", ADA)
    assert opened["token"].startswith("nxs_")
    current = await call(app, "sessions.current", opened["token"])
    assert (current["principal"], current["session"]["session_id"]) == ("ada", opened["session_id"])
    assert "token" not in current["session"]
    assert (await call(app, "sessions.current", ADA))["session"] is None


async def test_a_session_without_a_call_expires_and_with_calls_lasts_its_lifetime() -> None:
    clock = FakeClock()
    async with app_of(clock, session_timeout="30 min", session_lifetime="2 h") as app:
        _, idle = await app.open_session(ADA)
        _, busy = await app.open_session(ADA)
        for _ in range(5):
            await clock.advance(20 * MINUTE)
            await call(app, "report", busy)
        with pytest.raises(UnauthenticatedError, match="it has expired"):
            await call(app, "report", idle)
        await clock.advance(19 * MINUTE)
        await call(app, "report", busy)
        await clock.advance(MINUTE)
        with pytest.raises(UnauthenticatedError):
            await call(app, "report", busy)


async def test_a_session_is_not_written_at_every_call() -> None:
    clock, store = FakeClock(), MemorySessionStore()
    async with app_of(clock, session_store=store) as app:
        session, token = await app.open_session(ADA)
        for _ in range(10):
            await call(app, "report", token)
            await clock.advance(MINUTE)
        versions = (await call(app, "sessions.current", token))["session"]["version"] - session.version
        assert 1 <= versions <= 4


async def test_a_token_is_good_for_nothing_once_its_session_was_replaced(app: Nexus) -> None:
    first = await call(app, "sessions.open", ADA)
    await call(app, "sessions.change", first["token"], state={"cart": [1]}, version=first["version"])
    second = await call(app, "sessions.open", first["token"])
    assert (second["state"], second["session_id"] != first["session_id"]) == ({"cart": [1]}, True)
    with pytest.raises(UnauthenticatedError):
        await call(app, "report", first["token"])
    assert await call(app, "report", second["token"]) == 3


@pytest.mark.parametrize("how", ["end", "revoke", "admin"])
async def test_an_ended_session_is_refused_at_once(app: Nexus, how: str) -> None:
    opened = await call(app, "sessions.open", ADA)
    if how == "end":
        await call(app, "sessions.end", opened["token"])
    elif how == "revoke":
        await call(app, "sessions.revoke", ADA, session_id=opened["session_id"])
    else:
        await call(app, "admin.sessions.revoke", ADMIN, session_id=opened["session_id"])
    with pytest.raises(UnauthenticatedError):
        await call(app, "report", opened["token"])


async def test_what_is_kept_in_a_session_changes_by_compare_and_set(app: Nexus) -> None:
    opened = await call(app, "sessions.open", ADA)
    changed = await call(app, "sessions.change", opened["token"], state={"a": 1}, version=opened["version"])
    assert (changed["state"], changed["version"]) == ({"a": 1}, opened["version"] + 1)
    with pytest.raises(ConflictError):
        await call(app, "sessions.change", opened["token"], state={"a": 2}, version=opened["version"])
    with pytest.raises(NotFoundError, match="in no session that is kept"):
        await call(app, "sessions.change", ADA, state={}, version=1)


async def test_each_sees_and_ends_their_own_sessions_only(app: Nexus) -> None:
    ada = await call(app, "sessions.open", ADA)
    bob = await call(app, "sessions.open", BOB)
    assert [each["session_id"] for each in (await call(app, "sessions.list", BOB))["items"]] == [bob["session_id"]]
    with pytest.raises(NotFoundError):
        await call(app, "sessions.revoke", BOB, session_id=ada["session_id"])
    for operation in ("admin.sessions.list", "admin.keys.list"):
        with pytest.raises(PermissionDeniedError):
            await call(app, operation, BOB)
    assert len((await call(app, "admin.sessions.list", ADMIN))["items"]) == 2


async def test_an_administrator_of_a_tenant_reaches_that_tenant_only(app: Nexus) -> None:
    north = await call(app, "sessions.open", attrs.evolve(BOB, tenant_id="north"))
    south = await call(app, "sessions.open", attrs.evolve(BOB, tenant_id="south"))
    assert [each["session_id"] for each in (await call(app, "admin.sessions.list", NORTH))["items"]] == [north["session_id"]]
    with pytest.raises(NotFoundError):
        await call(app, "admin.sessions.revoke", NORTH, session_id=south["session_id"])
    await call(app, "admin.sessions.revoke", ADMIN, session_id=south["session_id"])


async def test_one_session_too_many_ends_the_oldest() -> None:
    clock = FakeClock()
    async with app_of(clock, max_sessions_per_principal=2) as app:
        tokens = []
        for _ in range(3):
            tokens.append((await call(app, "sessions.open", ADA))["token"])
            await clock.advance(1)
        await call(app, "sessions.open", BOB)
        with pytest.raises(UnauthenticatedError):
            await call(app, "report", tokens[0])
        assert [await call(app, "report", token) for token in tokens[1:]] == [3, 3]


async def test_one_session_too_many_can_be_refused() -> None:
    async with app_of(max_sessions_per_principal=1, session_overflow="refuse") as app:
        await call(app, "sessions.open", ADA)
        with pytest.raises(ResourceExhaustedError, match="'ada' has 1 sessions, and may have no more"):
            await call(app, "sessions.open", ADA)
        await call(app, "sessions.open", BOB)


async def test_a_store_that_is_full_of_live_sessions_refuses_and_expired_ones_are_swept() -> None:
    clock, store = FakeClock(), MemorySessionStore(2)
    async with app_of(clock, session_store=store) as app:
        await app.open_session(ADA)
        await app.open_session(BOB)
        with pytest.raises(ResourceExhaustedError):
            await app.open_session(ADMIN)
        await clock.advance(timedelta(hours=1))
        assert await store.prune(now=clock.now()) == 0
        await app.open_session(ADMIN)


async def test_nobody_in_particular_has_a_session_only_where_callers_need_not_be_known(app: Nexus) -> None:
    with pytest.raises(UnauthenticatedError):
        await call(app, "sessions.open")
    async with app_of(enable_auth=False) as open_to_all:
        opened = await call(open_to_all, "sessions.open")
        assert opened["principal"] == ANONYMOUS.id
        assert (await call(open_to_all, "whoami", opened["token"]))["session"] == opened["session_id"]
        listed = await call(open_to_all, "sessions.list", opened["token"])
        assert [each["session_id"] for each in listed["items"]] == [opened["session_id"]]
        await call(open_to_all, "sessions.open")
        assert len((await call(open_to_all, "sessions.list", opened["token"]))["items"]) == 1


async def test_the_application_itself_has_no_session(app: Nexus) -> None:
    for principal in (APPLICATION, Principal(id="application")):
        with pytest.raises(PermissionDeniedError, match="a key to everything"):
            await app.open_session(principal)


async def test_anonymous_calls_keep_no_session() -> None:
    store = MemorySessionStore(1)
    async with app_of(session_store=store, enable_auth=False) as app:
        for _ in range(1000):
            await call(app, "report")
        await call(app, "sessions.open")


# ---- API keys


async def issued(app: Nexus, who: Principal = ADA, **arguments: Any) -> Any:
    return await call(app, "keys.issue", who, name="script", **arguments)


async def test_a_key_stands_for_its_principal_on_every_call(app: Nexus) -> None:
    key = await issued(app)
    assert key["key"].startswith(f"nxk_{key['key_id']}_")
    shown = await call(app, "whoami", key["key"])
    assert (shown["principal"], shown["roles"], shown["attributes"]) == ("ada", ["finance", "user"], {"team": "weather"})


async def test_a_key_is_shown_once(app: Nexus) -> None:
    key = await issued(app)
    (listed,) = (await call(app, "keys.list", ADA))["items"]
    assert (listed["key_id"], listed["name"], listed["issuer"]) == (key["key_id"], "script", "ada")
    assert key["key"].rpartition("_")[2] not in repr(listed)
    assert (await call(app, "keys.list", BOB))["items"] == []


async def test_what_is_kept_of_a_key_is_a_keyed_hash() -> None:
    store = MemoryKeyStore()
    async with app_of(key_store=store, secret_keys=["an old secret key", "an older secret key"]) as app:
        key = await issued(app)
        _, kept = await store.find(key["key_id"])
        assert key["key"].encode() not in kept
    async with app_of(key_store=store, secret_keys=["a new secret key!", "an old secret key"]) as rotated:
        assert await call(rotated, "report", key["key"]) == 3
    async with app_of(key_store=store, secret_keys=["a new secret key!"]) as other:
        with pytest.raises(UnauthenticatedError):
            await call(other, "report", key["key"])


@pytest.mark.parametrize("tampered", ["{0}x", "nxk_{1}_", "nxk_{1}", "nxk__{2}", "nxk_0000000000000000_{2}", "nxk_{1}_\udcff"])
async def test_a_key_that_is_not_whole_is_refused(app: Nexus, tampered: str) -> None:
    key = await issued(app)
    text = tampered.format(key["key"], key["key_id"], key["key"].split("_", 2)[2])
    with pytest.raises(UnauthenticatedError, match="not one that this application knows"):
        await call(app, "report", text)


async def test_a_key_expires() -> None:
    clock = FakeClock()
    async with app_of(clock) as app:
        key = await issued(app, days=1)
        await clock.advance(timedelta(hours=23))
        assert await call(app, "report", key["key"]) == 3
        await clock.advance(timedelta(hours=1))
        with pytest.raises(UnauthenticatedError, match="has expired, at 2026-01-02T00:00:00"):
            await call(app, "report", key["key"])


async def test_a_revoked_key_is_refused_at_once(app: Nexus) -> None:
    first, second = await issued(app), await issued(app)
    with pytest.raises(NotFoundError):
        await call(app, "keys.revoke", BOB, key_id=first["key_id"])
    await call(app, "keys.revoke", ADA, key_id=first["key_id"])
    await call(app, "admin.keys.revoke", ADMIN, key_id=second["key_id"])
    for key in (first, second):
        with pytest.raises(UnauthenticatedError):
            await call(app, "report", key["key"])


async def test_a_key_is_limited_to_its_scopes_and_so_is_a_session_that_it_opens(app: Nexus) -> None:
    key = await issued(app, scopes=["workflow:report:*", "sessions:*"])
    session = await call(app, "sessions.open", key["key"])
    for credential in (key["key"], session["token"]):
        assert await call(app, "report", credential) == 3
        with pytest.raises(PermissionDeniedError, match="whoami needs 'workflow:whoami:execute'"):
            await call(app, "whoami", credential)
    assert [each.name for each in await app.visible(Caller(channel="api", credential=key["key"])) if each.kind == "workflow"] == [
        "report"
    ]


# ---- nobody gets more than they have


async def test_a_key_that_is_limited_issues_no_keys(app: Nexus) -> None:
    key = await issued(app, scopes=["keys:*"])
    with pytest.raises(PermissionDeniedError, match="a credential that is limited"):
        await call(app, "keys.issue", key["key"], name="wider")


async def test_nobody_gives_a_role_that_they_have_not(app: Nexus) -> None:
    with pytest.raises(PermissionDeniedError, match="'ada' has no role 'admin' to give"):
        await issued(app, roles=["admin", "finance"])
    key = await issued(app, roles=["user"])
    assert (await call(app, "whoami", key["key"]))["roles"] == ["user"]


async def test_a_helper_of_administrators_gives_their_own_roles_only() -> None:
    roles = {"helper": ["admin:keys:*", "roles:guest:grant"]}
    async with app_of(roles=roles) as app:
        helper = Principal(id="henry", roles=["helper"])
        await call(app, "admin.keys.issue", helper, name="n", principal="gus", roles=["guest", "helper"])
        with pytest.raises(PermissionDeniedError, match="needs 'roles:admin:grant'"):
            await call(app, "admin.keys.issue", helper, name="n", principal="gus", roles=["admin"])
        key = await call(app, "admin.keys.issue", ADMIN, name="n", principal="gus", roles=["admin"])
        assert len((await call(app, "admin.keys.list", key["key"]))["items"]) == 2


async def test_an_administrator_of_a_tenant_issues_keys_of_that_tenant_only(app: Nexus) -> None:
    key = await call(app, "admin.keys.issue", NORTH, name="n", principal="gus")
    assert key["tenant"] == "north"
    with pytest.raises(PermissionDeniedError, match="issues no keys for another"):
        await call(app, "admin.keys.issue", NORTH, name="n", principal="gus", tenant="south")
    south = await call(app, "admin.keys.issue", ADMIN, name="n", principal="gus", tenant="south")
    assert [each["key_id"] for each in (await call(app, "admin.keys.list", NORTH))["items"]] == [key["key_id"]]
    with pytest.raises(NotFoundError):
        await call(app, "admin.keys.revoke", NORTH, key_id=south["key_id"])


@pytest.mark.parametrize("name", ["application", "anonymous"])
async def test_nobody_is_issued_a_key_of_the_application_or_of_nobody(app: Nexus, name: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await call(app, "admin.keys.issue", ADMIN, name="n", principal=name)
    assert caught.value.problems[0].pointer == "/principal"


async def test_who_comes_by_the_name_of_the_application_is_refused() -> None:
    class Careless(nexus.abc.Authenticator):
        async def authenticate(self, credential: str, *, now: Any) -> Principal | None:
            return Principal(id=credential)

    app = nexus.create_nexus(NexusConfig(), authenticators=[Careless()])
    app.register(report)
    async with app:
        assert await call(app, "report", "gus") == 3
        for name in ("application", "anonymous"):
            with pytest.raises(UnauthenticatedError, match=f"nobody may be called '{name}'"):
                await call(app, "report", name)


# ---- on every channel


@pytest.mark.parametrize("prefix", ["", "admin."])
async def test_sessions_and_keys_over_rest(app: Nexus, prefix: str) -> None:
    async with Client(app, channel="api", principal=ADMIN) as client:
        session = await client.call("sessions.open")
        assert session["token"].startswith("nxs_")
        assert (await client.call("sessions.current"))["session"] is None
        listed = await client.call(f"{prefix}sessions.list", limit=1)
        assert [each["session_id"] for each in listed["items"]] == [session["session_id"]]
        await client.call(f"{prefix}sessions.revoke", session_id=session["session_id"])
        who = {"principal": "gus"} if prefix else {}
        key = await client.call(f"{prefix}keys.issue", name="script", days=3, **who)
        assert [each["key_id"] for each in (await client.call(f"{prefix}keys.list"))["items"]] == [key["key_id"]]
        assert await call(app, "report", key["key"]) == 3
        await client.call(f"{prefix}keys.revoke", key_id=key["key_id"])
        with pytest.raises(UnauthenticatedError):
            await call(app, "report", key["key"])


async def test_one_token_is_good_over_rest_and_mcp_and_ends_on_both_at_once() -> None:
    app = app_of()
    face = asgi(app)
    transport = httpx.ASGITransport(face)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        _, token = await app.open_session(ADA)
        bearer = {"authorization": f"Bearer {token}"}

        async def rest() -> httpx.Response:
            return await http.post("/api/workflows/whoami/execute", headers=bearer)

        async def mcp() -> httpx.Response:
            about = {"protocolVersion": MODERN, "clientInfo": {"name": "t", "version": "1"}, "clientCapabilities": {}}
            meta = {f"io.modelcontextprotocol/{name}": value for name, value in about.items()}
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "_meta": meta}}
            accept = "application/json, text/event-stream"
            headers = {"accept": accept, "mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "whoami"}
            return await http.post("/mcp", json=call, headers={**headers, **bearer})

        assert (await rest()).json()["data"]["results"]["principal"] == "ada"
        assert (await mcp()).json()["result"]["structuredContent"]["principal"] == "ada"
        current = await http.get("/api/sessions/current", headers=bearer)
        assert current.json()["data"]["session"]["session_id"]
        changed = await http.put("/api/sessions/current", json={"state": {"a": 1}, "version": 1}, headers=bearer)
        assert changed.json()["data"]["state"] == {"a": 1}
        assert (await http.delete("/api/sessions/current", headers=bearer)).status_code == 200
        assert [(await rest()).status_code, (await mcp()).status_code] == [401, 401]


async def test_what_shows_a_secret_is_kept_by_no_cache_and_a_token_is_no_part_of_an_address() -> None:
    app = app_of(enable_auth=False)
    face = asgi(app)
    async with app, httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url="http://localhost") as http:
        opened = await http.post("/api/sessions")
        assert opened.headers["cache-control"] == "no-store"
        token = opened.json()["data"]["token"]
        shown = await http.get("/api/sessions/current")
        assert shown.json()["data"]["session"] is None
        for name in ("token", "access_token", "authorization"):
            refused = await http.get("/api/sessions/current", params={name: token})
            assert refused.status_code == 422
        wrong = await http.patch("/api/sessions/current")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, PUT, DELETE")


async def test_the_document_of_the_api_describes_sessions_and_keys() -> None:
    app = app_of(enable_auth=False)
    face = asgi(app)
    async with app, httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url="http://localhost") as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    issue = paths["/api/admin/keys"]["post"]
    body = issue["requestBody"]["content"]["application/json"]["schema"]
    assert (issue["operationId"], body["required"]) == ("admin_keys_issue", ["name", "principal"])
    assert [each.get("name") for each in paths["/api/sessions"]["get"]["parameters"]] == [None, "after", "limit"]
    assert sorted(paths["/api/sessions/current"]) == ["delete", "get", "put"]
    assert "delete" in paths["/api/keys/{key_id}"]


# ---- settings


@pytest.mark.parametrize("value", ["short", ["short"], [3], "env:NEXUS_NOT_THERE_AT_ALL", "file:/nowhere/at/all"])
def test_a_secret_key_that_is_none_is_an_error_that_does_not_show_it(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret_keys") as caught:
        NexusConfig(secret_keys=value)
    assert "short" not in str(caught.value)


def test_secret_keys_are_read_from_where_they_are_kept_and_not_shown(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("out of a file ...\n")
    monkeypatch.setenv("DESK_KEY", "out of the environment")
    config = NexusConfig(secret_keys=[f"file:{tmp_path / 'key'}", "env:DESK_KEY"])
    assert config.secret_keys == ("out of a file ...", "out of the environment")
    assert "out of" not in repr(config)


def test_what_one_session_too_many_does_is_one_of_two() -> None:
    with pytest.raises(ConfigurationError, match="session_overflow: expected drop_oldest or refuse, got 'maybe'"):
        NexusConfig(session_overflow="maybe")  # type: ignore[arg-type]


async def test_sessions_are_found_while_others_are_opened(app: Nexus) -> None:
    _, token = await app.open_session(ADA)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(app.open_session, BOB)
            tasks.start_soon(call, app, "report", token)
