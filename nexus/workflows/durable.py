"""Results of steps that are kept: of durable runs as they come, of others when they fail; so that a step is not called again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import anyio
import attrs
import msgspec

from nexus.abc import StepStore
from nexus.exceptions import NexusError, Problem, RegistrationError, UnavailableError
from nexus.models import Question, RunRecord
from nexus.workflows.calling import call_step, recorded
from nexus.workflows.codecs import Codecs
from nexus.workflows.execution import failure_of
from nexus.workflows.live import LiveRun, Unfinished
from nexus.workflows.plan import Plan, PlannedStep
from nexus.workflows.result_codecs import ResultCodec, result_codec

__all__ = ["RunResults", "StepResults"]

STORE_S: Final = 5.0
RESULT: Final = b"="
FAILURE: Final = b"!"


@attrs.define(eq=False, kw_only=True, repr=False)
class RunResults:
    """
    The results of steps that one run has kept, see `nexus.workflows.live.KnownResults`.

    Attributes:
        store: Where each result goes as it comes, of a durable run; else None.
        known: By step, of items by `name[i]`.
        failed: Code and message of items that failed, which a fan-out went on without.
        asked: Names of questions that were asked before the run was resumed.
        withdrawn: Questions that were open when its task was cancelled.
        suspended: It has left this process, and goes on at the next start.
    """

    run_id: str
    codecs: Mapping[str, ResultCodec]
    store: StepStore | None = None
    known: Mapping[str, Any] = attrs.field(factory=dict)
    failed: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    asked: set[str] = attrs.field(factory=set)
    withdrawn: dict[str, Question] = attrs.field(factory=dict)
    suspended: bool = False

    @property
    def durable(self) -> bool:
        """Whether the run goes on at the next start if it is dropped."""
        return self.store is not None

    async def carry(self, live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any]) -> Any:
        """Return the step's result: the one that is known, or call it."""
        if name in self.known:
            _note(live, name, None)
            return self.known[name]
        if name in self.failed:
            _note(live, name, self.failed[name][1])
            raise Problem(*self.failed[name])
        if self.store is None:
            return await recorded(live, name, call_step(live, step, name, arguments))
        try:
            return await recorded(live, name, self._stored(step, name, call_step(live, step, name, arguments)))
        except Exception as error:
            if step.each is not None and step.on_error != "fail":
                await self._put(name, FAILURE + msgspec.json.encode(failure_of(error)))
            raise

    async def _stored(self, step: PlannedStep, name: str, called: Awaitable[Any]) -> Any:
        result = await called
        try:
            kept = self.codecs[step.name].encode(result)
        except (TypeError, ValueError) as error:
            raise TypeError(f"step {name!r} of a durable workflow does not return what its hint says: {error}") from error
        await self._put(name, RESULT + kept)
        return result

    async def _put(self, name: str, result: bytes) -> None:
        assert self.store is not None  # noqa: S101 - only durable runs come here
        # Once the step has done its work, a cancellation must not make it do that again.
        with anyio.move_on_after(STORE_S, shield=True):
            try:
                await self.store.put(self.run_id, name, result)
            except NexusError as error:
                raise Problem(error.code, error.message) from error
            return
        raise UnavailableError(f"the result of step {name!r} could not be stored within {STORE_S:g} s")


def _note(live: LiveRun, name: str, error: str | None) -> None:
    now = live.clock.monotonic() - live.started
    live.steps.append((name, "succeeded" if error is None else "failed", now, now, error, 0))


