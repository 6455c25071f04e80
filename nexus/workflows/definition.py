"""What users write: workflows and groups of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any, Final, TypeVar, Unpack, overload

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import Rate
from nexus.workflows.caching import CachePolicy
from nexus.workflows.graph import Graph, analyse
from nexus.workflows.options import FunctionOptions, make_options
from nexus.workflows.schedules import ScheduleOption
from nexus.workflows.steps import StepDefinition, StepOptions, make_step, place_of

__all__ = ["Group", "Workflow", "definition_of", "definitions_in", "workflow"]

F = TypeVar("F", bound=Callable[..., Any])

STEP_OPTIONS: Final = StepOptions.__annotations__.keys() - {"name", "after"}
MARK: Final = "__nexus_workflow__"


class Workflow:
    """
    A named, versioned graph of typed steps, wired by names.

    A step is called what it returns; a parameter that bears a step's name gets that step's result; every other parameter is an
    input of the workflow. The graph is checked when the workflow is registered.

    Args:
        name: `[a-z][a-z0-9_]*`; parts like that with dots between make a name too.
        version: Several versions may be registered side by side; the newest is what `name` alone means.
        output: The step whose result is the workflow's, where more than one has no follower.
        description: Markdown; the first line is the summary.
        tags: Shown in listings and OpenAPI.
        channels: Names of the channels where it shows; None is everywhere.
        read_only: It changes nothing.
        destructive: What it changes may not come back.
        idempotent: Twice does no more than once.
        timeout: Seconds, or a timedelta, for a whole run: the time in which it waits for an answer, or is not carried, included.
        concurrency: At most this many runs of it at once; more wait for their turn.
        schedule: When it runs by itself: a cron expression, a `Schedule`, or several.
        cache: How long its results are kept and given again to the same caller for the same inputs: seconds, a timedelta, True
            for the application's `cache.ttl`, or a `CachePolicy`. Only with `read_only`.
        deprecated: What to use instead, where it is going to be removed.
        background: It takes long. Over the API and MCP the caller is given the run at once, which goes on by itself, as a task
            where an MCP client knows those; in-process and on the command line it is waited for.
        durable: The result of each step, which has to say what it returns, is stored before the next is called. A run that is
            dropped, because the application stops or its process dies, is resumed when it is started again: steps that have
            succeeded are not called again, the others are, so that what they had done by half they do twice. It is carried by the
            application whoever waits for it, and takes no uploaded files. A resumed run has its caller's id and tenant, not yet
            the roles.
        permission: What a caller needs to run it, where callers have to be known; by default `workflow:{name}:execute`.
        public: Whoever asks may run it, also where callers have to be known.
        rate_limit: How often a caller may ask for it: `"10/minute"`, or several, `"10/minute; 100/day"`. A principal is counted
            over all channels and versions, nobody in particular by address; what runs ask for is not.

    Attributes:
        place: Where it was written: `module:name@version`, or `module:qualname` of a function.
        origin: What was written, whatever groups it is in: itself, or the function.

    Raises:
        RegistrationError: An option is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "1",
        output: str | None = None,
        description: str = "",
        tags: Sequence[str] = (),
        channels: Sequence[str] | set[str] | frozenset[str] | None = None,
        read_only: bool = False,
        destructive: bool = False,
        idempotent: bool = False,
        timeout: float | timedelta | None = None,
        concurrency: int | None = None,
        schedule: ScheduleOption = None,
        cache: CachePolicy | timedelta | float | None = None,
        deprecated: str | None = None,
        background: bool = False,
        durable: bool = False,
        permission: str | None = None,
        public: bool = False,
        rate_limit: str | Rate | Sequence[str | Rate] | None = None,
    ) -> None:
        self.module = str(sys._getframe(1).f_globals.get("__name__", "?"))  # noqa: SLF001 - says where it was written
        self.options = make_options(
            name,
            place=f"{self.module}:{name}",
            version=version,
            output=output,
            description=description,
            tags=tags,
            channels=channels,
            read_only=read_only,
            destructive=destructive,
            idempotent=idempotent,
            timeout=timeout,
            concurrency=concurrency,
            schedule=schedule,
            cache=cache,
            deprecated=deprecated,
            background=background,
            durable=durable,
            permission=permission,
            public=public,
            rate_limit=rate_limit,
        )
        self.place = f"{self.module}:{name}@{version}"
        self.origin: Callable[..., Any] | Workflow = self
        self.steps: list[StepDefinition] = []

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.options.name

    @overload
    def step(self, function: F, /) -> F: ...
    @overload
    def step(self, /, **options: Unpack[StepOptions]) -> Callable[[F], F]: ...
    def step(self, function: Any = None, /, **options: Any) -> Any:
        """
        Make a function a step, and return it unchanged.

        `async def` runs on the event loop, `def` in a worker thread. An `async def` that yields is a step whose result is the
        list of what it yields; a fan-out over it begins with the first item.

        Args:
            function: The function, where the decorator has no options.
            options: Those below, by name.

        Options:
            name: The step's name, where it isn't the function's.
            each: Fan-out: `{"rank": "ranking"}` calls the step once per item of the result of `ranking`, as parameter `rank`;
                `"file"` once per item of the input `file`. The result is the list of results, in order.
            limit: With `each`, at most this many at once; 16 if not given.
            on_error: With `each`, what a failing item does: `fail` (the default) ends the run, `skip` leaves the item out,
                `collect` puts a `StepFailure` in its place.
            after: Names of steps that come before, though nothing of theirs is taken.
            when: Called with results and inputs by their names; where it says no, the step is skipped, and so is what needs its
                result. A parameter with a default takes that instead.
            retry: How often it is tried, and on what.
            timeout: Seconds, or a timedelta, for one attempt; then it fails with `deadline_exceeded`. A `def` step can't be
                stopped in its thread: the time is seen when it next calls into its run, or returns.
            run_in: For `def`: `thread` (the default), `inline` on the event loop for what takes no time, or `process`, which can
                be stopped, for a function of a module with arguments and a result that can be pickled.

        Raises:
            RegistrationError: An option is wrong, or there is a step of that name.
        """
        namespace = sys._getframe(1).f_locals  # noqa: SLF001 - hints may name what is local there

        def add(function: F) -> F:
            step = make_step(function, namespace=namespace, **options)
            if any(other.name == step.name for other in self.steps):
                raise RegistrationError(f"{step.place}: workflow {self.name!r} has a step {step.name!r} already; give name=…")
            self.steps.append(step)
            return function

        return add if function is None else add(function)

    def mermaid(self) -> str:
        """
        Return the graph as a Mermaid flowchart.

        Raises:
            RegistrationError: The graph is wrong.
        """
        return self.graph().mermaid()

    def graph(self) -> Graph:
        """
        Wire the steps, and check them.

        Raises:
            RegistrationError: The graph is wrong; the text names the place and the way out.
        """
        return analyse(self.steps, output=self.options.output, place=self.place)

    def _repr_html_(self) -> str:
        from nexus.workflows.drawing import graph_html  # noqa: PLC0415 - only a notebook needs it

        return graph_html(f"{self.options.name}@{self.options.version}", self.graph)

    def __repr__(self) -> str:
        return f"<Workflow {self.options.name}@{self.options.version}, steps: {', '.join(s.name for s in self.steps) or 'none'}>"


