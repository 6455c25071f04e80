"""The tests that every session store passes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from nexus.abc import SessionStore
from nexus.exceptions import ConflictError, NotFoundError, ResourceExhaustedError
from nexus.models import ANONYMOUS, Page, Principal, Scope, Session
from nexus.testing.contracts import ADA, ADA_ELSEWHERE, BOB, INSTANT, NOON, SECOND, StoreContract, anonymous, flat, rivals, walk

__all__ = ["SessionStoreContract"]

LIFETIME = timedelta(minutes=30)


def session_of(
    scope: Scope, session_id: str, *, created_at: datetime = NOON, lifetime: timedelta = LIFETIME, **changes: Any
) -> Session:
    """Return a session of the scope's principal."""
    principal = ANONYMOUS if scope.principal == ANONYMOUS.id else Principal(id=scope.principal or "", tenant_id=scope.tenant)
    session = Session(id=session_id, principal=principal, created_at=created_at, expires_at=created_at + lifetime)
    return attrs.evolve(session, **changes)


def token_of(session_id: str) -> bytes:
    """Return a stand-in of a token's SHA-256."""
    return session_id.encode().ljust(32, b"-")


async def filled(store: SessionStore, *sessions: Session) -> SessionStore:
    """Keep the sessions, each under a token of its own."""
    for session in sessions:
        await store.add(session, token_hash=token_of(session.id))
    return store


async def listed(store: SessionStore, scope: Scope, *, now: datetime = NOON) -> Sequence[str]:
    """Return the ids of one long page."""
    page = await store.list(scope, now=now, after=None, limit=100)
    return [session.id for session in page.items]


