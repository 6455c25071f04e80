"""Results that are kept: looked for before the work, one execution for all who ask at once."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import anyio
import attrs
import msgspec

from nexus.abc import Cache, Clock
from nexus.exceptions import RegistrationError
from nexus.models import ANONYMOUS, APPLICATION, MISSING, Call
from nexus.workflows.caching import CachePolicy
from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import Workflow
from nexus.workflows.fields import Check, Field
from nexus.workflows.hashing import code_hash, digest
from nexus.workflows.live import LiveRun
from nexus.workflows.plan import Plan

__all__ = ["KeptResults", "ResultCache", "kept_results"]

ReportProblem = Callable[[str, str, BaseException | None], None]


@attrs.define(eq=False, repr=False)
class Flight:
    """
    One execution that others wait for.

    Attributes:
        encoded: What it gave, once `done`; None: nothing that others could be given.
        alone: It succeeded, but the next one gains nothing by being waited for.
        outdated: What it is going to give was discarded before it was there.
    """

    tags: Sequence[str]
    done: anyio.Event = attrs.field(factory=anyio.Event)
    encoded: bytes | None = None
    alone: bool = False
    outdated: bool = False


@attrs.define(eq=False, kw_only=True, repr=False)
class ResultCache:
    """
    The results that an application keeps: `app.cache`.

    Attributes:
        ttl: How long, where a workflow does not say.
        report: Told the workflow, why a result could not be kept or found, and what was raised.
        kept: Rises with each result that is kept.
    """

    cache: Cache
    clock: Clock
    codecs: Codecs
    ttl: timedelta
    report: ReportProblem
    kept: int = attrs.field(default=0, init=False)
    flights: dict[str, Flight] = attrs.field(factory=dict, init=False)
    leaders: set[str] = attrs.field(factory=set, init=False)
    _find: Callable[[str | Callable[..., Any] | Workflow], Sequence[KeptResults]]

    async def discard(self, workflow: str | Callable[..., Any] | Workflow, inputs: Mapping[str, Any] | None = None, /) -> None:
        """
        Forget results, whoever they were made for; a run that is on its way to one keeps nothing.

        Args:
            workflow: Its name (every version), `name@version`, or what was registered.
            inputs: Only those of these inputs; by name, Python values or JSON values.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or its results are not kept.
            InvalidArgumentError: The inputs don't fit.
        """
        for results in self._find(workflow):
            await self._discard(results.reference if inputs is None else results.tag_of(inputs))

    async def discard_tag(self, tag: str, /) -> None:
        """Forget the results of every workflow that has this tag among its `tags`."""
        await self._discard(f"tag:{tag}")

    async def _discard(self, tag: str) -> None:
        for key, flight in list(self.flights.items()):
            if tag in flight.tags:
                flight.outdated = True
                del self.flights[key]
        await self.cache.discard_tag(tag)

    async def get(self, workflow: str, key: str) -> bytes | None:
        """Return what is kept; None also where the cache fails."""
        try:
            found = await self.cache.get(key, now=self.clock.now())
        except Exception as error:  # noqa: BLE001 - a cache that fails is one that has nothing
            self.report(workflow, "the cache can't be read", error)
            return None
        return None if found is MISSING else found[0]

    async def set(self, workflow: str, key: str, value: bytes, *, ttl: timedelta | None, tags: Sequence[str]) -> None:
        """Keep a result, if the cache does."""
        self.kept += 1
        try:
            await self.cache.set(key, value, expires_at=self.clock.now() + (ttl or self.ttl), tags=tags)
        except Exception as error:  # noqa: BLE001 - as above
            self.report(workflow, "the cache can't be written", error)

    async def unset(self, workflow: str, key: str) -> None:
        """Forget a result that was discarded while it was being kept."""
        try:
            await self.cache.discard(key)
        except Exception as error:  # noqa: BLE001 - as above
            self.report(workflow, "the cache can't be written", error)


@attrs.define(eq=False, kw_only=True, repr=False)
class KeptResults:
    """
    How the results of one workflow are kept.

    Attributes:
        reference: `name@version`.
        identity: What else its keys are made of: the plan's hash, and the code of the steps, for a notebook writes them anew.
        output: The field of the output.
        key_inputs: The inputs that the policy's `key` takes.
    """

    cache: ResultCache
    policy: CachePolicy
    reference: str
    tags: Sequence[str]
    plan: Plan
    identity: str
    output: Field
    key_inputs: Sequence[str]
    _told: bool = attrs.field(default=False, init=False)

    async def carry_out(self, live: LiveRun, inputs: Mapping[str, Any], compute: Callable[[], Awaitable[Any]]) -> Any:
        """
        Return what is kept, else carry the plan out and keep the output.

        See `nexus.workflows.plan.CachedOutput`. Who waits for another run's result holds no place meanwhile.
        """
        take_turn = live.take_turn
        assert take_turn is not None  # noqa: S101 - for the type checker: a run of such a plan has it
        if live.call.request.form is not None:
            # Files that came with the call go with it.
            await take_turn()
            return await compute()
        try:
            material = self._material(inputs)
        except Exception as error:  # noqa: BLE001 - no reason to give no result
            self._complain("its inputs make no key", error)
            await take_turn()
            return await compute()
        cache, key = self.cache, self._key(live.call, material)
        seen, alone, has_turn = cache.kept, not self._may_wait(live), False
        encoded = await cache.get(self.reference, key)
        while True:
            if encoded is not None and (output := self._decoded(encoded)) is not MISSING:
                live.record = live.record.changed(cached=True)
                return output
            flight = None if alone else cache.flights.get(key)
            if flight is None and has_turn:
                return await self._lead(live, key, material, seen, compute)
            if flight is None:
                await take_turn()
                has_turn = True
                continue
            live.give_slots_back()
            has_turn = False
            await flight.done.wait()
            encoded, alone = flight.encoded, flight.alone

    async def _lead(self, live: LiveRun, key: str, material: bytes, seen: int, compute: Callable[[], Awaitable[Any]]) -> Any:
        """Carry the plan out, for all who wait meanwhile."""
        cache, tags = self.cache, (*self.tags, self._tag(material))
        flight = Flight(tags)
        cache.flights.setdefault(key, flight)
        cache.leaders.add(live.record.id)
        try:
            if cache.kept != seen and (encoded := await cache.get(self.reference, key)) is not None:
                # Somebody was faster, between the look and this.
                output = self._decoded(encoded)
                if output is not MISSING:
                    flight.encoded = encoded
                    live.record = live.record.changed(cached=True)
                    return output
            output = await compute()
            flight.encoded = self._encoded(output)
            flight.alone = flight.encoded is None
            flight.done.set()
            if flight.encoded is not None and not flight.outdated:
                await cache.set(self.reference, key, flight.encoded, ttl=self.policy.ttl, tags=tags)
                if flight.outdated:
                    await cache.unset(self.reference, key)
            return output
        finally:
            cache.leaders.discard(live.record.id)
            if cache.flights.get(key) is flight:
                del cache.flights[key]
            flight.done.set()

    def tag_of(self, inputs: Mapping[str, Any]) -> str:
        """
        Return the tag of the results of these inputs.

        Raises:
            InvalidArgumentError: They don't fit.
        """
        return self._tag(self._material(self.plan.signature.check(inputs)))

    def _may_wait(self, live: LiveRun) -> bool:
        """
        Whether this run may wait for another's result.

        Not where somebody may wait for this one, who holds what the other needs: inside a run whose own result others wait for,
        or which has a place of a workflow that has few.
        """
        if live.call.parent is not None and live.parent is None:
            return False
        ancestor = live.parent
        while ancestor is not None:
            places_of_all = 1 if ancestor.parent is None else 0
            if ancestor.record.id in self.cache.leaders or len(ancestor.slots) != places_of_all:
                return False
            ancestor = ancestor.parent
        return True

    def _material(self, inputs: Mapping[str, Any]) -> bytes:
        """Return the canonical JSON of what tells one result from another."""
        codecs = self.cache.codecs
        if self.policy.key is not None:
            chosen = self.policy.key(**{name: inputs[name] for name in self.key_inputs})
            return msgspec.json.encode(codecs.to_builtins(chosen), order="sorted")
        shown = codecs.to_builtins(dict(inputs))
        material = msgspec.json.encode(shown, order="sorted")
        # JSON has null for NaN and infinity too.
        if b"null" in material and self.plan.signature.check(shown) != inputs:
            raise ValueError("they are not the same after JSON")
        return material

    def _tag(self, material: bytes) -> str:
        return f"{self.reference}:{hashlib.sha256(material).hexdigest()}"

    def _key(self, call: Call, material: bytes) -> str:
        principal = call.principal
        session = call.session_id if principal.id == ANONYMOUS.id else None
        whose = None if self.policy.shared else [principal is APPLICATION, principal.id, session]
        tenant = None if call.tenant is None else call.tenant.id
        return f"result:{digest([self.reference, self.identity, tenant, whose, hashlib.sha256(material).hexdigest()])}"

    def _encoded(self, output: Any) -> bytes | None:
        """Return a result as it is kept; None where what would be given again is not the same."""
        error = None
        try:
            encoded = self.cache.codecs.encode(output)
            if self._decoded(encoded) == output:
                return encoded
        except Exception as raised:  # noqa: BLE001 - no reason to give no result
            error = raised
        self._complain("its result is not the same after JSON; let the workflow say of which type it is, one with `==`", error)
        return None

    def _decoded(self, encoded: bytes) -> Any:
        """Return a result anew; `MISSING` where it is none of this workflow's, whoever kept it."""
        check = Check()
        try:
            output = self.output.take(msgspec.json.decode(encoded), "", check)
        except Exception as error:  # noqa: BLE001 - then it is made anew
            self.cache.report(self.reference, "what the cache gave can't be read", error)
            return MISSING
        return MISSING if check.refused else output

    def _complain(self, problem: str, error: BaseException | None) -> None:
        """Tell it once."""
        if not self._told:
            self._told = True
            self.cache.report(self.reference, f"nothing is kept: {problem}", error)