def function_workflow(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    namespace: Mapping[str, Any] | None = None,
    **options: Any,
) -> Workflow:
    """Make the graph of one step that a plain function is."""
    place = place_of(function)
    of_step = {option: options.pop(option) for option in STEP_OPTIONS & options.keys()}
    step = make_step(function, namespace=namespace or {}, **of_step)
    made = FunctionWorkflow.__new__(FunctionWorkflow)
    made.module = place.partition(":")[0]
    made.place = place
    made.origin = function
    made.options = make_options(name or step.name, place=place, **options)
    made.steps = [step]
    return made


class FunctionWorkflow(Workflow):
    """The workflow that a plain function is; its place is the function's."""


def marked(function: F, options: Mapping[str, Any], namespace: Mapping[str, Any]) -> F:
    """Note on the function what `@workflow` said of it; wrong options are told here, where they were written."""
    made = function_workflow(function, namespace=namespace, **options)
    setattr(function, MARK, made)
    return function


def definition_of(thing: Callable[..., Any] | Workflow) -> Workflow:
    """Return the workflow that a function or a `Workflow` is."""
    if isinstance(thing, Workflow):
        return thing
    made: Workflow | None = getattr(thing, MARK, None)
    return made if made is not None else function_workflow(thing)


@overload
def workflow(function: F, /) -> F: ...
@overload
def workflow(**options: Unpack[FunctionOptions]) -> Callable[[F], F]: ...
def workflow(function: Any = None, /, **options: Any) -> Any:
    """
    Make a function a workflow of one step, without an application; `app.register(function | module)` takes it up.

    The function is returned unchanged. Its options are those of `Workflow` and of `Workflow.step`; its docstring says what
    the workflow and its inputs are for.

    Raises:
        RegistrationError: An option is wrong.
    """
    namespace = sys._getframe(1).f_locals  # noqa: SLF001 - hints may name what is local there
    return (lambda f: marked(f, options, namespace)) if function is None else marked(function, options, namespace)


