"""What a person at a terminal sees of a run on a server: the same."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from nexus_click._target import load_target
from tests.remote_server import served
from tests.test_cli_terminal import DESK, ended

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")]

MORE = """
import threading

@app.workflow
async def clinging(run: nexus.Run) -> None:
    await run.log.info("clinging")
    with anyio.CancelScope(shield=True):
        await anyio.sleep(3)

told = threading.Event()

@app.workflow
async def pair(run: nexus.Run) -> list[str]:
    answers = []
    async def one(name: str) -> None:
        answers.append(await run.ask(name, str, name=name))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "first?")
        tasks.start_soon(one, "second?")
        await anyio.sleep(0.1)
        await run.log.info("meanwhile")
        told.set()
    return answers

@app.workflow
async def hurried(run: nexus.Run) -> str:
    answer = await run.ask("Quick?", str, default="too late", timeout=0.5)
    await run.log.info("on we go")
    return answer
"""

Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    desk = tmp_path_factory.mktemp("server") / "remote_terminal_desk.py"
    desk.write_text(DESK + MORE, encoding="utf-8")
    with served(load_target(str(desk))) as url:
        yield url
    sys.path.remove(str(desk.parent))


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    children = []

    def spawn(*words: str) -> pexpect.spawn[str]:
        argv = ["-m", "nexus_click", "--url", url, "run", *words]
        child = pexpect.spawn(sys.executable, argv, cwd=str(tmp_path), encoding="utf-8", timeout=30, dimensions=(24, 100))
        children.append(child)
        return child

    yield spawn
    for child in children:
        child.close(force=True)


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
    child = start("pair", "--format", "json")
    child.expect_exact("first?: ")
    assert sys.modules["remote_terminal_desk"].told.wait(timeout=10)
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


def test_a_question_that_is_not_answered_in_time_is_not_waited_for(start: Start) -> None:
    child = start("hurried")
    child.expect_exact("Quick? [too late]: ")
    assert ended(child) == (0, "info: on we go\r\ntoo late")


def test_ctrl_c_at_a_prompt_cancels_at_once(start: Start) -> None:
    child = start("sure")
    child.expect_exact("Keep the outliers? [y/n] ")
    child.sendintr()
    status, rest = ended(child)
    assert (status, rest.splitlines()[-1]) == (130, "Error: interrupted")


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


def test_ctrl_c_cancels_the_run_over_there_and_its_clean_up_is_heard(start: Start) -> None:
    child = start("wait")
    child.expect_exact("info: waiting")
    child.sendintr()
    child.expect_exact("stopping; once more kills")
    child.expect_exact("info: cleaned up")
    status, rest = ended(child)
    assert (status, rest.splitlines()[-1]) == (130, "Error: interrupted")


def test_a_second_ctrl_c_kills(start: Start) -> None:
    child = start("clinging")
    child.expect_exact("info: clinging")
    child.sendintr()
    child.expect_exact("stopping; once more kills")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.signalstatus == signal.SIGINT


def test_results_are_text_without_what_a_terminal_would_obey(start: Start) -> None:
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