class SessionStoreContract(StoreContract[SessionStore]):
    """
    What a `SessionStore` promises. Subclass it as `Test…`, with `make_store`.

    A bounded store overrides `make_small_store` too; without it the tests of its capacity are skipped.
    """

    def make_small_store(self, capacity: int) -> SessionStore | None:  # noqa: ARG002 - for subclasses
        """Return a new store that holds at most *capacity* live sessions, or None if it has no bound."""
        return None

    async def test_a_session_is_found_by_its_token_whole(self) -> None:
        principal = Principal(
            id="ada", roles=frozenset({"admin", "reader"}), tenant_id="analytics", attributes={"team": "weather", "floor": 3}
        )
        session = session_of(ADA, "s1", principal=principal, state={"cart": [1, {"sku": "x"}], "theme": None})
        async with self.opened() as store:
            await filled(store, session)
            assert await store.find(token_of("s1"), now=NOON) == session

    async def test_an_unknown_token_is_not_found(self) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "s1"))
            with pytest.raises(NotFoundError):
                await store.find(token_of("s2"), now=NOON)

    async def test_the_id_of_a_session_is_no_token(self) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "s1"))
            with pytest.raises(NotFoundError):
                await store.find(b"s1", now=NOON)

    async def test_a_session_is_live_until_just_before_it_expires(self) -> None:
        async with self.opened() as store:
            session = session_of(ADA, "s1")
            await filled(store, session)
            assert await store.find(token_of("s1"), now=session.expires_at - INSTANT) == session
            with pytest.raises(NotFoundError):
                await store.find(token_of("s1"), now=session.expires_at)

    async def test_a_second_session_of_an_id_is_a_conflict(self) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "s1"))
            with pytest.raises(ConflictError):
                await store.add(session_of(BOB, "s1"), token_hash=token_of("another"))
            with pytest.raises(NotFoundError):
                await store.find(token_of("another"), now=NOON)

    async def test_a_second_session_of_a_token_is_a_conflict(self) -> None:
        async with self.opened() as store:
            first = session_of(ADA, "s1")
            await filled(store, first)
            with pytest.raises(ConflictError):
                await store.add(session_of(BOB, "s2"), token_hash=token_of("s1"))
            assert await store.find(token_of("s1"), now=NOON) == first

    async def test_a_saved_session_has_the_next_version_and_the_same_token(self) -> None:
        async with self.opened() as store:
            session = session_of(ADA, "s1")
            await filled(store, session)
            saved = await store.save(attrs.evolve(session, state={"theme": "dark"}, version=17), expected_version=1)
            assert (saved.version, saved.state) == (2, {"theme": "dark"})
            assert await store.find(token_of("s1"), now=NOON) == saved

    async def test_a_renewed_session_lives_longer(self) -> None:
        async with self.opened() as store:
            session = session_of(ADA, "s1")
            await filled(store, session)
            await store.save(attrs.evolve(session, expires_at=session.expires_at + SECOND), expected_version=1)
            assert (await store.find(token_of("s1"), now=session.expires_at)).id == "s1"

    @pytest.mark.parametrize("expected_version", [0, 1, 3])
    async def test_a_change_of_another_version_is_a_conflict_and_changes_nothing(self, expected_version: int) -> None:
        async with self.opened() as store:
            session = session_of(ADA, "s1")
            await filled(store, session)
            kept = await store.save(attrs.evolve(session, state={"theme": "dark"}), expected_version=1)
            with pytest.raises(ConflictError):
                await store.save(attrs.evolve(session, state={"theme": "light"}), expected_version=expected_version)
            assert await store.find(token_of("s1"), now=NOON) == kept

    async def test_of_many_changes_at_once_one_succeeds(self) -> None:
        async with self.opened() as store:
            session = session_of(ADA, "s1")
            await filled(store, session)
            won, lost = await rivals(lambda number: store.save(attrs.evolve(session, state={"by": number}), expected_version=1))
            assert [await store.find(token_of("s1"), now=NOON)] == won
            assert {type(error) for error in lost} == {ConflictError}

    async def test_what_was_never_added_cannot_be_saved(self) -> None:
        async with self.opened() as store:
            with pytest.raises(NotFoundError):
                await store.save(session_of(ADA, "s1"), expected_version=1)

    @pytest.mark.parametrize("owner", [ADA, Scope.ALL])
    async def test_the_token_of_a_removed_session_is_good_for_nothing(self, owner: Scope) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "s1"), session_of(ADA, "s2"))
            await store.remove(owner, "s1")
            with pytest.raises(NotFoundError):
                await store.find(token_of("s1"), now=NOON)
            with pytest.raises(NotFoundError):
                await store.save(session_of(ADA, "s1"), expected_version=1)
            with pytest.raises(NotFoundError):
                await store.remove(owner, "s1")
            assert await listed(store, ADA) == ["s2"]

    @pytest.mark.parametrize("stranger", [BOB, ADA_ELSEWHERE, Scope(tenant=None, principal="ada"), anonymous("s1")])
    async def test_a_session_of_another_scope_cannot_be_removed(self, stranger: Scope) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "s1"))
            with pytest.raises(NotFoundError):
                await store.remove(stranger, "s1")
            assert (await store.find(token_of("s1"), now=NOON)).id == "s1"

    async def test_an_anonymous_caller_removes_its_own_session_only(self) -> None:
        async with self.opened() as store:
            await filled(store, session_of(anonymous("s1"), "s1"), session_of(anonymous("s2"), "s2"))
            with pytest.raises(NotFoundError):
                await store.remove(anonymous("s1"), "s2")
            await store.remove(anonymous("s1"), "s1")
            assert await listed(store, Scope.ALL) == ["s2"]

    async def test_a_listing_has_the_oldest_first(self) -> None:
        async with self.opened() as store:
            await filled(store, *(session_of(ADA, f"s{order}", created_at=NOON + order * INSTANT) for order in (2, 0, 3, 1)))
            assert await listed(store, ADA) == ["s0", "s1", "s2", "s3"]

    async def test_a_listing_of_an_empty_store_is_empty(self) -> None:
        async with self.opened() as store:
            assert await store.list(Scope.ALL, now=NOON, after=None, limit=10) == Page([], None)

    async def test_a_listing_is_of_live_sessions(self) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "short", lifetime=SECOND), session_of(ADA, "long"))
            assert sorted(await listed(store, ADA, now=NOON + SECOND - INSTANT)) == ["long", "short"]
            assert await listed(store, ADA, now=NOON + SECOND) == ["long"]

    async def test_a_listing_is_of_its_scope_only(self) -> None:
        async with self.opened() as store:
            owners = {"s1": ADA, "s2": BOB, "s3": ADA_ELSEWHERE, "s4": anonymous("s4"), "s5": anonymous("s5")}
            await filled(store, *(session_of(scope, session_id) for session_id, scope in owners.items()))
            for session_id, scope in owners.items():
                assert await listed(store, scope) == [session_id]
            assert sorted(await listed(store, Scope.ALL)) == sorted(owners)

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
    async def test_the_pages_together_are_the_listing(self, limit: int) -> None:
        async with self.opened() as store:
            sessions = [session_of(ADA, f"s{order}", created_at=NOON + order * SECOND) for order in range(6)]
            await filled(store, *sessions, session_of(BOB, "theirs"))
            pages = await walk(lambda after: store.list(ADA, now=NOON, after=after, limit=limit))
            assert flat(pages) == [f"s{order}" for order in range(6)]
            assert max(len(page) for page in pages) <= limit

    async def test_sessions_of_one_instant_are_listed_once_each(self) -> None:
        async with self.opened() as store:
            await filled(store, *(session_of(ADA, f"s{number}") for number in range(7)))
            pages = await walk(lambda after: store.list(ADA, now=NOON, after=after, limit=2))
            assert sorted(flat(pages)) == [f"s{number}" for number in range(7)]

    async def test_changes_do_not_shift_the_pages_behind_a_cursor(self) -> None:
        async with self.opened() as store:
            await filled(store, *(session_of(ADA, f"s{order}", created_at=NOON + order * SECOND) for order in range(4)))
            first = await store.list(ADA, now=NOON, after=None, limit=2)
            await filled(store, session_of(ADA, "earlier", created_at=NOON - SECOND))
            await store.remove(ADA, "s1")
            second = await store.list(ADA, now=NOON, after=first.cursor, limit=2)
            assert flat([first.items, second.items]) == ["s0", "s1", "s2", "s3"]

    async def test_a_cursor_opens_nothing_outside_the_scope(self) -> None:
        async with self.opened() as store:
            await filled(store, *(session_of(ADA, f"s{order}", created_at=NOON + order * SECOND) for order in range(4)))
            page = await store.list(ADA, now=NOON, after=None, limit=2)
            assert (await store.list(BOB, now=NOON, after=page.cursor, limit=2)).items == []

    async def test_pruning_removes_what_has_expired_and_says_how_many(self) -> None:
        async with self.opened() as store:
            await filled(
                store,
                session_of(ADA, "s1", lifetime=SECOND),
                session_of(BOB, "s2", lifetime=SECOND + INSTANT),
                session_of(ADA, "s3"),
            )
            assert await store.prune(now=NOON + SECOND) == 1
            assert await store.prune(now=NOON + SECOND) == 0
            assert sorted(await listed(store, Scope.ALL)) == ["s2", "s3"]

    async def test_a_pruned_session_is_gone_for_good(self) -> None:
        async with self.opened() as store:
            await filled(store, session_of(ADA, "s1", lifetime=SECOND))
            await store.prune(now=NOON + SECOND)
            with pytest.raises(NotFoundError):
                await store.find(token_of("s1"), now=NOON)
            await filled(store, session_of(ADA, "s1"))

    async def test_a_full_store_refuses_another_session_while_all_are_live(self) -> None:
        async with self._small(2) as store:
            await filled(store, session_of(ADA, "s1"), session_of(ADA, "s2"))
            with pytest.raises(ResourceExhaustedError):
                await filled(store, session_of(BOB, "s3", created_at=NOON + LIFETIME - INSTANT))
            assert await listed(store, Scope.ALL) == ["s1", "s2"]

    async def test_a_full_store_makes_room_by_forgetting_what_has_expired(self) -> None:
        async with self._small(2) as store:
            await filled(store, session_of(ADA, "s1"), session_of(ADA, "s2"), session_of(BOB, "s3", created_at=NOON + LIFETIME))
            assert await listed(store, Scope.ALL, now=NOON + LIFETIME) == ["s3"]

    def _small(self, capacity: int) -> Any:
        store = self.make_small_store(capacity)
        if store is None:
            pytest.skip("make_small_store returns None: this store has no bound")
        return self.opened(store)
