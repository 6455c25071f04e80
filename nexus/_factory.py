"""`create_nexus`: the only place that knows every part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from nexus._dispatch import Dispatcher
from nexus._gateway import Nexus
from nexus.abc import (
    AccessControl,
    Authenticator,
    Cache,
    Channel,
    Clock,
    Database,
    Gateway,
    Guard,
    KeyStore,
    RunStore,
    Runtime,
    SessionStore,
    StepStore,
)
from nexus.adapters import load
from nexus.cache import MemoryCache
from nexus.catalogue import Catalogue
from nexus.clock import SystemClock
from nexus.config import NexusConfig, keeping
from nexus.dependencies import Dependencies
from nexus.exceptions import ConfigurationError
from nexus.instrumentation.log import (
    log_cache,
    log_dependency,
    log_hook,
    log_request,
    log_run,
    log_schedule,
    log_upkeep,
)
from nexus.memory import MemoryKeyStore, MemoryRunStore, MemorySessionStore, MemoryStepStore
from nexus.operations import add_operations
from nexus.operations.keys import key_operations
from nexus.operations.runs import run_operations
from nexus.operations.schedules import schedule_operations
from nexus.operations.sessions import session_operations
from nexus.operations.workflows import workflow_operations
from nexus.scheduler import Scheduler
from nexus.security.access import RoleBasedAccess
from nexus.security.identity import IdentityGuard
from nexus.security.keys import ApiKeys
from nexus.security.limiter import Limiter
from nexus.security.network import NetworkGuard
from nexus.security.permission import PermissionGuard
from nexus.security.proxies import TrustedProxies
from nexus.security.rates import AddressRateGuard, PrincipalRateGuard
from nexus.sessions import Sessions
from nexus.workflows.codecs import Codecs
from nexus.workflows.durable import StepResults
from nexus.workflows.executor import Executor
from nexus.workflows.files import FilesRoot
from nexus.workflows.folders import Folders
from nexus.workflows.hooks import Hooks
from nexus.workflows.local import LocalRuntime
from nexus.workflows.ownership import Ownership
from nexus.workflows.results import ResultCache
from nexus.workflows.retention import Retention

__all__ = ["create_nexus"]


def create_nexus(
    config: NexusConfig | None = None,
    /,
    *,
    guards: Sequence[Guard] | Callable[[list[Guard]], Sequence[Guard]] = (),
    authenticators: Sequence[Authenticator] = (),
    access_control: AccessControl | None = None,
    channels: Sequence[Callable[[Gateway, NexusConfig], Channel]] | Mapping[str, Any] = (),
    runtime: Runtime | None = None,
    run_store: RunStore | None = None,
    step_store: StepStore | None = None,
    session_store: SessionStore | None = None,
    key_store: KeyStore | None = None,
    cache: Cache | Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Nexus:
    """
    Make an application.

    Args:
        config: All settings; then nothing is read from files or the environment. Without it, `NexusConfig.from_env()` is read
            first, and *settings* win over it.
        guards: Checks of one's own before the work, in this order, after those that the settings ask for. Or a function that is
            given these, a list in their order (network, address rate, identity, principal rate, permission), and returns all that
            there are to be: what it leaves out is not checked.
        authenticators: Know credentials, beside those of sessions; with one, or `enable_auth`, callers have to be known.
        access_control: Decides who may do what, instead of the roles of the settings.
        channels: Channels of one's own: classes, or what else makes one of `(gateway, config)`. Or, as a mapping, the settings of
            those that come with Nexus: `{"api": {"port": 9000}}`.
        runtime: What carries runs, instead of this process.
        run_store: Keeps the records of runs, instead of the database (`database_url`), or memory where there is none.
        step_store: Keeps results of steps, of durable runs and of those that may be retried, as above.
        session_store: Keeps sessions, as above.
        key_store: Keeps API keys, as above.
        cache: Keeps results of workflows with `cache`, as above. Or, as a mapping, the settings of the cache:
            `{"ttl": "10 min"}`.
        clock: Time and every wait, instead of the system's.
        settings: Keys of `NexusConfig`: `title="Airport desk"`. A relative path is relative to the folder of the file that calls
            this.

    Raises:
        ConfigurationError: A setting is unknown, or its value can't be used; the text names the key, where it came from, and
            what is allowed.
    """
    if isinstance(channels, Mapping):
        settings["channels"], channels = channels, ()
    if isinstance(cache, Mapping):
        settings["cache"], cache = cache, None
    if config is not None and settings:
        raise ConfigurationError(f"give settings in NexusConfig or by name, not both: {', '.join(settings)}")
    if config is None:
        config = NexusConfig.from_env().merge(_folder_of(sys._getframe(1).f_globals), **settings)  # noqa: SLF001 - where it was written
    clock = clock or SystemClock()
    codecs, catalogue = Codecs(), Catalogue()
    database = _database(config, codecs, has_stores=any((run_store, step_store, session_store, key_store)))
    runs = run_store or (MemoryRunStore() if database is None else database.run_store)
    sessions = Sessions(
        session_store or (MemorySessionStore(config.max_sessions) if database is None else database.session_store),
        timeout=config.session_timeout,
        lifetime=config.session_lifetime,
        per_principal=config.max_sessions_per_principal,
        overflow=config.session_overflow,
    )
    hash_keys = {"secrets": [key.encode() for key in config.secret_keys]} if config.secret_keys else {}
    keys = ApiKeys(key_store or (MemoryKeyStore() if database is None else database.key_store), **hash_keys)
    steps = step_store or (MemoryStepStore() if database is None else database.step_store)
    results = StepResults(steps, codecs, log_upkeep)
    folders = Folders(config.runs_root, runs, clock, codecs)
    if runtime is None:
        runtime = LocalRuntime(
            runs,
            clock,
            codecs,
            folders,
            log_run,
            grace=config.shutdown_grace.total_seconds(),
            concurrency=config.concurrency,
            queue_size=config.queue_size,
            max_chunks=config.max_chunks,
            needs_start=database is not None and run_store is None,
        )
    hooks = Hooks(catalogue.references_of, log_hook)
    if cache is None and database is not None:
        cache = database.cache
    cache = cache or MemoryCache(max_entries=config.cache.memory_entries, max_bytes=config.cache.memory_bytes)
    executor = Executor(runtime, runs, clock, codecs, hooks, results, catalogue.planned)
    dependencies = Dependencies(
        clock=clock,
        wanted=catalogue.injected,
        report=log_dependency,
        grace=config.shutdown_grace.total_seconds(),
        patience=config.health_check_timeout.total_seconds(),
    )
    access = access_control or RoleBasedAccess(config.roles)
    permission = PermissionGuard(access) if config.enable_auth or authenticators else None
    chosen = _arranged(_guards(config, clock, IdentityGuard(sessions, [keys, *authenticators]), permission), guards)
    dispatcher = Dispatcher(
        catalogue=catalogue,
        chosen=chosen,
        proxies=TrustedProxies(config.network.trusted_proxies) if config.network.trusted_proxies else None,
        permission=permission if permission in chosen else None,
        clock=clock,
        files=FilesRoot(config.files_root),
        folders=folders,
        log_request=log_request,
        timeout=config.request_timeout,
    )
    scheduler = Scheduler(
        catalogue=catalogue,
        executor=executor,
        clock=clock,
        dispatch=dispatcher.dispatch,
        report=log_schedule,
        fires=config.enable_schedules,
    )
    add_operations(catalogue, codecs, [*run_operations(executor), *workflow_operations(dispatcher.visible, dispatcher.not_found)])
    add_operations(catalogue, codecs, schedule_operations(scheduler, executor))
    add_operations(catalogue, codecs, session_operations(sessions))
    add_operations(catalogue, codecs, key_operations(keys, dispatcher.may))
    app = Nexus(
        config=config,
        clock=clock,
        catalogue=catalogue,
        codecs=codecs,
        executor=executor,
        dispatcher=dispatcher,
        dependencies=dependencies,
        scheduler=scheduler,
        sessions=sessions,
        hooks=hooks,
        cache=ResultCache(
            cache=cache, clock=clock, codecs=codecs, ttl=config.cache.ttl, report=log_cache, find=catalogue.kept_results
        ),
        database=database,
        services=[
            hooks,
            access,
            *authenticators,
            *([] if database is None else [database]),
            cache,
            sessions.store,
            keys.store,
            runs,
            steps,
            Retention(runs, steps, sessions.store, clock, timedelta(days=config.run_retention_days), log_upkeep),
            dependencies,
            folders,
            runtime,
            scheduler,
        ],
    )
    if isinstance(runtime, LocalRuntime):
        runtime.facilities.call_workflow = app.execute_workflow
        runtime.books.results = results
        runtime.elsewhere.report = log_upkeep
        runtime.books.ownership = Ownership(runs, clock, executor.take_over, log_upkeep)
    for channel in channels:
        app.add_channel(channel)
    return app


def _guards(config: NexusConfig, clock: Clock, identity: IdentityGuard, permission: PermissionGuard | None) -> list[Guard]:
    """Return what the settings ask for, in order."""
    network, channels = config.network, config.channels
    limiter = Limiter(clock)
    by_channel = {"api": channels.api.rate_limit, "cli": channels.cli.rate_limit, "mcp": channels.mcp.rate_limit}
    return [
        *([NetworkGuard(network.allow, network.deny)] if network.allow or network.deny else []),
        *([AddressRateGuard(limiter, config.address_rate_limit)] if config.address_rate_limit else []),
        identity,
        # Without a setting too: a workflow that is registered later may have a limit of its own.
        PrincipalRateGuard(limiter, config.rate_limit, by_channel),
        *([permission] if permission else []),
    ]


def _arranged(built_in: list[Guard], guards: Sequence[Guard] | Callable[[list[Guard]], Sequence[Guard]]) -> list[Guard]:
    return list(guards(built_in)) if callable(guards) else [*built_in, *guards]


def _database(config: NexusConfig, codecs: Codecs, *, has_stores: bool) -> Database | None:
    """Return the database of the configuration, else that of the program which loads the application."""
    said = keeping.get()
    url = config.database_url or (None if has_stores else said.default_url)
    if url is None or said.in_memory:
        return None
    adapter = load(f"database.{url.partition(':')[0]}", Database)
    return adapter(url, encode=codecs.encode, report=log_upkeep)


def _folder_of(namespace: dict[str, Any]) -> Path | None:
    """Return the folder of the file that calls, None where there is none: a notebook, `python -c`."""
    file = namespace.get("__file__")
    return None if file is None else Path(file).resolve().parent