class Group:
    """
    Workflows that belong together, as an APIRouter gathers routes.

    Args:
        prefix: Put before each name, with a dot: `sales` makes `report` `sales.report`. Empty for none.
        tags: Added to those of each workflow.
        channels: Where they show, unless a workflow says otherwise.
        permission: What a caller needs to run them, unless a workflow says otherwise.
        rate_limit: How often a caller may ask for each of them, unless a workflow has a limit of its own.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        tags: Sequence[str] = (),
        channels: Sequence[str] | set[str] | frozenset[str] | None = None,
        permission: str | None = None,
        rate_limit: str | Rate | Sequence[str | Rate] | None = None,
    ) -> None:
        self.module = str(sys._getframe(1).f_globals.get("__name__", "?"))  # noqa: SLF001 - says where it was written
        # Checks them with the rules and the words that a workflow's own options have.
        place = f"{self.module}:Group({prefix!r})"
        checked = make_options(
            prefix or "group", place=place, tags=tags, channels=channels, permission=permission, rate_limit=rate_limit
        )
        self.prefix = prefix
        self.tags = checked.tags
        self.channels = checked.channels
        self.permission = checked.permission
        self.rate_limit = checked.rate_limit
        self.members: list[Workflow | Group] = []

    @overload
    def workflow(self, function: F, /) -> F: ...
    @overload
    def workflow(self, /, **options: Unpack[FunctionOptions]) -> Callable[[F], F]: ...
    def workflow(self, function: Any = None, /, **options: Any) -> Any:
        """Make a function a workflow of this group, and return it unchanged; options as for `nexus.workflow`."""
        namespace = sys._getframe(1).f_locals  # noqa: SLF001 - hints may name what is local there

        def add(function: F) -> F:
            self.members.append(function_workflow(function, namespace=namespace, **options))
            return function

        return add if function is None else add(function)

    def register(self, *what: Callable[..., Any] | Workflow | Group) -> None:
        """Add functions, workflows or groups."""
        self.members.extend(thing if isinstance(thing, Group) else definition_of(thing) for thing in what)

    def definitions(self) -> Iterator[Workflow]:
        """Yield every workflow with the group's prefix, tags, channels, permission and limit applied."""
        for member in self.members:
            for made in member.definitions() if isinstance(member, Group) else [member]:
                yield self._applied(made)

    def _applied(self, made: Workflow) -> Workflow:
        applied = type(made).__new__(type(made))
        applied.__dict__.update(made.__dict__)
        applied.options = attrs.evolve(
            made.options,
            name=f"{self.prefix}.{made.options.name}" if self.prefix else made.options.name,
            tags=tuple(dict.fromkeys((*self.tags, *made.options.tags))),
            channels=self.channels if made.options.channels is None else made.options.channels,
            permission=made.options.permission or ("" if made.options.public else self.permission),
            rate_limit=made.options.rate_limit or self.rate_limit,
        )
        return applied


def definitions_in(thing: Any) -> Iterator[Workflow]:
    """
    Yield the workflows of what is registered: a function, a `Workflow`, a `Group`, or a module's own of all these.

    Raises:
        RegistrationError: It is none of these, or a module without any.
    """
    if isinstance(thing, Group):
        yield from thing.definitions()
    elif isinstance(thing, ModuleType):
        yield from _in_module(thing)
    elif isinstance(thing, Workflow) or (callable(thing) and not isinstance(thing, type)):
        yield definition_of(thing)
    else:
        raise RegistrationError(f"{thing!r} can't be registered: give a function, a Workflow, a Group or a module")


def _in_module(module: ModuleType) -> Iterator[Workflow]:
    own = [
        thing
        for thing in dict.fromkeys(value for value in vars(module).values() if _is_definition(value))
        if (thing.module if isinstance(thing, Workflow | Group) else thing.__module__) == module.__name__
    ]
    if not own:
        raise RegistrationError(f"module {module.__name__!r} has no workflows of its own: mark functions with @nexus.workflow")
    for thing in own:
        yield from definitions_in(thing)


def _is_definition(value: Any) -> bool:
    return isinstance(value, Workflow | Group) or (callable(value) and not isinstance(value, type) and hasattr(value, MARK))
