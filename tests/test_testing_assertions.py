"""Scripted answers, and assertions whose messages show what happened."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from nexus.exceptions import CancelledError
from nexus.models import Event, Question, StepRecord
from nexus.testing import DECLINE
from nexus.testing.answers import Script
from nexus.testing.assertions import event_among, steps_are

YES_OR_NO = {"type": "boolean"}
COLOURS = {"type": "array", "items": {"enum": ["red", "blue"]}}


def question(name: str = "rank.1", schema: dict[str, Any] = YES_OR_NO, **options: Any) -> Question:
    return Question(name=name, text="Keep it?", schema=schema, step="rank", **options)


def script(**given: Any) -> Script:
    return Script(given, lambda value: value.isoformat() if isinstance(value, date) else value)


def step(name: str, status: Any = "succeeded", error: str | None = None) -> StepRecord:
    return StepRecord(name=name, status=status, started=0.0, ended=0.25, error=error)


def event(type_: str, **data: Any) -> Event:
    return Event(id="1", type=type_, data=data, time=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_question_is_answered_by_its_name_or_its_text() -> None:
    assert Script({"rank.1": True}, bool).answer(question()) is True
    assert Script({"Keep it?": True}, bool).answer(question()) is True


def test_the_name_goes_before_the_text() -> None:
    assert Script({"Keep it?": 1, "rank.1": 2}, int).answer(question()) == 2


def test_an_answer_is_sent_as_json_has_it() -> None:
    assert script(day=date(2026, 1, 2)).answer(question("day")) == "2026-01-02"


def test_a_list_is_one_answer_for_each_time() -> None:
    scripted = script(keep=[False, True])
    assert [scripted.answer(question("keep")), scripted.answer(question("keep"))] == [False, True]


def test_a_list_answers_a_question_for_a_list_every_time() -> None:
    scripted = script(colours=["red", "blue"])
    assert [scripted.answer(question("colours", COLOURS)) for _ in range(2)] == [["red", "blue"], ["red", "blue"]]


def test_a_list_of_lists_is_one_list_for_each_time() -> None:
    scripted = script(colours=[["red"], []])
    assert [scripted.answer(question("colours", COLOURS)) for _ in range(2)] == [["red"], []]


def test_a_function_is_given_the_question() -> None:
    assert script(keep=lambda asked: asked.step).answer(question("keep")) == "rank"


def test_declining_cancels() -> None:
    scripted = script(keep=DECLINE)
    with pytest.raises(CancelledError, match="the caller declined to answer 'Keep it\\?'"):
        scripted.answer(question("keep"))
    assert scripted.unanswered is None


def test_a_question_without_an_answer_is_named_with_the_answers_there_are() -> None:
    scripted = script(save=True, overwrite=False)
    with pytest.raises(CancelledError):
        scripted.answer(question())
    assert scripted.unanswered == (
        "the run asked 'rank.1' ('Keep it?'), and `answers` has only 'save', 'overwrite'; give answers={'rank.1': …}"
    )


def test_the_first_question_without_an_answer_is_the_one_that_is_told() -> None:
    scripted = script()
    for name in ("first", "second"):
        with pytest.raises(CancelledError):
            scripted.answer(question(name))
    assert scripted.unanswered == "the run asked 'first' ('Keep it?'), and `answers` is empty; give answers={'first': …}"


def test_used_up_answers_are_told_with_why_the_last_one_was_not_taken() -> None:
    scripted = script(keep=["maybe"])
    scripted.answer(question("keep"))
    with pytest.raises(CancelledError):
        scripted.answer(question("keep", problem="expected true or false"))
    assert scripted.unanswered == (
        "the run asked 'keep' ('Keep it?') again, because expected true or false, "
        "and `answers` has 1 for it, which are used up; give answers={'keep': …}"
    )


def test_the_event_that_was_looked_for_is_returned() -> None:
    wanted = event("run.progress", done=2, total=3)
    assert event_among([event("run.progress", done=1), wanted], "run.progress", {"done": 2}) is wanted


def test_an_event_that_was_not_told_is_shown_beside_those_that_were() -> None:
    with pytest.raises(AssertionError) as failure:
        event_among([event("run.progress", done=1, total=3), event("run.log", message="read")], "run.progress", {"done": 3})
    assert str(failure.value) == (
        "the run did not tell run.progress(done=3); it told:\n  run.progress(done=1, total=3)\n  run.log(message='read')"
    )


def test_a_run_that_told_nothing_told_nothing() -> None:
    with pytest.raises(AssertionError, match="it told: nothing"):
        event_among([], "run.progress", {})


def test_steps_that_were_run_are_compared_without_their_order() -> None:
    steps_are(
        [step("airports"), step("flights"), step("weather[0]"), step("weather[1]")],
        ["flights", "airports", "weather"],
        in_order=False,
    )


def test_steps_may_be_compared_in_the_order_in_which_they_ended() -> None:
    steps_are([step("flights"), step("ranking")], ["flights", "ranking"], in_order=True)
    with pytest.raises(AssertionError, match="they ended in another order than ranking, flights"):
        steps_are([step("flights"), step("ranking")], ["ranking", "flights"], in_order=True)


def test_steps_that_differ_are_all_named_with_what_became_of_them() -> None:
    with pytest.raises(AssertionError) as failure:
        steps_are([step("flights"), step("weather[0]", "failed", "ValueError: no")], ["flights", "ranking"], in_order=False)
    assert str(failure.value) == (
        "step 'weather[0]' failed; step 'ranking' was not run; step 'weather' was run too; the steps, as they ended:\n"
        "  flights succeeded (0.000 to 0.250 s)\n"
        "  weather[0] failed (0.000 to 0.250 s): ValueError: no"
    )


def test_a_run_without_steps_has_none() -> None:
    with pytest.raises(AssertionError, match="step 'flights' was not run; the steps, as they ended: none"):
        steps_are([], ["flights"], in_order=False)