@attrs.define(eq=False, repr=False)
class StepResults:
    """
    Keeps and finds results of steps.

    Args:
        report: Told what could not be kept of a run that failed, which does not change how that ended.
    """

    store: StepStore
    codecs: Codecs
    report: Callable[[str, BaseException], None]
    _codecs_of: WeakKeyDictionary[Plan, Mapping[str, ResultCodec]] = attrs.field(factory=WeakKeyDictionary, init=False)

    async def begun(self, run_id: str, plan: Plan, retried: RunRecord | None) -> RunResults:
        """
        Return what a new run is to know.

        Args:
            run_id: Of the new run.
            plan: What it is to carry out.
            retried: The run that failed, whose steps that succeeded are not called again, as long as the plan is the same.
        """
        known: dict[str, Any] = {}
        if retried is not None and retried.plan_hash and retried.plan_hash == plan.hash:
            kept = await self.store.all(retried.id)
            known = dict(self._readable(plan, kept))
            if plan.durable:
                for name in known:
                    await self.store.put(run_id, name, kept[name])
        return self._results(run_id, plan, known)

    async def resumed(self, record: RunRecord, plan: Plan) -> RunResults:
        """
        Return what a durable run knew when its process stopped.

        Raises:
            ValueError: What is kept is not what the steps return now.
        """
        kept = await self.store.all(record.id)
        codecs = self._codecs(plan)
        results = self._results(
            record.id,
            plan,
            {name: codecs[_step_of(name)].decode(result[1:]) for name, result in kept.items() if result[:1] == RESULT},
        )
        results.failed = {
            name: msgspec.json.decode(result[1:], type=tuple[str, str]) for name, result in kept.items() if result[:1] == FAILURE
        }
        # What was answered with a secret was known to the process alone.
        results.asked = {*record.questions, *(name for name, answer in record.answers.items() if answer.digest is None)}
        return results

    async def keep(self, live: LiveRun) -> str:
        """Keep what the steps of a run that failed have returned, as far as that can be stored; return its plan's hash if any."""
        unfinished, run_id = live.unfinished, live.record.id
        if unfinished is None or live.is_durable:
            return live.record.plan_hash
        if live.secrets is not None:
            return ""  # they may be in what the steps have made of them
        plan: Plan = unfinished.plan
        codecs = self._codecs(plan)
        is_kept = False
        try:
            with anyio.move_on_after(STORE_S, shield=True):
                for step, name, value in _succeeded(live, unfinished, codecs):
                    try:
                        result = codecs[step].encode(value)
                    except (TypeError, ValueError, RecursionError):
                        continue  # this step is run again
                    await self.store.put(run_id, name, RESULT + result)
                    is_kept = True
        except Exception as error:  # noqa: BLE001 - told; how the run ended does not change
            self.report("keep step results", error)
        return plan.hash if is_kept else ""

    async def forget(self, run_id: str) -> None:
        """Remove what is kept of a run that needs it no more."""
        try:
            await self.store.remove(run_id)
        except Exception as error:  # noqa: BLE001 - told; it goes with the record at the latest
            self.report("remove step results", error)

    def _results(self, run_id: str, plan: Plan, known: Mapping[str, Any]) -> RunResults:
        return RunResults(run_id=run_id, codecs=self._codecs(plan), store=self.store if plan.durable else None, known=known)

    def _readable(self, plan: Plan, kept: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
        codecs = self._codecs(plan)
        for name, result in kept.items():
            if result[:1] == RESULT:
                try:
                    yield name, codecs[_step_of(name)].decode(result[1:])
                except (KeyError, ValueError):
                    continue  # this step is run again

    def _codecs(self, plan: Plan) -> Mapping[str, ResultCodec]:
        """Return how the steps' results are stored, of those where that can be; made when first asked for."""
        if plan not in self._codecs_of:
            made = {}
            for step in plan.graph.steps:
                try:
                    made[step.name] = result_codec(step, self.codecs)
                except RegistrationError:
                    continue  # it is run again
            self._codecs_of[plan] = made
        return self._codecs_of[plan]


def _step_of(name: str) -> str:
    return name.partition("[")[0]


def _succeeded(live: LiveRun, unfinished: Unfinished, codecs: Mapping[str, ResultCodec]) -> Iterator[tuple[str, str, Any]]:
    """Yield step, name and result of what succeeded, and could be stored."""
    plan: Plan = unfinished.plan
    names = {row[0] for row in live.steps if row[1] == "succeeded"}
    for step, result in zip(plan.steps, unfinished.results, strict=True):
        if step.name not in codecs or step.streams_to or step.is_streamed:
            continue
        if step.each is None:
            if step.name in names:
                yield step.name, step.name, result
            continue
        source = step.each[1]
        if step.each[2] is None and (plan.steps[source].name not in codecs or plan.steps[source].streams_to):
            continue  # what it fans out over is made anew, and its items may be others
        outputs = unfinished.fan_outs.get(step.name, {})
        if isinstance(result, list) and step.on_error != "skip":
            outputs = dict(enumerate(result))
        for number, item in outputs.items():
            name = f"{step.name}[{number}]"
            if name in names:
                yield step.name, name, item
