"""The tests that every step store passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nexus.abc import StepStore
from nexus.exceptions import ResourceExhaustedError
from nexus.testing.contracts import RIVALS, StoreContract, rivals

__all__ = ["StepStoreContract"]

NOTHING: Mapping[str, bytes] = {}


class StepStoreContract(StoreContract[StepStore]):
    """
    What a `StepStore` promises. Subclass it as `Test…`, with `make_store`.

    A bounded store overrides `make_small_store` too; without it the tests of its capacity are skipped.
    """

    def make_small_store(self, capacity: int) -> StepStore | None:  # noqa: ARG002 - for subclasses
        """Return a new store that holds at most *capacity* bytes of results, or None if it has no bound."""
        return None

    async def test_the_results_of_a_run_are_kept_by_step(self) -> None:
        async with self.opened() as store:
            await store.put("r1", "load", b"[1]")
            await store.put("r1", "rank[0]", b"\x00\xff")
            await store.put("r1", "rank[1]", b"")
            assert await store.all("r1") == {"load": b"[1]", "rank[0]": b"\x00\xff", "rank[1]": b""}

    async def test_of_a_run_that_nobody_knows_nothing_is_kept(self) -> None:
        async with self.opened() as store:
            assert await store.all("r1") == NOTHING

    async def test_the_results_of_runs_are_kept_apart(self) -> None:
        async with self.opened() as store:
            await store.put("r1", "load", b"1")
            await store.put("r2", "load", b"2")
            assert (await store.all("r1"), await store.all("r2")) == ({"load": b"1"}, {"load": b"2"})

    async def test_a_second_result_of_a_step_takes_the_place_of_the_first(self) -> None:
        async with self.opened() as store:
            await store.put("r1", "load", b"first")
            await store.put("r1", "load", b"second")
            assert await store.all("r1") == {"load": b"second"}

    async def test_what_is_removed_is_gone(self) -> None:
        async with self.opened() as store:
            await store.put("r1", "load", b"1")
            await store.put("r2", "load", b"2")
            await store.remove("r1")
            assert (await store.all("r1"), await store.all("r2")) == (NOTHING, {"load": b"2"})

    async def test_to_remove_nothing_is_no_error(self) -> None:
        async with self.opened() as store:
            await store.remove("r1")
            assert await store.all("r1") == NOTHING

    async def test_a_run_is_kept_again_after_it_was_removed(self) -> None:
        async with self.opened() as store:
            await store.put("r1", "load", b"1")
            await store.remove("r1")
            await store.put("r1", "rank", b"2")
            assert await store.all("r1") == {"rank": b"2"}

    async def test_what_was_read_does_not_change_with_the_store(self) -> None:
        async with self.opened() as store:
            await store.put("r1", "load", b"1")
            before = await store.all("r1")
            await store.put("r1", "rank", b"2")
            assert before == {"load": b"1"}

    async def test_of_many_who_put_at_once_nothing_is_lost(self) -> None:
        async with self.opened() as store:
            _, lost = await rivals(lambda number: store.put("r1", f"rank[{number}]", b"%d" % number))
            assert (await store.all("r1"), lost) == ({f"rank[{number}]": b"%d" % number for number in range(RIVALS)}, [])

    async def test_a_full_store_never_drops_the_results_of_a_run_for_its_next(self) -> None:
        async with self._small(10) as store:
            await store.put("r1", "load", b"12345")
            with pytest.raises(ResourceExhaustedError):
                await store.put("r1", "rank", b"123456")
            assert await store.all("r1") == {"load": b"12345"}

    async def test_a_result_that_takes_the_place_of_another_needs_only_what_is_more(self) -> None:
        async with self._small(10) as store:
            await store.put("r1", "load", b"1234567890")
            await store.put("r1", "load", b"0987654321")
            assert await store.all("r1") == {"load": b"0987654321"}

    async def test_what_was_removed_makes_room(self) -> None:
        async with self._small(10) as store:
            await store.put("r1", "load", b"1234567890")
            await store.remove("r1")
            await store.put("r2", "load", b"1234567890")
            assert await store.all("r2") == {"load": b"1234567890"}

    def _small(self, capacity: int) -> Any:
        store = self.make_small_store(capacity)
        if store is None:
            pytest.skip("make_small_store returns None: this store has no bound")
        return self.opened(store)
