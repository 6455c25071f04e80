"""Who is asking, and what they may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mcp
import pytest

import nexus
from nexus import (
    ConfigurationError,
    Group,
    Nexus,
    NexusConfig,
    NexusError,
    NotFoundError,
    PermissionDeniedError,
    RegistrationError,
    Run,
    UnauthenticatedError,
    WorkflowNotFoundError,
)
from nexus.abc import AccessControl, Authenticator
from nexus.memory import MemorySessionStore
from nexus.models import Call, Caller, Decision, Principal, Request, Response, Role, Session
from nexus.security.access import RoleBasedAccess
from nexus.sessions import token_hash
from nexus.testing import Client
from nexus.testing.recording import Recorder
from nexus_mcp import server
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}

ADA = Principal(id="ada")
CLERK = Principal(id="bob", roles=["clerk"])
CHIEF = Principal(id="carol", roles=["chief"])
ADMIN = Principal(id="dan", roles=["admin"])

ROLES = {
    "clerk": ["workflow:sales.*", "workflows:*"],
    "chief": {"allow": ["reports:*"], "inherits": ["clerk"], "deny": ["workflow:sales.void:*"]},
}

sales = Group("sales")


@sales.workflow
async def order(item: str) -> str:
    """Order something."""
    return f"one {item}"


@sales.workflow
async def void(item: str) -> str:
    """Take an order back."""
    return f"no {item}"


@nexus.workflow(permission="reports:read")
async def report() -> int:
    """Count what was sold."""
    return 3


@nexus.workflow(public=True)
async def hello() -> str:
    """Greet whoever asks."""
    return "hello"


def app_of(config: Mapping[str, Any] | None = None, **options: Any) -> Nexus:
    settings = {"enable_auth": True, "roles": ROLES} if config is None else config
    app = nexus.create_nexus(NexusConfig(**settings), **options)
    app.register(sales, report, hello)
    return app


@pytest.fixture
async def app() -> AsyncIterator[Nexus]:
    async with app_of() as app:
        yield app


async def call(app: Nexus, operation: str, principal: Principal | None = None, /, **arguments: Any) -> Response:
    return await app.dispatch(
        Request(operation=operation, arguments=arguments, caller=Caller(channel="api", principal=principal))
    )


@pytest.mark.parametrize(
    ("principal", "operation", "arguments"),
    [
        (None, "hello", {}),
        (ADA, "hello", {}),
        (CLERK, "sales.order", {"item": "lamp"}),
        (CLERK, "sales.void", {"item": "lamp"}),
        (CHIEF, "sales.order", {"item": "lamp"}),
        (CHIEF, "report", {}),
        (ADMIN, "report", {}),
        (ADMIN, "schedules.list", {}),
    ],
)
async def test_who_may_is_served(app: Nexus, principal: Principal | None, operation: str, arguments: Any) -> None:
    assert (await call(app, operation, principal, **arguments)).error is None


@pytest.mark.parametrize(
    ("principal", "operation", "arguments", "needed"),
    [
        (ADA, "report", {}, "reports:read"),
        (CLERK, "report", {}, "reports:read"),
        (CHIEF, "sales.void", {"item": "lamp"}, "workflow:sales.void:execute"),
        (CLERK, "schedules.list", {}, "schedules:list"),
        (CLERK, "runs.list", {}, "runs:list"),
        (Principal(id="eve", roles=["nothing"]), "sales.order", {"item": "lamp"}, "workflow:sales.order:execute"),
    ],
)
async def test_who_may_not_is_refused(app: Nexus, principal: Principal, operation: str, arguments: Any, needed: str) -> None:
    error = (await call(app, operation, principal, **arguments)).error
    assert isinstance(error, PermissionDeniedError)
    assert (str(error), error.details) == (
        f"{principal.id!r} may not: {operation} needs {needed!r}",
        {"permission": needed},
    )


async def test_without_a_role_one_is_a_user_who_runs_workflows_and_looks_after_runs_and_nothing_else() -> None:
    async with app_of({"enable_auth": True}) as app:
        assert (await call(app, "sales.order", ADA, item="lamp")).error is None
        assert (await call(app, "runs.list", ADA)).error is None
        assert isinstance((await call(app, "report", ADA)).error, PermissionDeniedError)
        assert isinstance((await call(app, "schedules.list", ADA)).error, PermissionDeniedError)


async def test_nobody_in_particular_is_refused_by_every_operation_that_is_not_public(app: Nexus) -> None:
    refused = []
    for operation in app.operations():
        arguments = dict.fromkeys(operation.input_schema.get("required", ()), "x")
        response = await call(app, operation.reference, None, **arguments)
        if isinstance(response.error, UnauthenticatedError):
            refused.append(operation.reference)
    public = ["hello@1", "workflows.get", "workflows.graph", "workflows.list", "workflows.schema"]
    assert sorted({operation.reference for operation in app.operations()} - set(refused)) == public


async def test_a_refusal_comes_before_the_arguments_are_looked_at(app: Nexus) -> None:
    assert isinstance((await call(app, "report", None, wrong=1)).error, UnauthenticatedError)
    assert isinstance((await call(app, "report", CLERK, wrong=1)).error, PermissionDeniedError)


async def test_the_application_itself_may_do_everything(app: Nexus) -> None:
    assert (await app.execute_workflow("report")).results == 3


async def test_a_name_that_is_unknown_is_not_told_to_nobody_in_particular(app: Nexus) -> None:
    assert isinstance((await call(app, "repotr")).error, UnauthenticatedError)
    assert isinstance((await call(app, "repotr", CHIEF)).error, WorkflowNotFoundError)


async def test_only_what_one_may_use_is_suggested(app: Nexus) -> None:
    chief, clerk = (await call(app, "repotr", CHIEF)).error, (await call(app, "repotr", CLERK)).error
    assert (str(chief), str(clerk)) == (
        "there is no operation 'repotr'; did you mean 'report'?",
        "there is no operation 'repotr'",
    )


@pytest.mark.parametrize("channel", ["inprocess", "api", "mcp"])
@pytest.mark.parametrize(
    ("principal", "shown"),
    [
        (None, ["hello"]),
        (CLERK, ["hello", "sales.order", "sales.void"]),
        (CHIEF, ["hello", "report", "sales.order"]),
    ],
)
async def test_a_listing_shows_what_one_may_use(app: Nexus, channel: Any, principal: Principal | None, shown: list[str]) -> None:
    listed = await app.visible(Caller(channel=channel, principal=principal))
    assert [operation.name for operation in listed if operation.kind == "workflow"] == shown


async def test_the_document_of_the_api_has_what_one_may_use(app: Nexus) -> None:
    async with Client(app, channel="api", principal=CLERK) as client:
        assert [each["name"] for each in await client.call("workflows.list")] == ["hello", "sales.order", "sales.void"]
        with pytest.raises(NotFoundError, match="there is no operation 'report'"):
            await client.call("workflows.get", workflow="report")


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_an_mcp_client_is_shown_the_tools_that_it_may_call(app: Nexus, mode: Any) -> None:
    recorder = Recorder(app)
    recorder.verified = CLERK
    async with mcp.Client(server(recorder), mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["hello", "sales_order", "sales_void"]
        refused: Any = (await client.call_tool("report", {})).structured_content
        assert refused["code"] == "permission_denied"


async def test_an_mcp_client_whose_credential_is_bad_is_shown_no_tools() -> None:
    app = app_of()
    face = asgi(app)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/list",
        "authorization": "Bearer nothing",
    }
    transport = httpx.ASGITransport(face)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        reply = await client.post("/mcp", json=body, headers=headers)
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.json()["error"]["data"]["code"] == "unauthenticated"


async def test_what_a_workflow_calls_its_caller_has_to_be_allowed() -> None:
    @nexus.workflow(public=True)
    async def outer(*, run: Run) -> int:
        found: int = await run.execute("report")
        return found

    app = app_of()
    app.register(outer)
    async with app:
        with pytest.raises(NexusError) as caught:
            await app.execute_workflow(outer, principal=CLERK)
        assert isinstance(caught.value.__cause__, PermissionDeniedError)
        assert (await app.execute_workflow(outer, principal=CHIEF)).results == 3
        assert (await app.execute_workflow(outer)).results == 3


async def test_without_authentication_everybody_may_do_everything() -> None:
    async with app_of({}) as app:
        assert (await call(app, "report")).data == 3
        assert (await call(app, "schedules.list")).error is None


# ---- credentials


class Badges(Authenticator):
    """Knows credentials that begin with `badge-`."""

    async def authenticate(self, credential: str, *, now: datetime) -> Principal | None:
        """See `Authenticator.authenticate`."""
        if not credential.startswith("badge-"):
            return None
        if credential == "badge-lost":
            raise UnauthenticatedError("the badge was lost")
        return Principal(id=credential.removeprefix("badge-"), roles=["chief"], tenant_id="north")


async def asked(app: Nexus, credential: str | None) -> Response:
    return await app.dispatch(Request(operation="report", arguments={}, caller=Caller(channel="api", credential=credential)))


async def test_an_authenticator_says_who_has_a_credential_and_then_callers_have_to_be_known() -> None:
    async with app_of({"roles": ROLES}, authenticators=[Badges()]) as app:
        response = await asked(app, "badge-erin")
        assert response.run is not None
        assert (response.data, response.run.principal, response.run.tenant) == (3, "erin", "north")
        for credential, message in (
            (None, "this needs a caller who is known"),
            ("badge-lost", "was lost"),
            ("key", "not one that"),
        ):
            error = (await asked(app, credential)).error
            assert isinstance(error, UnauthenticatedError)
            assert message in str(error)


async def test_the_token_of_a_session_is_a_credential() -> None:
    store = MemorySessionStore()
    async with app_of(session_store=store, authenticators=[Badges()]) as app:
        now = app.clock.now()
        session = Session(id="s", principal=CHIEF, created_at=now, expires_at=now + timedelta(minutes=1))
        await store.add(session, token_hash=token_hash("secret"))
        response = await asked(app, "secret")
        assert response.run is not None
        assert (response.data, response.run.principal, response.run.session) == (3, "carol", "s")


async def test_access_control_of_ones_own_decides() -> None:
    class Weekdays(AccessControl):
        def __init__(self) -> None:
            self.asked: list[tuple[str, str]] = []

        async def decide(self, call: Call, permission: str) -> Decision:
            self.asked.append((call.principal.id, permission))
            return Decision(allowed=permission == "reports:read", reason="it is Sunday")

    access = Weekdays()
    async with app_of(access_control=access) as app:
        assert (await call(app, "report", ADA)).data == 3
        assert isinstance((await call(app, "sales.order", ADA, item="lamp")).error, PermissionDeniedError)
    assert access.asked == [("ada", "reports:read"), ("ada", "workflow:sales.order:execute")]


# ---- roles


@pytest.mark.parametrize(
    ("roles", "permission", "allowed"),
    [
        ({"admin"}, "anything:at:all", True),
        ({"a"}, "workflow:x:execute", True),
        ({"a"}, "workflow:xy:execute", False),
        ({"a", "b"}, "workflow:xy:execute", True),
        ({"b"}, "workflow:xz:execute", False),
        ({"a", "no"}, "workflow:x:execute", False),
        ({"heir"}, "workflow:x:execute", True),
        ({"heir"}, "workflow:xz:execute", False),
        ({"heir"}, "files:read", True),
        ({"grandchild"}, "workflow:x:execute", False),
        ({"unheard of"}, "workflow:x:execute", False),
        (set(), "workflow:x:execute", True),
        (set(), "schedules:pause", False),
    ],
)
async def test_roles_are_patterns_where_a_denial_wins(roles: set[str], permission: str, allowed: bool) -> None:
    access = RoleBasedAccess(
        {
            "a": Role(allow=["workflow:x:execute"]),
            "b": Role(allow=["workflow:x?:*"], deny=["workflow:xz:*"]),
            "no": Role(deny=["*"]),
            "heir": Role(allow=["files:*"], inherits=["a", "b"]),
            "grandchild": Role(inherits=["heir"], deny=["workflow:*"]),
        }
    )
    asked: Any = type("Asked", (), {"principal": Principal(id="x", roles=roles)})
    for _ in range(2):
        assert (await access.decide(asked, permission)).allowed is allowed


def test_what_is_built_in_can_be_replaced() -> None:
    assert RoleBasedAccess({"user": Role()}).roles["user"] == Role()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"a": Role(inherits=["b"])}, "roles.a: there is no role 'b' to inherit; there are: a, admin, user"),
        ({"a": Role(inherits=["b"]), "b": Role(inherits=["a"])}, "a inherits b inherits a; a role can't inherit from itself"),
    ],
)
def test_a_role_that_inherits_from_nothing_is_an_error(roles: dict[str, Role], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        nexus.create_nexus(NexusConfig(roles=roles))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a"], "roles: expected roles by name"),
        ({"a": "workflow:*"}, "a.allow: expected a list of patterns"),
        ({"a": {"allows": []}}, "a: expected allow, deny, inherits, got allows"),
        ({"a": {"allow": [1]}}, "a.allow: expected a list of patterns"),
        ({"a": 3}, "a.allow: expected a list of patterns"),
        ("{", "roles: "),
    ],
)
def test_roles_that_are_none_are_an_error(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NexusConfig(roles=value)


def test_roles_are_read_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nexus.toml").write_text(
        'enable_auth = true\n[roles]\nclerk = ["workflow:sales.*"]\n[roles.chief]\ninherits = ["clerk"]\ndeny = ["runs:*"]\n'
    )
    expected = {"clerk": Role(allow=["workflow:sales.*"]), "chief": Role(inherits=["clerk"], deny=["runs:*"])}
    assert (NexusConfig.from_env().enable_auth, NexusConfig.from_env().roles) == (True, expected)
    monkeypatch.setenv("NEXUS_ROLES", '{"guest": ["workflow:hello:*"]}')
    assert NexusConfig.from_env().roles == {"guest": Role(allow=["workflow:hello:*"])}


# ---- registration


@pytest.mark.parametrize("permission", ["", "two words", "reports:*", 3])
def test_a_permission_is_a_name(permission: Any) -> None:
    with pytest.raises(RegistrationError, match=r"permission=.*: give a name like 'reports:read'"):
        nexus.workflow(permission=permission)(report)


def test_what_is_public_needs_no_permission() -> None:
    with pytest.raises(RegistrationError, match="public=True lets everybody in"):
        nexus.workflow(public=True, permission="reports:read")(report)


def test_a_group_gives_its_workflows_a_permission_unless_they_have_one() -> None:
    group = Group("desk", permission="desk:use")

    @group.workflow
    async def plain() -> int:
        return 1

    @group.workflow(permission="desk:manage")
    async def special() -> int:
        return 2

    @group.workflow(public=True)
    async def shown() -> int:
        return 3

    app = nexus.create_nexus(NexusConfig())
    app.register(group)
    found = {
        operation.name: (operation.permission, operation.public) for operation in app.operations() if operation.kind == "workflow"
    }
    assert found == {
        "desk.plain": ("desk:use", False),
        "desk.special": ("desk:manage", False),
        "desk.shown": ("workflow:desk.shown:execute", True),
    }
