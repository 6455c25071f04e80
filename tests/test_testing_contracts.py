"""The contract suites fail for a store that breaks a promise, and only when they are asked to run."""

from __future__ import annotations

import pytest

from nexus.models import Page
from nexus.testing.contracts import walk

pytest_plugins = ["pytester"]

BROKEN_STORES = """
import attrs
from nexus.cache import MemoryCache
from nexus.exceptions import ConflictError, NotFoundError
from nexus.memory import MemoryRunStore, MemorySessionStore, MemoryStepStore
from nexus.models import MISSING, Page, Scope
from nexus.testing import CacheContract, RunStoreContract, SessionStoreContract, StepStoreContract

import anyio.lowlevel
import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


class LeakyRuns(MemoryRunStore):
    async def get(self, scope, run_id):
        return await super().get(Scope.ALL, run_id)

class CarelessRuns(MemoryRunStore):
    async def save(self, run, *, expected_version):
        kept = await self.get(Scope.ALL, run.id)
        return await super().save(run, expected_version=kept.version)

class RacyRuns(MemoryRunStore):
    async def save(self, run, *, expected_version):
        kept = await self.get(Scope.ALL, run.id)
        if kept.version != expected_version:
            raise ConflictError("changed")
        await anyio.lowlevel.checkpoint()
        self._runs[run.id] = attrs.evolve(run, version=expected_version + 1)
        return self._runs[run.id]

class OverwritingRuns(MemoryRunStore):
    async def create(self, scope, run, *, key=None, inputs_hash=""):
        self._runs.pop(run.id, None)
        return await super().create(scope, run, key=key, inputs_hash=inputs_hash)

class CountingPagesRuns(MemoryRunStore):
    async def list(self, scope, *, where, after, limit):
        whole = (await super().list(scope, where=where, after=None, limit=1000)).items
        start = int(after or 0)
        return Page(whole[start:start + limit], str(start + limit) if start + limit < len(whole) else None)

class OpenSessionRuns(MemoryRunStore):
    def _in_scope(self, scope):
        return (run for run in self._runs.values() if scope.covers(tenant=run.tenant, principal=run.principal))

class EagerPruningRuns(MemoryRunStore):
    async def prune(self, *, ended_before):
        return await super().prune(ended_before=ended_before.replace(year=ended_before.year + 1))

class GrabbingRuns(MemoryRunStore):
    async def claim(self, owner, *, until, now):
        self._leases.clear()
        return await super().claim(owner, until=until, now=now)

class SharingRuns(MemoryRunStore):
    async def claim(self, owner, *, until, now):
        kept = dict(self._runs)
        claimed = await super().claim(owner, until=until, now=now)
        self._runs = kept
        return claimed

class ForgetfulSteps(MemoryStepStore):
    async def put(self, run_id, step, result):
        await self.remove(run_id)
        await super().put(run_id, step, result)

class StickySteps(MemoryStepStore):
    async def remove(self, run_id):
        pass

class MixedSteps(MemoryStepStore):
    async def all(self, run_id):
        return {name: kept for results in self._results.values() for name, kept in results.items()}

class UndeadSessions(MemorySessionStore):
    async def find(self, token_hash, *, now):
        return await super().find(token_hash, now=now.replace(year=now.year - 1))

class UnforgettingSessions(MemorySessionStore):
    async def remove(self, scope, session_id):
        token = self._tokens.get(session_id)
        session = self._sessions.get(session_id)
        await super().remove(scope, session_id)
        await self.add(session, token_hash=token)

class GenerousSessions(MemorySessionStore):
    async def remove(self, scope, session_id):
        await super().remove(Scope.ALL, session_id)

class CarelessSessions(MemorySessionStore):
    async def save(self, session, *, expected_version):
        kept = self._sessions.get(session.id)
        if kept is None:
            raise NotFoundError("none")
        return await super().save(session, expected_version=kept.version)

class ListingTheDeadSessions(MemorySessionStore):
    async def list(self, scope, *, now, after, limit):
        return await super().list(scope, now=now.replace(year=now.year - 1), after=after, limit=limit)

class EmptyIsMissingCache(MemoryCache):
    async def get(self, key, *, now):
        found = await super().get(key, now=now)
        return found if found is not MISSING and found[0] else MISSING

class UndyingCache(MemoryCache):
    async def get(self, key, *, now):
        return await super().get(key, now=now.replace(year=now.year - 100))

class TaglessCache(MemoryCache):
    async def set(self, key, value, *, expires_at, tags=()):
        await super().set(key, value, expires_at=expires_at)

class CaselessCache(MemoryCache):
    async def get(self, key, *, now):
        return await super().get(key.lower(), now=now)

def suite(contract, store):
    return type(f"Test{store.__name__}", (contract,), {"make_store": lambda self: store()})

for store in [
    LeakyRuns, CarelessRuns, RacyRuns, OverwritingRuns, CountingPagesRuns, OpenSessionRuns, EagerPruningRuns, GrabbingRuns,
    SharingRuns,
]:
    globals()[f"Test{store.__name__}"] = suite(RunStoreContract, store)
for store in [ForgetfulSteps, StickySteps, MixedSteps]:
    globals()[f"Test{store.__name__}"] = suite(StepStoreContract, store)
for store in [UndeadSessions, UnforgettingSessions, GenerousSessions, CarelessSessions, ListingTheDeadSessions]:
    globals()[f"Test{store.__name__}"] = suite(SessionStoreContract, store)
for store in [EmptyIsMissingCache, UndyingCache, TaglessCache, CaselessCache]:
    globals()[f"Test{store.__name__}"] = suite(CacheContract, store)
"""

