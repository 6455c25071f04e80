"""The tests that every run store passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from nexus.abc import RunStore
from nexus.exceptions import ConflictError, InvalidArgumentError, NotFoundError, ResourceExhaustedError
from nexus.models import ANONYMOUS, Answer, Page, Question, RunError, RunRecord, Scope
from nexus.testing.contracts import ADA, ADA_ELSEWHERE, BOB, INSTANT, NOON, SECOND, StoreContract, anonymous, flat, rivals, walk

__all__ = ["RunStoreContract"]

NO_FILTER: Mapping[str, str] = {}

ANSWER = Answer([1, "a", None], {"type": "array"})


def run_of(scope: Scope, run_id: str, *, created_at: datetime = NOON, **changes: Any) -> RunRecord:
    """Return the record of a running run that belongs to the scope."""
    record = RunRecord(
        id=run_id,
        workflow="process_data",
        workflow_version="1",
        status="running",
        request_id=f"request-{run_id}",
        channel="api",
        principal=scope.principal or ANONYMOUS.id,
        tenant=scope.tenant,
        session=scope.session,
        created_at=created_at,
    )
    return attrs.evolve(record, **changes)


def ended(record: RunRecord, ended_at: datetime) -> RunRecord:
    """Return the record as it is after it succeeded."""
    return attrs.evolve(
        record, status="succeeded", ended_at=ended_at, duration=(ended_at - record.created_at).total_seconds(), output=[1, 2]
    )


def id_of(record: RunRecord) -> str:
    """Return what records are sorted by."""
    return record.id


async def filled(store: RunStore, *records: RunRecord) -> RunStore:
    """Keep the records, each for whom it belongs to."""
    for record in records:
        scope = Scope(tenant=record.tenant, principal=record.principal, session=record.session)
        await store.create(scope, record)
    return store


async def listed(store: RunStore, scope: Scope, *, limit: int = 100, **where: str) -> list[str]:
    """Return the ids of one long page."""
    page = await store.list(scope, where=where, after=None, limit=limit)
    return [run.id for run in page.items]


class RunStoreContract(StoreContract[RunStore]):
    """
    What a `RunStore` promises. Subclass it as `Test…`, with `make_store`.

    A bounded store overrides `make_small_store` too; without it the tests of its capacity are skipped.
    """

    def make_small_store(self, capacity: int) -> RunStore | None:  # noqa: ARG002 - for subclasses
        """Return a new store that holds at most *capacity* runs, or None if it has no bound."""
        return None

    async def test_a_created_record_is_returned_and_kept_whole(self) -> None:
        question = Question(name="rank.1", text="Keep it?", schema={"type": "boolean"}, step="rank", default=True)
        steps = [("load", "succeeded", 0.0, 0.5, None, 1), ("rank[0]", "failed", 0.5, 0.75, "the workflow failed", 3)]
        asked: dict[str, Any] = {"questions": {"rank.1": question}, "answers": {"load.1": ANSWER}}
        record = run_of(ADA, "r1", status="waiting", step_rows=steps, cached=True, **asked)
        async with self.opened() as store:
            assert await store.create(ADA, record) == record
            kept = await store.get(ADA, "r1")
            assert kept == record
            assert kept.steps == record.steps

    async def test_a_second_record_of_an_id_is_a_conflict_whoever_brings_it(self) -> None:
        async with self.opened() as store:
            first = await store.create(ADA, run_of(ADA, "r1"))
            for scope in (ADA, BOB):
                with pytest.raises(ConflictError):
                    await store.create(scope, run_of(scope, "r1", workflow="other"))
            assert await store.get(ADA, "r1") == first

    async def test_of_many_who_create_one_id_at_once_one_succeeds(self) -> None:
        async with self.opened() as store:
            won, lost = await rivals(lambda number: store.create(ADA, run_of(ADA, "r1", request_id=f"request-{number}")))
            assert [await store.get(ADA, "r1")] == won
            assert {type(error) for error in lost} == {ConflictError}

    async def test_an_unknown_id_is_not_found(self) -> None:
        async with self.opened() as store:
            with pytest.raises(NotFoundError):
                await store.get(Scope.ALL, "r1")

    @pytest.mark.parametrize("stranger", [BOB, ADA_ELSEWHERE, Scope(tenant=None, principal="ada"), anonymous("s1")])
    async def test_a_record_of_another_scope_is_not_found(self, stranger: Scope) -> None:
        async with self.opened() as store:
            await filled(store, run_of(ADA, "r1"))
            with pytest.raises(NotFoundError):
                await store.get(stranger, "r1")

    async def test_the_application_gets_every_record(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(ADA, "r1"), run_of(anonymous("s1"), "r2"))
            assert (await store.get(Scope.ALL, "r1")).principal == "ada"
            assert (await store.get(Scope.ALL, "r2")).session == "s1"

    async def test_an_anonymous_record_is_had_by_its_id_in_any_session(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(anonymous("s1"), "r1"))
            assert (await store.get(anonymous("s2"), "r1")).id == "r1"
            with pytest.raises(NotFoundError):
                await store.get(ADA, "r1")

    async def test_a_key_gives_back_the_first_record(self) -> None:
        async with self.opened() as store:
            first = await store.create(ADA, run_of(ADA, "r1"), key="k", inputs_hash="h")
            assert await store.create(ADA, run_of(ADA, "r2"), key="k", inputs_hash="h") == first
            ended_first = await store.save(ended(first, NOON + SECOND), expected_version=1)
            assert await store.create(ADA, run_of(ADA, "r3", workflow_version="2"), key="k", inputs_hash="h") == ended_first
            for run_id in ("r2", "r3"):
                with pytest.raises(NotFoundError):
                    await store.get(ADA, run_id)

    async def test_a_key_with_other_inputs_is_a_conflict(self) -> None:
        async with self.opened() as store:
            await store.create(ADA, run_of(ADA, "r1"), key="k", inputs_hash="h")
            with pytest.raises(ConflictError):
                await store.create(ADA, run_of(ADA, "r2"), key="k", inputs_hash="other")
            with pytest.raises(NotFoundError):
                await store.get(ADA, "r2")

    @pytest.mark.parametrize(
        ("scope", "workflow", "key"),
        [(BOB, "process_data", "k"), (ADA_ELSEWHERE, "process_data", "k"), (ADA, "other", "k"), (ADA, "process_data", "K")],
    )
    async def test_a_key_is_its_callers_and_its_workflows(self, scope: Scope, workflow: str, key: str) -> None:
        async with self.opened() as store:
            await store.create(ADA, run_of(ADA, "r1"), key="k", inputs_hash="h")
            assert (await store.create(scope, run_of(scope, "r2", workflow=workflow), key=key, inputs_hash="h")).id == "r2"

    async def test_a_key_of_the_anonymous_is_their_sessions(self) -> None:
        async with self.opened() as store:
            await store.create(anonymous("s1"), run_of(anonymous("s1"), "r1"), key="k", inputs_hash="h")
            other = await store.create(anonymous("s2"), run_of(anonymous("s2"), "r2"), key="k", inputs_hash="h")
            same = await store.create(anonymous("s1"), run_of(anonymous("s1"), "r3"), key="k", inputs_hash="h")
            assert (other.id, same.id) == ("r2", "r1")

    async def test_of_many_who_bring_one_key_at_once_all_get_one_record(self) -> None:
        async with self.opened() as store:
            won, lost = await rivals(lambda number: store.create(ADA, run_of(ADA, f"r{number}"), key="k", inputs_hash="h"))
            assert (len({record.id for record in won}), lost) == (1, [])

    async def test_a_key_goes_with_its_record(self) -> None:
        async with self.opened() as store:
            first = await store.create(ADA, run_of(ADA, "r1"), key="k", inputs_hash="h")
            await store.save(ended(first, NOON), expected_version=1)
            assert list(await store.prune(ended_before=NOON + SECOND)) == ["r1"]
            assert (await store.create(ADA, run_of(ADA, "r2"), key="k", inputs_hash="other")).id == "r2"

    async def test_a_saved_record_has_the_next_version(self) -> None:
        async with self.opened() as store:
            first = await store.create(ADA, run_of(ADA, "r1"))
            second = await store.save(ended(first, NOON + SECOND), expected_version=1)
            assert (second.version, second.status, second.output) == (2, "succeeded", [1, 2])
            assert await store.get(ADA, "r1") == second
            third = await store.save(attrs.evolve(second, answers={"q": ANSWER}), expected_version=2)
            assert third.version == 3

    async def test_the_version_of_what_is_saved_does_not_matter_only_the_expected_one(self) -> None:
        async with self.opened() as store:
            await store.create(ADA, run_of(ADA, "r1"))
            saved = await store.save(run_of(ADA, "r1", version=17, status="waiting"), expected_version=1)
            assert saved.version == 2

    @pytest.mark.parametrize("expected_version", [0, 1, 3])
    async def test_a_change_of_another_version_is_a_conflict_and_changes_nothing(self, expected_version: int) -> None:
        async with self.opened() as store:
            await store.create(ADA, run_of(ADA, "r1"))
            kept = await store.save(run_of(ADA, "r1", status="waiting"), expected_version=1)
            with pytest.raises(ConflictError):
                await store.save(run_of(ADA, "r1", status="cancelled"), expected_version=expected_version)
            assert await store.get(ADA, "r1") == kept

    async def test_of_many_changes_at_once_one_succeeds(self) -> None:
        async with self.opened() as store:
            record = await store.create(ADA, run_of(ADA, "r1"))
            won, lost = await rivals(
                lambda number: store.save(
                    attrs.evolve(record, answers={"q": attrs.evolve(ANSWER, value=number)}), expected_version=1
                )
            )
            assert [await store.get(ADA, "r1")] == won
            assert {type(error) for error in lost} == {ConflictError}

    async def test_what_was_never_created_cannot_be_saved(self) -> None:
        async with self.opened() as store:
            with pytest.raises(NotFoundError):
                await store.save(run_of(ADA, "r1"), expected_version=1)

    async def test_an_error_is_kept_by_code_message_and_details(self) -> None:
        async with self.opened() as store:
            failure = RunError(code="conflict", message="taken", details={"by": "bob", "seats": [1, 2]})
            await store.create(ADA, run_of(ADA, "r1", status="failed", ended_at=NOON, error=failure))
            assert (await store.get(ADA, "r1")).error == failure

    async def test_a_listing_has_the_newest_first(self) -> None:
        async with self.opened() as store:
            await filled(store, *(run_of(ADA, f"r{age}", created_at=NOON - age * INSTANT) for age in (2, 0, 3, 1)))
            assert await listed(store, ADA) == ["r0", "r1", "r2", "r3"]

    async def test_a_listing_of_an_empty_store_is_empty(self) -> None:
        async with self.opened() as store:
            assert await store.list(Scope.ALL, where=NO_FILTER, after=None, limit=10) == Page([], None)

    async def test_a_listing_is_of_its_scope_only(self) -> None:
        async with self.opened() as store:
            owners = {"r1": ADA, "r2": BOB, "r3": ADA_ELSEWHERE, "r4": anonymous("s1"), "r5": anonymous("s2")}
            await filled(store, *(run_of(scope, run_id) for run_id, scope in owners.items()))
            for run_id, scope in owners.items():
                assert await listed(store, scope) == [run_id]
            assert sorted(await listed(store, Scope.ALL)) == sorted(owners)

    async def test_an_anonymous_caller_without_a_session_lists_nothing(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(anonymous("s1"), "r1"))
            assert await listed(store, Scope(tenant=None, principal=ANONYMOUS.id)) == []

    async def test_a_named_principal_lists_its_runs_of_every_session(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(ADA, "r1", session="s1"), run_of(ADA, "r2", session="s2", created_at=NOON - SECOND))
            assert await listed(store, ADA) == ["r1", "r2"]

    async def test_a_listing_can_be_filtered_by_status_and_workflow(self) -> None:
        async with self.opened() as store:
            records = [run_of(ADA, "r1"), run_of(ADA, "r2", workflow="other"), run_of(ADA, "r3", status="waiting")]
            await filled(store, *records, run_of(BOB, "r4"))
            assert sorted(await listed(store, ADA, status="running")) == ["r1", "r2"]
            assert sorted(await listed(store, ADA, workflow="process_data")) == ["r1", "r3"]
            assert await listed(store, ADA, workflow="process_data", status="running") == ["r1"]
            assert await listed(store, ADA, workflow="nothing") == []

    async def test_a_listing_follows_the_changes_of_a_record(self) -> None:
        async with self.opened() as store:
            record = await store.create(ADA, run_of(ADA, "r1"))
            await store.save(ended(record, NOON), expected_version=1)
            assert await listed(store, ADA, status="running") == []
            assert await listed(store, ADA, status="succeeded") == ["r1"]

    async def test_another_filter_is_refused(self) -> None:
        async with self.opened() as store:
            with pytest.raises(InvalidArgumentError):
                await store.list(ADA, where={"colour": "red"}, after=None, limit=10)

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
    async def test_the_pages_together_are_the_listing(self, limit: int) -> None:
        async with self.opened() as store:
            await filled(
                store, *(run_of(ADA, f"r{age}", created_at=NOON - age * SECOND) for age in range(6)), run_of(BOB, "theirs")
            )
            pages = await walk(lambda after: store.list(ADA, where=NO_FILTER, after=after, limit=limit))
            assert flat(pages) == [f"r{age}" for age in range(6)]
            assert max(len(page) for page in pages) <= limit

    async def test_records_of_one_instant_are_listed_once_each(self) -> None:
        async with self.opened() as store:
            await filled(store, *(run_of(ADA, f"r{number}") for number in range(7)))
            pages = await walk(lambda after: store.list(ADA, where=NO_FILTER, after=after, limit=2))
            assert sorted(flat(pages)) == [f"r{number}" for number in range(7)]

    async def test_new_records_do_not_shift_the_pages_behind_a_cursor(self) -> None:
        async with self.opened() as store:
            await filled(store, *(run_of(ADA, f"r{age}", created_at=NOON - age * SECOND) for age in range(4)))
            first = await store.list(ADA, where=NO_FILTER, after=None, limit=2)
            await filled(store, run_of(ADA, "new", created_at=NOON + SECOND))
            second = await store.list(ADA, where=NO_FILTER, after=first.cursor, limit=2)
            assert flat([first.items, second.items]) == ["r0", "r1", "r2", "r3"]

    async def test_a_cursor_opens_nothing_outside_the_scope(self) -> None:
        async with self.opened() as store:
            await filled(store, *(run_of(ADA, f"r{age}", created_at=NOON - age * SECOND) for age in range(4)))
            page = await store.list(ADA, where=NO_FILTER, after=None, limit=2)
            assert (await store.list(BOB, where=NO_FILTER, after=page.cursor, limit=2)).items == []

    async def test_pruning_removes_runs_that_ended_before_and_says_which(self) -> None:
        async with self.opened() as store:
            await filled(
                store,
                ended(run_of(ADA, "old"), NOON - INSTANT),
                ended(run_of(BOB, "older"), NOON - timedelta(days=400)),
                ended(run_of(ADA, "on the dot"), NOON),
                run_of(ADA, "running", created_at=NOON - timedelta(days=400)),
                run_of(ADA, "waiting", status="waiting", created_at=NOON - timedelta(days=400)),
            )
            assert sorted(await store.prune(ended_before=NOON)) == ["old", "older"]
            assert sorted(await listed(store, Scope.ALL)) == ["on the dot", "running", "waiting"]
            with pytest.raises(NotFoundError):
                await store.get(ADA, "old")
            assert list(await store.prune(ended_before=NOON)) == []

    async def test_a_run_that_ended_by_a_change_is_pruned_too(self) -> None:
        async with self.opened() as store:
            record = await store.create(ADA, run_of(ADA, "r1"))
            await store.save(ended(record, NOON), expected_version=1)
            assert list(await store.prune(ended_before=NOON + INSTANT)) == ["r1"]
            with pytest.raises(NotFoundError):
                await store.save(record, expected_version=2)

    async def test_a_run_without_an_owner_is_given_to_who_claims_it(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(ADA, "r1"), run_of(BOB, "r2", status="waiting"), run_of(ADA, "r3", status="pending"))
            claimed = await store.claim("here", until=NOON + SECOND, now=NOON)
            assert sorted((run.id, run.owner, run.version) for run in claimed) == [
                ("r1", "here", 2),
                ("r2", "here", 2),
                ("r3", "here", 2),
            ]
            assert sorted([await store.get(Scope.ALL, run.id) for run in claimed], key=id_of) == sorted(claimed, key=id_of)

    async def test_a_run_that_has_ended_is_nobodys(self) -> None:
        async with self.opened() as store:
            await filled(store, ended(run_of(ADA, "r1"), NOON))
            record = await store.create(ADA, run_of(ADA, "r2"))
            await store.save(ended(record, NOON), expected_version=1)
            assert list(await store.claim("here", until=NOON + SECOND, now=NOON)) == []

    async def test_the_runs_of_an_owner_are_its_own_until_its_lease_expires(self) -> None:
        async with self.opened() as store:
            await store.claim("there", until=NOON + SECOND, now=NOON)
            await filled(store, run_of(ADA, "r1", owner="there"))
            assert list(await store.claim("here", until=NOON + 2 * SECOND, now=NOON + SECOND - INSTANT)) == []
            claimed = await store.claim("here", until=NOON + 2 * SECOND, now=NOON + SECOND)
            assert [(run.id, run.owner) for run in claimed] == [("r1", "here")]

    async def test_a_lease_that_is_renewed_lasts(self) -> None:
        async with self.opened() as store:
            await store.claim("there", until=NOON + SECOND, now=NOON)
            await filled(store, run_of(ADA, "r1", owner="there"))
            await store.claim("there", until=NOON + 3 * SECOND, now=NOON + SECOND - INSTANT)
            assert list(await store.claim("here", until=NOON + 4 * SECOND, now=NOON + 2 * SECOND)) == []

    async def test_a_lease_that_is_given_up_leaves_the_runs_to_others_at_once(self) -> None:
        async with self.opened() as store:
            await store.claim("there", until=NOON + SECOND, now=NOON)
            await filled(store, run_of(ADA, "r1", owner="there"))
            await store.claim("there", until=NOON, now=NOON)
            assert [run.id for run in await store.claim("here", until=NOON + SECOND, now=NOON)] == ["r1"]

    async def test_an_owner_is_not_given_its_own_runs(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(ADA, "r1", owner="here"))
            assert list(await store.claim("here", until=NOON + SECOND, now=NOON)) == []

    async def test_of_many_who_claim_at_once_one_is_given_a_run(self) -> None:
        async with self.opened() as store:
            await filled(store, run_of(ADA, "r1"), run_of(ADA, "r2"))
            won, lost = await rivals(lambda number: store.claim(f"owner{number}", until=NOON + SECOND, now=NOON))
            assert (sorted(run.id for runs in won for run in runs), lost) == (["r1", "r2"], [])

    async def test_who_was_the_owner_can_not_save_a_run_that_was_claimed(self) -> None:
        async with self.opened() as store:
            record = await store.create(ADA, run_of(ADA, "r1", owner="there"))
            (claimed,) = await store.claim("here", until=NOON + SECOND, now=NOON)
            with pytest.raises(ConflictError):
                await store.save(ended(record, NOON), expected_version=record.version)
            assert await store.get(ADA, "r1") == claimed

    async def test_a_full_store_makes_room_by_forgetting_a_run_that_ended(self) -> None:
        async with self._small(2) as store:
            await filled(store, ended(run_of(ADA, "r1"), NOON), run_of(ADA, "r2"), run_of(ADA, "r3"))
            assert sorted(await listed(store, ADA)) == ["r2", "r3"]

    async def test_a_store_full_of_runs_that_have_not_ended_refuses_another(self) -> None:
        async with self._small(2) as store:
            await filled(store, run_of(ADA, "r1"), run_of(ADA, "r2", status="waiting"))
            with pytest.raises(ResourceExhaustedError):
                await store.create(BOB, run_of(BOB, "r3"))
            assert sorted(await listed(store, Scope.ALL)) == ["r1", "r2"]

    def _small(self, capacity: int) -> Any:
        store = self.make_small_store(capacity)
        if store is None:
            pytest.skip("make_small_store returns None: this store has no bound")
        return self.opened(store)
