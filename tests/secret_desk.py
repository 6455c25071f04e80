"""An application with secrets wherever there may be some."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import attrs

import nexus
from nexus import BlockingRun, Nexus, NexusConfig, Run, Secret, Workflow

MARK = "hunter2-correct-horse"
"""The secret: nothing else in an output may be so."""

Token = Annotated[str, Secret()]


@attrs.frozen
class Login:
    user: str
    password: Token = attrs.field(validator=attrs.validators.matches_re("[a-z0-9-]+"))


@attrs.frozen
class Key:
    id: str
    key: Token


@nexus.workflow
async def log_in(token: Token, user: str = "ada") -> str:
    """Log in.

    Args:
        token: What the desk gave you.
        user: Who you are.
    """
    return f"{user}: {len(token)}"


@nexus.workflow
async def with_default(token: Token = MARK) -> int:
    return len(token)


@nexus.workflow
async def with_class(login: Login, others: list[Login] | None = None) -> int:
    return len(login.password)


@nexus.workflow
async def maybe(token: Token | None = None, note: str = "") -> bool:
    return token is not None


@nexus.workflow
async def fail(token: Token) -> int:
    return int(token)


@nexus.workflow
async def refuse(token: Token) -> int:
    raise nexus.Problem("conflict", f"{token!r} is used", tokens=[token])


@nexus.workflow
async def new_key(name: str = "desk") -> Key:
    return Key(name, MARK)


@nexus.workflow
async def new_keys() -> AsyncIterator[Key]:
    yield Key("1", MARK)


@nexus.workflow
async def untrue() -> Key:
    return {"id": "1", "key": {"deep": [MARK]}}  # type: ignore[return-value]


@nexus.workflow
def send(token: Token, note: Path) -> int:
    return len(token) + len(note.read_bytes())


@nexus.workflow
async def ask_and_say(*, run: Run) -> int:
    await run.log.info("asking")
    return len(await run.ask("Password?", Token, name="password"))


@nexus.workflow
async def ask(*, run: Run) -> int:
    return len(await run.ask("Password?", Token, name="password"))


@nexus.workflow
def ask_form(run: BlockingRun) -> str:
    login = run.ask("Who are you?", Login, name="login")
    return f"{login.user}: {len(login.password)}"


@nexus.workflow
async def ask_and_fail(*, run: Run) -> int:
    return int(await run.ask("Password?", Token, name="password"))


@nexus.workflow
async def ask_for_key(*, run: Run) -> Key:
    return Key(await run.ask("Name?", str, name="name"), MARK)


many_tokens = Workflow("many_tokens")


@many_tokens.step(each="token", on_error="skip")
async def tried(token: Token) -> int:
    return int(token)


def desk(**options: Any) -> Nexus:
    """Return the application, not started."""
    app = nexus.create_nexus(NexusConfig(**options.pop("settings", {})), **options)
    app.register(sys.modules[__name__])
    return app
