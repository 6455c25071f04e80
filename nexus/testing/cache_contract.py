"""The tests that every cache passes."""

from __future__ import annotations

import pytest

from nexus.abc import Cache
from nexus.models import MISSING
from nexus.testing.contracts import INSTANT, NOON, SECOND, StoreContract

__all__ = ["CacheContract"]

LATER = NOON + SECOND


class CacheContract(StoreContract[Cache]):
    """
    What a `Cache` promises. Subclass it as `Test…`, with `make_store`.

    A bounded cache overrides `make_small_cache` too; without it the tests of its bounds are skipped.
    """

    def make_small_cache(self, entries: int) -> Cache | None:  # noqa: ARG002 - for subclasses
        """Return a new cache that holds at most *entries*, or None if it has no such bound."""
        return None

    @pytest.mark.parametrize("value", [b"0", b"", b"null", bytes(range(256)), b"x" * 100_000])
    async def test_what_was_set_is_given_back_as_it_was(self, value: bytes) -> None:
        async with self.opened() as cache:
            await cache.set("k", value, expires_at=LATER)
            assert await cache.get("k", now=NOON) == (value, LATER)

    async def test_what_was_never_set_is_missing(self) -> None:
        async with self.opened() as cache:
            assert await cache.get("k", now=NOON) is MISSING

    @pytest.mark.parametrize("other", ["K", "k ", "k*", "", "kk", "ключ", "a/b:c{d}" * 50])
    async def test_a_key_is_that_key_and_no_other(self, other: str) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=LATER)
            assert await cache.get(other, now=NOON) is MISSING
            await cache.set(other, b"2", expires_at=LATER)
            assert (await cache.get("k", now=NOON), await cache.get(other, now=NOON)) == ((b"1", LATER), (b"2", LATER))

    async def test_a_value_is_there_until_just_before_it_expires(self) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=LATER)
            assert await cache.get("k", now=LATER - INSTANT) == (b"1", LATER)
            assert await cache.get("k", now=LATER) is MISSING

    async def test_a_value_without_expiry_stays(self) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=None)
            assert await cache.get("k", now=NOON.replace(year=NOON.year + 50)) == (b"1", None)

    async def test_the_last_value_counts_with_its_expiry(self) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=LATER)
            await cache.set("k", b"2", expires_at=LATER + SECOND)
            assert await cache.get("k", now=LATER) == (b"2", LATER + SECOND)
            await cache.set("k", b"3", expires_at=LATER)
            assert await cache.get("k", now=LATER) is MISSING

    async def test_what_was_discarded_is_missing_and_may_be_set_again(self) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=LATER)
            await cache.set("other", b"1", expires_at=LATER)
            await cache.discard("k")
            await cache.discard("k")
            assert await cache.get("k", now=NOON) is MISSING
            assert await cache.get("other", now=NOON) == (b"1", LATER)
            await cache.set("k", b"2", expires_at=LATER)
            assert await cache.get("k", now=NOON) == (b"2", LATER)

    async def test_discarding_a_tag_discards_what_has_it_and_nothing_else(self) -> None:
        async with self.opened() as cache:
            await cache.set("a", b"1", expires_at=LATER, tags=["red", "round"])
            await cache.set("b", b"2", expires_at=LATER, tags=["red"])
            await cache.set("c", b"3", expires_at=LATER, tags=["round", "redder"])
            await cache.set("red", b"4", expires_at=LATER)
            await cache.discard_tag("red")
            await cache.discard_tag("unheard of")
            found = [await cache.get(key, now=NOON) for key in ("a", "b", "c", "red")]
            assert found == [MISSING, MISSING, (b"3", LATER), (b"4", LATER)]

    async def test_a_value_has_the_tags_it_was_last_set_with(self) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=LATER, tags=["old"])
            await cache.set("k", b"2", expires_at=LATER, tags=["new"])
            await cache.discard_tag("old")
            assert await cache.get("k", now=NOON) == (b"2", LATER)
            await cache.discard_tag("new")
            assert await cache.get("k", now=NOON) is MISSING

    async def test_the_tag_of_a_discarded_value_is_not_that_of_the_next(self) -> None:
        async with self.opened() as cache:
            await cache.set("k", b"1", expires_at=LATER, tags=["old"])
            await cache.discard("k")
            await cache.set("k", b"2", expires_at=LATER)
            await cache.discard_tag("old")
            assert await cache.get("k", now=NOON) == (b"2", LATER)

    async def test_a_full_cache_forgets_something_else_than_the_newest(self) -> None:
        small = self.make_small_cache(2)
        if small is None:
            pytest.skip("this cache has no such bound")
        async with self.opened(small) as cache:
            for number in range(5):
                await cache.set(f"k{number}", b"1", expires_at=LATER, tags=[f"t{number}"])
                assert await cache.get(f"k{number}", now=NOON) == (b"1", LATER)
            found = [await cache.get(f"k{number}", now=NOON) for number in range(5)]
            assert found.count(MISSING) == 3
            for number in range(5):
                await cache.discard_tag(f"t{number}")
