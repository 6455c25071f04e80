"""What a person at a terminal sees."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")]

DESK = """
import enum
from typing import Annotated, Literal

import anyio
import attrs
import nexus

app = nexus.create_nexus(title="Desk")

@attrs.frozen
class Guest:
    name: str
    age: int
    vip: bool = False

@app.workflow
async def sure(run: nexus.Run) -> bool:
    return await run.ask("Keep the outliers?", bool)

@app.workflow
async def colour(run: nexus.Run) -> str:
    return await run.ask("Which colour?", Literal["red", "green"], default="green")

@app.workflow
async def guest(run: nexus.Run) -> Guest:
    return await run.ask("Who comes?", Guest)

@app.workflow
async def age(run: nexus.Run) -> int:
    return await run.ask("How old?", int)

@app.workflow
async def both(run: nexus.Run) -> list[str]:
    answers = []
    async def one(name: str) -> None:
        answers.append(await run.ask(name, str, name=name))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "first?")
        tasks.start_soon(one, "second?")
        await anyio.wait_all_tasks_blocked()
        await run.log.info("meanwhile")
        await run.progress(1, 2)
        print("told")
    return answers

@app.workflow
async def slow(run: nexus.Run) -> str:
    for done in range(40):
        await run.progress(done, 1000, "counting")
        if done == 20:
            await run.log.info("half of it", rows=done)
        await anyio.sleep(0.02)
    await run.progress(1.5, None, "guessing")
    if await run.ask("Go on?", bool, default=True):
        await run.progress(2, 3)
    return "done"

@app.workflow
async def wait(run: nexus.Run) -> None:
    try:
        await run.log.info("waiting")
        await anyio.sleep(60)
    finally:
        await run.log.info("cleaned up")

@app.workflow
async def stuck(run: nexus.Run) -> None:
    await run.log.info("stuck")
    while True:
        pass

@app.workflow
async def secret(run: nexus.Run) -> bool:
    password = await run.ask("Password?", Annotated[str, nexus.Secret()])
    await run.log.info("read", characters=len(password))
    return await run.ask("Sure?", bool)

@app.workflow
def records() -> list[dict[str, object]]:
    return [{"code": "ATL", "n": 10}, {"code": "ORD\\x1b[31m", "n": 7}]
"""

Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    children = []

    def spawn(*words: str) -> pexpect.spawn[str]:
        argv = ["-m", "nexus_click", "run", "desk.py", *words]
        child = pexpect.spawn(sys.executable, argv, cwd=str(tmp_path), encoding="utf-8", timeout=30, dimensions=(24, 100))
        children.append(child)
        return child

    yield spawn
    for child in children:
        child.close(force=True)


def ended(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    child.expect(pexpect.EOF)
    rest: str = child.before or ""
    child.close()
    return child.exitstatus, rest.strip()


def test_a_question_is_a_prompt(start: Start) -> None:
    child = start("sure")
    child.expect_exact("Keep the outliers? [y/n] ")
    child.sendline("yes")
    assert ended(child) == (0, "yes\r\ntrue")


def test_a_wrong_answer_is_told_and_asked_again(start: Start) -> None:
    child = start("sure")
    child.expect_exact("Keep the outliers? [y/n] ")
    child.sendline("perhaps")
    child.expect("true or false.*'perhaps'")
    child.expect_exact("Keep the outliers? [y/n] ")
    child.sendline("n")
    assert ended(child) == (0, "n\r\nfalse")


def test_three_wrong_answers_end_the_run(start: Start) -> None:
    child = start("age")
    for _ in range(3):
        child.expect_exact("How old?: ")
        child.sendline("old")
    assert ended(child)[0] == 2


def test_an_empty_line_takes_the_default(start: Start) -> None:
    child = start("colour")
    child.expect_exact("Which colour? (red, green) [green]: ")
    child.sendline("")
    assert ended(child) == (0, "green")


def test_a_class_is_asked_for_field_by_field(start: Start) -> None:
    child = start("guest", "--format", "json")
    child.expect_exact("Who comes?\r\n  name: ")
    child.sendline("Ada")
    child.expect_exact("  age: ")
    child.sendline("36")
    child.expect_exact("  vip [y/N] ")
    child.sendline("")
    assert ended(child) == (0, '{"name":"Ada","age":36,"vip":false}')


def test_questions_are_asked_one_after_the_other_and_nothing_comes_between(start: Start) -> None:
    child = start("both", "--format", "json")
    child.expect_exact("first?: told")
    child.sendline("a")
    child.expect("a\r\ninfo: meanwhile\r\n")
    child.expect_exact("second?: ")
    child.sendline("b")
    assert ended(child) == (0, 'b\r\n["a","b"]')


def test_the_end_of_input_declines(start: Start) -> None:
    child = start("sure")
    child.expect_exact("Keep the outliers? [y/n] ")
    child.sendeof()
    status, rest = ended(child)
    assert status == 130
    assert "nobody answered 'Keep the outliers?'" in rest


def test_no_input_is_nobody(start: Start) -> None:
    status, rest = ended(start("sure", "--no-input"))
    assert status == 6
    assert "give `default=`" in rest


def test_ctrl_c_at_a_prompt_cancels_at_once(start: Start) -> None:
    child = start("sure")
    child.expect_exact("Keep the outliers? [y/n] ")
    child.sendintr()
    assert ended(child)[0] == 130


def test_progress_is_a_bar_that_makes_room_for_log_lines_and_questions(start: Start) -> None:
    child = start("slow")
    child.expect("counting .*━.* [0-9]+/1,000")
    child.expect("info: half of it  rows=20")
    child.expect("guessing .* 1.5")
    child.expect_exact("Go on? [Y/n] ")
    child.sendline("")
    child.expect("slow .*2/3")
    status, rest = ended(child)
    assert status == 0
    assert rest.endswith("done")


def test_ctrl_c_cancels_and_its_clean_up_runs(start: Start) -> None:
    child = start("wait")
    child.expect_exact("info: waiting")
    child.sendintr()
    child.expect_exact("info: cleaned up")
    status, rest = ended(child)
    assert (status, rest.splitlines()[-1]) == (130, "Error: interrupted")


def test_a_second_ctrl_c_kills_even_what_never_yields(start: Start) -> None:
    child = start("stuck")
    child.expect_exact("info: stuck")
    child.sendintr()
    child.expect_exact("stopping; once more kills")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.signalstatus == signal.SIGINT


def test_results_on_a_terminal_are_text_without_what_it_would_obey(start: Start) -> None:
    assert ended(start("records")) == (0, "code      n\r\nATL      10\r\nORD[31m   7")


def test_a_secret_answer_is_not_shown_while_it_is_typed(start: Start) -> None:
    child = start("secret")
    child.expect_exact("Password?: ")
    child.waitnoecho()
    child.sendline("hunter2")
    child.expect_exact("7")
    child.expect_exact("Sure? [y/n] ")
    child.sendline("y")
    status, rest = ended(child)

    assert status == 0
    assert "hunter2" not in rest
    assert rest.splitlines()[0] == "y"