NOTICED_BY = {
    "LeakyRuns": "test_a_record_of_another_scope_is_not_found",
    "CarelessRuns": "test_a_change_of_another_version_is_a_conflict_and_changes_nothing",
    "RacyRuns": "test_of_many_changes_at_once_one_succeeds",
    "OverwritingRuns": "test_a_second_record_of_an_id_is_a_conflict_whoever_brings_it",
    "CountingPagesRuns": "test_new_records_do_not_shift_the_pages_behind_a_cursor",
    "OpenSessionRuns": "test_a_listing_is_of_its_scope_only",
    "EagerPruningRuns": "test_pruning_removes_runs_that_ended_before_and_says_which",
    "GrabbingRuns": "test_the_runs_of_an_owner_are_its_own_until_its_lease_expires",
    "SharingRuns": "test_of_many_who_claim_at_once_one_is_given_a_run",
    "ForgetfulSteps": "test_the_results_of_a_run_are_kept_by_step",
    "StickySteps": "test_what_is_removed_is_gone",
    "MixedSteps": "test_the_results_of_runs_are_kept_apart",
    "UndeadSessions": "test_a_session_is_live_until_just_before_it_expires",
    "UnforgettingSessions": "test_the_token_of_a_removed_session_is_good_for_nothing",
    "GenerousSessions": "test_a_session_of_another_scope_cannot_be_removed",
    "CarelessSessions": "test_a_change_of_another_version_is_a_conflict_and_changes_nothing",
    "ListingTheDeadSessions": "test_a_listing_is_of_live_sessions",
    "EmptyIsMissingCache": "test_what_was_set_is_given_back_as_it_was",
    "UndyingCache": "test_a_value_is_there_until_just_before_it_expires",
    "TaglessCache": "test_discarding_a_tag_discards_what_has_it_and_nothing_else",
    "CaselessCache": "test_a_key_is_that_key_and_no_other",
}

OUR_PLUGIN = ("-p", "no:asyncio", "-p", "no:nexus", "-p", "nexus.testing.pytest_plugin", "-p", "no:cacheprovider")


@pytest.mark.slow
def test_each_broken_promise_is_noticed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BROKEN_STORES)
    lines = pytester.runpytest_subprocess(*OUR_PLUGIN, "-rf", "--tb=no", "-q").outlines
    failed = {tuple(line.split(" ")[1].split("[")[0].split("::")[1:]) for line in lines if line.startswith("FAILED")}
    assert {(f"Test{store}", test) for store, test in NOTICED_BY.items()} - failed == set()


@pytest.mark.slow
def test_a_suite_that_is_only_imported_is_not_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("from nexus.testing import RunStoreContract, SessionStoreContract\ndef test_nothing(): pass")
    pytester.runpytest_subprocess(*OUR_PLUGIN).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_failure_of_a_suite_shows_the_values(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BROKEN_STORES)
    result = pytester.runpytest_subprocess(*OUR_PLUGIN, "-k", "TestListingTheDeadSessions and live")
    result.stdout.fnmatch_lines(["E*AssertionError: assert *'short'*== *'long'*"])


@pytest.mark.slow
def test_a_store_without_a_bound_skips_the_tests_of_its_capacity(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from nexus.memory import MemoryRunStore, MemorySessionStore
        from nexus.testing import RunStoreContract, SessionStoreContract

        class TestRuns(RunStoreContract):
            def make_store(self):
                return MemoryRunStore()

        class TestSessions(SessionStoreContract):
            def make_store(self):
                return MemorySessionStore()
        """
    )
    result = pytester.runpytest_subprocess(*OUR_PLUGIN, "-k", "full", "-rs")
    result.assert_outcomes(skipped=8)
    result.stdout.fnmatch_lines(["SKIPPED*make_small_store returns None: this store has no bound"])


@pytest.mark.anyio
async def test_a_listing_that_never_ends_is_noticed() -> None:
    async def endless(_after: str | None) -> Page[int]:
        return Page([1], "more")

    with pytest.raises(AssertionError, match="the listing still has a cursor after 3 pages"):
        await walk(endless, at_most=3)
