"""Who asks too often, and what is said of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import mcp
import pytest
from mcp_types import ElicitResult

import nexus
from nexus import Group, Nexus, NexusConfig, Run
from nexus.abc import Authenticator
from nexus.exceptions import MalformedRequestError, NexusError, RateLimitError, UnauthenticatedError
from nexus.models import Caller, Principal, Quota, Rate, Request, Response
from nexus.security.limiter import Limiter
from nexus.security.rates import AddressRateGuard, PrincipalRateGuard
from nexus.testing import Client, FakeClock
from nexus_click import invoke
from nexus_mcp import server
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio

ADA = Principal(id="ada")
BOB = Principal(id="bob")
HERE = "192.0.2.1"
THERE = "192.0.2.2"


@nexus.workflow
async def hello() -> str:
    """Greet whoever asks."""
    return "hello"


@nexus.workflow(rate_limit="2/minute")
async def costly() -> str:
    """Do something that costs."""
    return "done"


def app_of(clock: FakeClock | None = None, /, **settings: Any) -> Nexus:
    options = {name: settings.pop(name) for name in ("guards", "authenticators") if name in settings}
    app = nexus.create_nexus(NexusConfig().merge(**settings), clock=clock or FakeClock(), **options)
    app.register(hello, costly)
    return app


async def ask(app: Nexus, principal: Principal | None = None, operation: str = "hello", **of_caller: Any) -> Response:
    caller = Caller(**{"channel": "api", "principal": principal, **of_caller})
    return await app.dispatch(Request(operation=operation, arguments={}, caller=caller))


async def passed(app: Nexus, times: int, principal: Principal | None = None, **of_caller: Any) -> int:
    """Return how many of so many calls passed; the others were refused for their number."""
    responses = [await ask(app, principal, **of_caller) for _ in range(times)]
    assert {response.error.code for response in responses if response.error is not None} <= {"resource_exhausted"}
    return sum(response.error is None for response in responses)


# ---- by address


async def test_an_address_may_call_so_often_whoever_it_says_it_is() -> None:
    clock = FakeClock()
    app = app_of(clock, address_rate_limit="3/minute")
    assert await passed(app, 5, ADA, address=HERE) == 3
    assert await passed(app, 1, BOB, address=HERE) == 0
    assert await passed(app, 1, address=HERE, channel="mcp") == 0
    assert await passed(app, 5, address=THERE) == 3
    assert await passed(app, 5, ADA) == 5
    await clock.advance(60)
    assert await passed(app, 5, ADA, address=HERE) == 3


async def test_a_network_of_ipv6_is_one_address() -> None:
    app = app_of(address_rate_limit="2/minute")
    assert await passed(app, 1, address="2001:db8::1") + await passed(app, 5, address="2001:db8::2") == 2
    assert await passed(app, 1, address="2001:db8:0:1::1") == 1
    assert await passed(app, 2, address="::ffff:192.0.2.1") + await passed(app, 2, address=HERE) == 2


async def test_whoever_tries_credentials_is_stopped_before_they_are_looked_at() -> None:
    app = app_of(address_rate_limit="2/minute", authenticators=[Badges()])
    codes = [error_of(await ask(app, address=HERE, credential=f"badge-{number}")).code for number in range(3)]
    assert codes == ["unauthenticated", "unauthenticated", "resource_exhausted"]


async def test_messages_that_are_no_requests_and_listings_count_too() -> None:
    app = app_of(address_rate_limit="2/minute")
    caller = Caller(channel="mcp", address=HERE)
    assert error_of(await app.reject(caller, MalformedRequestError("no"))).code == "malformed_request"
    await app.visible(caller)
    with pytest.raises(RateLimitError):
        await app.visible(caller)
    refused = await app.reject(caller, MalformedRequestError("no"))
    assert (error_of(refused).code, len(refused.quotas)) == ("resource_exhausted", 1)


async def test_behind_a_trusted_proxy_each_of_its_callers_is_counted_by_itself() -> None:
    app = app_of(address_rate_limit="2/minute", network={"trusted_proxies": "10.0.0.1"})
    assert await passed(app, 3, address="10.0.0.1", x_forwarded_for=HERE) == 2
    assert await passed(app, 3, address="10.0.0.1", x_forwarded_for=THERE) == 2
    assert await passed(app, 1, address="10.0.0.1", x_forwarded_for=f"6.6.6.6, {HERE}") == 0


# ---- by principal


async def test_a_principal_has_one_limit_over_all_channels() -> None:
    app = app_of(rate_limit="4/minute")
    assert await passed(app, 2, ADA, channel="api", address=HERE) == 2
    assert await passed(app, 9, ADA, channel="mcp", address=THERE) == 2
    assert await passed(app, 1, ADA, channel="cli") == 0
    assert await passed(app, 9, BOB, channel="api", address=HERE) == 4
    assert await passed(app, 1, Principal(id="ada", tenant_id="north")) == 1


async def test_a_channel_may_have_a_limit_of_its_own() -> None:
    app = app_of(rate_limit="5/minute", channels={"api": {"rate_limit": "2/minute"}, "mcp": {"rate_limit": "2/minute"}})
    assert await passed(app, 9, ADA, channel="api") == 2
    assert await passed(app, 9, ADA, channel="mcp") == 2
    assert await passed(app, 9, ADA, channel="cli") == 1
    assert await passed(app, 9, BOB, channel="api") == 2


async def test_nobody_in_particular_is_counted_by_address_and_without_one_by_channel() -> None:
    app = app_of(rate_limit="2/minute")
    assert await passed(app, 9, address=HERE) == 2
    assert await passed(app, 9, address=THERE) == 2
    assert await passed(app, 9, channel="cli") == 2
    assert await passed(app, 9, channel="mcp") == 2


async def test_the_application_itself_and_what_runs_ask_for_are_never_refused() -> None:
    @nexus.workflow
    async def outer(*, run: Run) -> int:
        return len([await run.execute("costly") for _ in range(5)])

    app = app_of(rate_limit="1/minute")
    app.register(outer)
    assert [(await app.execute_workflow("costly")).results for _ in range(5)] == ["done"] * 5
    assert (await ask(app, ADA, "outer")).data == 5
    assert await passed(app, 1, ADA) == 0


async def test_a_refused_call_counts_against_nothing() -> None:
    clock = FakeClock()
    app = app_of(clock, rate_limit="2/minute; 3/hour")
    assert await passed(app, 9, ADA) == 2
    await clock.advance(60)
    assert await passed(app, 9, ADA) == 1
    await clock.advance(60)
    refused = error_of(await ask(app, ADA))
    assert refused.details == {"retry_after": 3480, "violated_policies": ["principal-3600s"]}


async def test_what_a_channel_asks_for_its_caller_counts_on_that_channel() -> None:
    app = app_of(channels={"mcp": {"rate_limit": "2/minute"}})
    assert await passed(app, 1, channel="mcp") == 1
    assert await passed(app, 9, channel="inprocess", owner="mcp") == 1
    assert await passed(app, 9, channel="inprocess") == 9


async def test_an_mcp_client_that_answers_a_question_is_counted_too() -> None:
    @nexus.workflow
    async def asks(*, run: Run) -> bool:
        return await run.ask("Go on?", bool)

    app = app_of(channels={"mcp": {"rate_limit": "2/minute"}})
    app.register(asks)

    async def agree(context: Any, params: Any) -> Any:
        return ElicitResult(action="accept", content={"answer": True})

    async with app, mcp.Client(server(app), mode="2026-07-28", elicitation_callback=agree) as client:
        refused: Any = (await client.call_tool("asks", {})).structured_content
    assert (refused["code"], refused["details"]["violated_policies"]) == ("resource_exhausted", ["channel-60s"])


@pytest.mark.parametrize("forged", [{"x_forwarded_for": THERE}, {"forwarded": f"for={THERE}"}, {"user_agent": "nexus-cli"}])
async def test_no_header_moves_a_caller_to_another_bucket(forged: dict[str, Any]) -> None:
    app = app_of(rate_limit="1/minute")
    assert await passed(app, 1, address=HERE) == 1
    assert await passed(app, 1, address=HERE, **forged) == 0


# ---- by operation


async def test_an_operation_may_have_a_limit_for_each_of_its_callers() -> None:
    app = app_of()
    assert await passed(app, 9, ADA, operation="costly") == 2
    assert await passed(app, 9, ADA, operation="costly@1") == 0
    assert await passed(app, 9, BOB, operation="costly", channel="mcp") == 2
    assert await passed(app, 9, ADA) == 9


async def test_a_group_gives_its_workflows_a_limit_each_unless_they_have_one() -> None:
    group = Group("desk", rate_limit="1/minute")
    group.register(hello, costly)

    @group.workflow
    async def other() -> str:
        return "other"

    app = app_of()
    app.register(group)
    counts = [await passed(app, 9, ADA, operation=f"desk.{name}") for name in ("hello", "other", "costly")]
    assert counts == [1, 1, 2]


def test_where_nothing_is_limited_there_is_no_guard_until_an_operation_is() -> None:
    app = nexus.create_nexus(NexusConfig())
    app.register(hello)
    assert [type(guard).__name__ for guard in app.dispatcher.guards] == ["IdentityGuard"]
    app.register(costly)
    assert [type(guard).__name__ for guard in app.dispatcher.guards] == ["IdentityGuard", "PrincipalRateGuard"]


# ---- what is told of it


def error_of(response: Response) -> NexusError:
    assert response.error is not None
    return response.error


async def test_a_refusal_says_when_to_come_back_and_then_the_next_call_passes() -> None:
    clock = FakeClock()
    app = app_of(clock, rate_limit="2/minute")
    await passed(app, 1, ADA)
    await clock.advance(12.25)
    await passed(app, 1, ADA)
    await clock.advance(5.5)
    refused = await ask(app, ADA)
    error = error_of(refused)
    assert isinstance(error, RateLimitError)
    assert str(error) == "too many calls: at most 2/minute; try again in 43 s"
    assert error.details == {"retry_after": 43, "violated_policies": ["principal-60s"]}
    assert refused.quotas == [Quota("principal-60s", Rate(2, 60), 0, 43)]
    await clock.advance(42)
    assert await passed(app, 1, ADA) == 0
    await clock.advance(1)
    assert await passed(app, 9, ADA) == 1


async def test_a_reply_says_what_is_left() -> None:
    clock = FakeClock()
    app = app_of(
        clock, rate_limit="5/minute; 9/hour", address_rate_limit="7/minute", channels={"api": {"rate_limit": "3/minute"}}
    )
    await ask(app, ADA, address=HERE)
    await clock.advance(10)
    response = await ask(app, ADA, "costly", address=HERE)
    assert [(quota.policy, str(quota.rate), quota.remaining, quota.reset_s) for quota in response.quotas] == [
        ("address-60s", "7/minute", 5, 50),
        ("principal-60s", "5/minute", 3, 50),
        ("principal-3600s", "9/hour", 7, 3590),
        ("channel-60s", "3/minute", 1, 50),
        ("operation-60s", "2/minute", 1, 60),
    ]


@pytest.fixture
async def http() -> AsyncIterator[tuple[httpx.AsyncClient, FakeClock]]:
    clock = FakeClock()
    app = app_of(clock, rate_limit="3/minute; 9/hour")
    transport = httpx.ASGITransport(asgi(app), client=(HERE, 4711))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client, clock


async def test_over_http_every_reply_tells_of_the_limits_and_a_refusal_when_to_retry(
    http: tuple[httpx.AsyncClient, FakeClock],
) -> None:
    client, clock = http
    policy = '"principal-60s";q=3;w=60, "principal-3600s";q=9;w=3600'
    replies = [
        await client.post("/api/workflows/hello/execute"),
        await client.get("/api/workflows"),
        await client.post("/api/workflows/hello/execute", content="{", headers={"content-type": "application/json"}),
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 400]
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {policy}
    assert [reply.headers["ratelimit"] for reply in replies] == [
        f'"principal-60s";r={left};t=60, "principal-3600s";r={left + 6};t=3600' for left in (2, 1, 0)
    ]
    await clock.advance(20.5)
    refused = await client.post("/api/workflows/hello/execute")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert refused.headers["ratelimit-policy"] == '"principal-60s";q=3;w=60'
    assert refused.headers["ratelimit"] == '"principal-60s";r=0;t=40'
    assert refused.json()["error"] == {
        "code": "resource_exhausted",
        "message": "too many calls: at most 3/minute; try again in 40 s",
        "details": {"retry_after": 40, "violated_policies": ["principal-60s"]},
    }
    await clock.advance(int(refused.headers["retry-after"]))
    assert (await client.post("/api/workflows/hello/execute")).status_code == 200


async def test_over_http_also_a_submitted_run_and_a_document_tell_of_the_limits(
    http: tuple[httpx.AsyncClient, FakeClock],
) -> None:
    client, _ = http
    replies = [
        await client.post("/api/workflows/hello/execute", headers={"prefer": "respond-async"}),
        await client.get("/openapi.json"),
        await client.get("/api/runs/unknown"),
    ]
    assert [reply.status_code for reply in replies] == [202, 200, 404]
    assert ["ratelimit" in reply.headers for reply in replies] == [True, True, True]


async def test_the_document_has_the_headers(http: tuple[httpx.AsyncClient, FakeClock]) -> None:
    document = (await http[0].get("/openapi.json")).json()
    assert {"RateLimit", "RateLimit-Policy"} <= document["components"]["headers"].keys()
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= document["components"]["responses"]["ResourceExhausted"][
        "headers"
    ].keys()


async def test_without_a_limit_there_are_no_such_headers_and_probes_are_never_refused() -> None:
    app = app_of()
    limited = app_of(rate_limit="1/minute", address_rate_limit="1/minute")
    for each, operation in ((app, "hello"), (limited, "hello")):
        transport = httpx.ASGITransport(asgi(each), client=(HERE, 1))
        async with each, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            reply = await client.post(f"/api/workflows/{operation}/execute")
            assert ("ratelimit" in reply.headers) is (each is limited)
            assert [(await client.get("/health/ready")).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("headers", [{"x-forwarded-for": THERE}, {"forwarded": f"for={THERE}"}, {"x-nexus-cli": "1"}])
async def test_over_http_no_header_gives_a_caller_another_limit(headers: dict[str, str]) -> None:
    app = app_of(channels={"api": {"rate_limit": "1/minute"}}, rate_limit="9/minute")
    transport = httpx.ASGITransport(asgi(app), client=(HERE, 4711))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/api/workflows")).status_code == 200
        assert (await client.get("/api/workflows", headers=headers)).status_code == 429


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_an_mcp_client_is_told_when_to_come_back(mode: Any) -> None:
    app = app_of(channels={"mcp": {"rate_limit": "3/minute"}})
    async with app, mcp.Client(server(app), mode=mode) as client:
        await client.list_tools()
        results = [await client.call_tool("hello", {}) for _ in range(3)]
    assert [result.is_error for result in results] == [False, False, True]
    refused: Any = results[-1].structured_content
    assert (refused["code"], refused["details"]["retry_after"]) == ("resource_exhausted", 60)
    assert "try again in 60 s" in str(results[-1].content)


async def test_the_command_line_says_when_to_come_back() -> None:
    app = app_of(channels={"cli": {"rate_limit": "1/minute"}})
    assert (await invoke(app, ["hello"])).exit_code == 0
    refused = await invoke(app, ["hello"])
    assert (refused.exit_code, "try again in 60 s" in refused.stderr) == (6, True)


async def test_a_client_of_the_tests_is_refused_like_any_other() -> None:
    async with Client(app_of(rate_limit="1/minute"), channel="api", principal=ADA) as client:
        await client.execute("hello")
        with pytest.raises(NexusError, match="try again in 60 s"):
            await client.execute("hello")


# ---- the guards and their order


class Badges(Authenticator):
    """Knows credentials that begin with `badge-`; none of them is good."""

    async def authenticate(self, credential: str, *, now: datetime) -> Principal | None:
        """See `Authenticator.authenticate`."""
        raise UnauthenticatedError("the badge was lost")


EVERYTHING: dict[str, Any] = {
    "network": {"deny": "10.0.0.0/8"},
    "address_rate_limit": "1/minute",
    "rate_limit": "1/minute",
    "enable_auth": True,
}
NAMES = ["NetworkGuard", "AddressRateGuard", "IdentityGuard", "PrincipalRateGuard", "PermissionGuard"]


def names_of(app: Nexus) -> list[str]:
    return [type(guard).__name__ for guard in app.dispatcher.guards]


def test_guards_stand_in_their_order() -> None:
    assert names_of(app_of(**EVERYTHING)) == NAMES


def test_guards_of_ones_own_come_after_them() -> None:
    own = AddressRateGuard(Limiter(FakeClock()), [Rate(1, 60)])
    app = app_of(**EVERYTHING, guards=[own])
    assert (names_of(app)[:-1], app.dispatcher.guards[-1]) == (NAMES, own)


async def test_a_function_arranges_the_guards_as_it_likes() -> None:
    seen: list[str] = []

    def arrange(built_in: list[Any]) -> list[Any]:
        seen.extend(type(guard).__name__ for guard in built_in)
        return [guard for guard in built_in if not isinstance(guard, PrincipalRateGuard)][::-1]

    app = app_of(**EVERYTHING, guards=arrange)
    assert seen == NAMES
    assert names_of(app) == ["PermissionGuard", "IdentityGuard", "AddressRateGuard", "NetworkGuard"]
    app.register(Group("desk", rate_limit="1/minute"))
    assert "PrincipalRateGuard" not in names_of(app)


async def test_only_who_says_so_does_without_finding_out_who_asks() -> None:
    app = app_of(guards=lambda _: [])
    assert names_of(app) == []
    assert (await ask(app, credential="made up")).error is None
    assert names_of(app_of(guards=[])) == ["IdentityGuard", "PrincipalRateGuard"]


async def test_without_the_guard_of_permissions_a_listing_shows_everything() -> None:
    app = app_of(enable_auth=True, guards=lambda built_in: built_in[:1])
    assert {operation.name for operation in await app.visible(Caller(channel="api"))} >= {"hello", "costly"}
