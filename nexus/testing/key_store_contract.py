"""The tests that every store of API keys passes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from nexus.abc import KeyStore
from nexus.exceptions import ConflictError, NotFoundError
from nexus.models import ApiKey, Principal, Scope
from nexus.testing.contracts import ADA, ADA_ELSEWHERE, BOB, NOON, SECOND, StoreContract, flat, rivals, walk

__all__ = ["KeyStoreContract"]

HASH = b"#" * 32
ALL_OF_ANALYTICS = Scope(tenant="analytics", principal=None)


def key_of(scope: Scope, key_id: str, **changes: Any) -> ApiKey:
    """Return a key of the scope's principal."""
    principal = Principal(id=scope.principal or "", tenant_id=scope.tenant)
    key = ApiKey(id=key_id, name=f"key {key_id}", principal=principal, issuer="root", created_at=NOON)
    return attrs.evolve(key, **changes)


async def filled(store: KeyStore, *keys: ApiKey) -> KeyStore:
    """Keep the keys."""
    for key in keys:
        await store.add(key, secret_hash=HASH)
    return store


class KeyStoreContract(StoreContract[KeyStore]):
    """What a `KeyStore` promises. Subclass it as `Test…`, with `make_store`."""

    async def test_a_key_is_found_by_its_id_whole_with_the_hash_of_its_secret(self) -> None:
        principal = Principal(
            id="ada", roles=["admin", "reader"], tenant_id="analytics", attributes={"team": "weather"}, scopes=["workflow:*"]
        )
        key = key_of(ADA, "k1", principal=principal, expires_at=NOON + timedelta(days=3))
        async with self.opened() as store:
            await store.add(key, secret_hash=bytes(range(32)))
            assert await store.find("k1") == (key, bytes(range(32)))

    async def test_a_key_that_has_expired_is_found_too(self) -> None:
        key = key_of(ADA, "k1", expires_at=NOON - SECOND)
        async with self.opened() as store:
            await filled(store, key)
            assert await store.find("k1") == (key, HASH)

    async def test_an_unknown_id_is_not_found(self) -> None:
        async with self.opened() as store:
            await filled(store, key_of(ADA, "k1"))
            with pytest.raises(NotFoundError):
                await store.find("k2")

    async def test_a_second_key_of_an_id_is_a_conflict(self) -> None:
        async with self.opened() as store:
            await filled(store, key_of(ADA, "k1"))
            with pytest.raises(ConflictError):
                await store.add(key_of(BOB, "k1"), secret_hash=b"other")
            assert await store.find("k1") == (key_of(ADA, "k1"), HASH)

    async def test_of_many_keys_of_an_id_at_once_one_is_kept(self) -> None:
        async with self.opened() as store:
            won, lost = await rivals(lambda number: store.add(key_of(ADA, "k1", name=str(number)), secret_hash=HASH))
            assert len(won) == 1
            assert {type(error) for error in lost} == {ConflictError}

    @pytest.mark.parametrize("owner", [ADA, ALL_OF_ANALYTICS, Scope.ALL])
    async def test_a_removed_key_is_gone(self, owner: Scope) -> None:
        async with self.opened() as store:
            await filled(store, key_of(ADA, "k1"), key_of(ADA, "k2"))
            await store.remove(owner, "k1")
            with pytest.raises(NotFoundError):
                await store.find("k1")
            with pytest.raises(NotFoundError):
                await store.remove(owner, "k1")
            assert await store.find("k2") == (key_of(ADA, "k2"), HASH)

    @pytest.mark.parametrize("stranger", [BOB, ADA_ELSEWHERE, Scope(tenant="billing", principal=None)])
    async def test_a_key_of_another_scope_cannot_be_removed(self, stranger: Scope) -> None:
        async with self.opened() as store:
            await filled(store, key_of(ADA, "k1"))
            with pytest.raises(NotFoundError):
                await store.remove(stranger, "k1")
            assert await store.find("k1") == (key_of(ADA, "k1"), HASH)

    async def test_a_listing_is_of_its_scope_oldest_first(self) -> None:
        keys = [key_of(ADA, f"k{number}", created_at=NOON - number * SECOND) for number in range(3)]
        async with self.opened() as store:
            await filled(store, *keys, key_of(BOB, "b1"), key_of(ADA_ELSEWHERE, "e1"))
            listed = {
                scope: [key.id for key in (await store.list(scope, after=None, limit=10)).items]
                for scope in (ADA, BOB, ADA_ELSEWHERE, ALL_OF_ANALYTICS)
            }
            assert listed == {
                ADA: ["k2", "k1", "k0"],
                BOB: ["b1"],
                ADA_ELSEWHERE: ["e1"],
                ALL_OF_ANALYTICS: ["k2", "k1", "b1", "k0"],
            }

    @pytest.mark.parametrize("limit", [1, 2, 7])
    async def test_the_pages_together_are_the_listing(self, limit: int) -> None:
        keys = [key_of(ADA, f"k{number}", created_at=NOON + (number // 2) * SECOND) for number in range(7)]
        async with self.opened() as store:
            await filled(store, *keys, key_of(BOB, "b1"))
            pages = await walk(lambda after: store.list(ADA, after=after, limit=limit))
            assert flat(pages) == [key.id for key in keys]
            assert all(len(page) <= limit for page in pages)
