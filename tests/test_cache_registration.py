"""What `cache=` takes, and the hash of a plan, of which keys are made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any

import pytest

import nexus
from nexus import BlockingRun, CachePolicy, NexusConfig, RegistrationError, Run, Secret, Workflow

pytestmark = pytest.mark.anyio


class Season(Enum):
    DRY = "dry"
    WET = "wet"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cache": 60}, "must change nothing; say read_only=True"),
        ({"cache": 0, "read_only": True}, "longer than zero"),
        ({"cache": -1, "read_only": True}, "longer than zero"),
        ({"cache": "1 h", "read_only": True}, "seconds or a timedelta"),
        ({"cache": timedelta(days=10_000), "read_only": True}, "at most 3650 days"),
        (
            {"cache": CachePolicy(key=lambda nothing: nothing), "read_only": True},
            "'nothing', which is not an input; there are: x",
        ),
    ],
)
async def test_a_cache_that_makes_no_sense_is_refused(options: dict[str, Any], text: str) -> None:
    async def simple(x: int) -> int:
        return x

    with pytest.raises(RegistrationError, match=text) as caught:
        nexus.create_nexus(NexusConfig()).register(nexus.workflow(**options)(simple))
    assert "simple" in caught.value.message


async def test_a_policy_that_makes_no_sense_is_refused_where_it_is_written() -> None:
    with pytest.raises(RegistrationError, match=r"CachePolicy\(ttl=0\): give seconds"):
        CachePolicy(ttl=0)
    with pytest.raises(RegistrationError, match=r"CachePolicy\(key='x'\): give a function"):
        CachePolicy(key="x")  # type: ignore[arg-type]


async def asks(*, run: Run) -> bool:
    return await run.ask("Well?", bool)


def asks_in_a_thread(*, run: BlockingRun) -> bool:
    return run.ask("Well?", bool)


async def yields() -> AsyncIterator[int]:
    yield 1


async def takes_a_secret(token: Annotated[str, Secret()]) -> int:
    return len(token)


async def gives_a_secret() -> dict[str, Annotated[str, Secret()]]:
    return {"token": "abc"}


@pytest.mark.parametrize("function", [takes_a_secret, gives_a_secret])
async def test_a_workflow_with_secrets_cannot_be_kept(function: Callable[..., Any]) -> None:
    with pytest.raises(RegistrationError, match="secrets among its inputs or in its result, which are kept nowhere"):
        nexus.create_nexus(NexusConfig()).register(nexus.workflow(cache=60, read_only=True)(function))


@pytest.mark.parametrize(("function", "text"), [(asks, "'run'"), (asks_in_a_thread, "'run'"), (yields, "return a list")])
async def test_a_workflow_that_talks_to_its_caller_cannot_be_kept(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(RegistrationError, match=text):
        nexus.create_nexus(NexusConfig()).register(nexus.workflow(cache=60, read_only=True)(function))


async def test_the_settings_of_the_cache_are_settings_like_others() -> None:
    app = nexus.create_nexus(cache={"ttl": "10 min", "memory_entries": 5})
    assert (app.config.cache.ttl, app.config.cache.memory_entries) == (timedelta(minutes=10), 5)
    with pytest.raises(nexus.ConfigurationError, match=r"cache\.ttl, given in code: expected a duration longer than zero"):
        nexus.create_nexus(cache={"ttl": 0})


def hash_of(*steps: Callable[..., Any], **options: Any) -> str:
    graph = Workflow("graph", **options)
    for step in steps:
        graph.step(step)
    return graph.graph().hash


async def test_the_hash_covers_names_edges_and_hints_and_nothing_else() -> None:
    def one(x: int) -> int:
        return x

    def two(one: int) -> int:
        return one

    original = hash_of(one, two)

    def define(source: str) -> Callable[..., Any]:
        namespace: dict[str, Any] = {"__name__": "cell"}
        exec(source, namespace)  # noqa: S102 - the same name, written otherwise
        function: Callable[..., Any] = namespace[source.partition("(")[0].removeprefix("def ")]
        return function

    assert hash_of(one, define("def two(one: int) -> int: return one + 1")) == original
    assert hash_of(two, one) == original
    others = [
        hash_of(one, define("def two(one: float) -> int: return 1")),
        hash_of(one, define("def two(one: int) -> str: return ''")),
        hash_of(one, define("def two(one: int, y: int) -> int: return 1")),
        hash_of(one, define("def three(one: int) -> int: return 1")),
        hash_of(define("def one(x: str) -> int: return 1"), two),
        hash_of(one),
    ]
    assert len({original, *others}) == 7


async def test_the_hash_is_the_same_in_every_process() -> None:
    async def rank(airport: str, limits: dict[str, list[int] | None], season: Season, top: float = 1.5) -> list[Season] | None:
        return None

    assert hash_of(rank) == "91d764546d22df530965b105c21e128e1f595fad2668bd9ec26bb234381779bb"