def kept_results(definition: Workflow, plan: Plan, output: Field, cache: ResultCache) -> KeptResults:
    """
    Say how the results of a workflow with `cache=` are kept.

    Raises:
        RegistrationError: They can't be; the text names the place and the way out.
    """
    options, place = definition.options, definition.place
    assert options.cache is not None  # noqa: S101 - for the type checker: the caller has looked
    if plan.secrecy is not None:
        raise RegistrationError(
            f"{place}: cache= keeps results under what they were made of, "
            "but there are secrets among its inputs or in its result, which are kept nowhere; leave cache= out"
        )
    for step in plan.steps:
        if step.run_parameter is not None:
            raise RegistrationError(
                f"{place}: cache= gives a result without running the workflow, but step {step.name!r} talks to its caller; "
                f"take {step.run_parameter!r} out of it, or leave cache= out"
            )
        if step.is_output and step.yields:
            raise RegistrationError(
                f"{place}: cache= gives a result as a whole, but step {step.name!r} yields it to its caller bit by bit; "
                "return a list, or leave cache= out"
            )
    inputs, key = [parameter.name for parameter in plan.graph.inputs], options.cache.key
    taken = [] if key is None else list(inspect.signature(key).parameters)
    for name in taken:
        if name not in inputs:
            raise RegistrationError(
                f"{place}: CachePolicy(key=) takes {name!r}, which is not an input; there are: {', '.join(inputs) or 'none'}"
            )
    reference = f"{options.name}@{options.version}"
    return KeptResults(
        cache=cache,
        policy=options.cache,
        reference=reference,
        tags=(reference, *(f"tag:{tag}" for tag in options.tags)),
        plan=plan,
        identity=digest([plan.hash, [code_hash(step.function) for step in plan.steps], "" if key is None else code_hash(key)]),
        output=output,
        key_inputs=taken,
    )
