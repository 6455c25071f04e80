"""Files as inputs over HTTP: what a form may hold, how much of it, and from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from nexus import PermissionDeniedError
from nexus.abc import Guard
from nexus.models import Call
from nexus.testing import FakeClock
from tests.files_desk import END, FORM, Exchange, desk, error_of, execute, opened, part, problems_of, results, serving, until
from tests.test_api_events import parsed

pytestmark = pytest.mark.anyio

# ---- what comes


async def test_a_file_is_read_by_the_workflow_and_gone_afterwards(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        response = await execute(client, "read", part("file", "a,b\n1,2\n", filename="numbers.csv"))
        assert it.left() == []
    assert results(response) == {"name": "numbers.csv", "text": "a,b\n1,2\n", "note": ""}


async def test_a_folder_of_files_may_be_entered_by_its_owner_only_and_has_no_name_to_guess(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client, anyio.create_task_group() as group:
        group.start_soon(execute, client, "wait", part("file", "x", filename="x.txt"))
        await it.started.wait()
        folder = it.seen[0].parent
        modes = [path.stat().st_mode & 0o777 for path in (folder, folder.parent, folder.parent.parent)]
        it.go_on.set()
    assert modes == [0o700, 0o700, 0o700]
    assert "x.txt" not in str(folder)


async def test_other_parts_are_text_or_json_or_all_in_one_part(tmp_path: Path) -> None:
    file = part("file", "abcdef", filename="x.txt")
    async with serving(desk(tmp_path)) as client:
        text = await execute(client, "read", file, part("limit", "3"), part("note", "42"))
        as_json = await execute(client, "read", part("limit", "3", "Content-Type: application/json"), file)
        together = await execute(client, "read", part("inputs", '{"limit": 3, "note": "n"}'), file)
        marked = await execute(client, "read", part("inputs", '{"limit": 2}', "Content-Type: application/json"), file)
    assert (results(text)["text"], results(text)["note"]) == ("abc", "42")
    assert results(as_json)["text"] == "abc"
    assert (results(together)["text"], results(together)["note"]) == ("abc", "n")
    assert results(marked)["text"] == "ab"


async def test_an_input_that_is_called_inputs_is_one_like_any_other(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        response = await execute(client, "echo", part("value", "1"), part("inputs", "{}"))
    assert results(response) == [1, "{}"]


async def test_parts_of_one_name_are_a_list_and_so_is_a_single_one_where_a_list_is_wanted(tmp_path: Path) -> None:
    one, two = part("files", "a", filename="same.txt"), part("files", "bc", filename="same.txt")
    it = desk(tmp_path)
    async with serving(it) as client:
        several = await execute(client, "count", one, part("weights", "7"), two, part("weights", "8"))
        single = await execute(client, "count", one, part("weights", "7"))
        as_json = await execute(client, "count", one, part("weights", "[7, 8]"))
        assert it.left() == []
    assert [results(each) for each in (several, single, as_json)] == [[1, 2, 7, 8], [1, 7], [1, 7, 8]]
    assert [path.name for path in it.seen] == ["same.txt"] * 4


async def test_a_field_for_files_that_nobody_filled_in_is_left_out(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        without = await execute(client, "maybe", part("file", "", "Content-Type: application/octet-stream", filename=""))
        empty = await execute(client, "maybe", part("file", "", filename="empty.txt"))
    assert (results(without), results(empty)) == (False, True)


async def test_a_form_without_files_is_a_form_too(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        response = await execute(client, "echo", part("value", "5"))
    assert results(response) == [5, ""]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\\\temp\\\\x.csv", "x.csv"),
        ("..", "file"),
        (".", "file"),
        ("a\tb\x7f.csv", "ab.csv"),
        ("wö rt.csv", "wö rt.csv"),
        ("a:b.csv", "a_b.csv"),
    ],
)
async def test_the_name_of_a_file_decides_its_last_part_and_nothing_else(tmp_path: Path, sent: str, kept: str) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        response = await execute(client, "read", part("file", "x", filename=sent))
        assert it.left() == []
    assert results(response)["name"] == kept
    assert it.seen[0].is_relative_to(it.root)


async def test_a_file_is_good_for_a_path_with_a_condition_if_its_name_fulfils_it(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        good = await execute(client, "short", part("file", "x", filename="x.csv"))
        bad = await execute(client, "short", part("file", "x", filename="x.txt"))
    assert results(good) == ".csv"
    assert error_of(bad)[:2] == (422, "invalid_argument")
    assert str(tmp_path) not in bad.text


async def test_a_path_as_text_in_a_form_is_held_below_files_root_as_ever(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    async with serving(desk(tmp_path)) as client:
        response = await execute(client, "read", part("file", str(secret)))
    assert error_of(response)[:2] == (422, "invalid_argument")
    assert "no files_root" in problems_of(response)["/file"]


async def test_a_file_where_none_is_wanted_is_told_with_everything_else_that_is_wrong(tmp_path: Path) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        response = await execute(client, "read", part("limit", "9", filename="nine.txt"), part("nothing", "x"))
        assert it.left() == []
    assert problems_of(response) == {
        "/file": "missing; expected a path",
        "/limit": "expected an integer, got the uploaded file 'nine.txt'",
        "/nothing": "unknown argument; there are file, limit, note",
    }


# ---- what is no form


@pytest.mark.parametrize(
    ("body", "content_type", "status", "said"),
    [
        (part("file", "x", filename="x.txt"), FORM, 400, "the form ends before its last boundary"),
        (b"", FORM, 400, "the form ends before its last boundary"),
        (b"nonsense", FORM, 400, "the body is no form with that boundary"),
        (part("a", "x") + END, "multipart/form-data", 400, "has no boundary"),
        (part("a", "x") + END, f"multipart/form-data; boundary={'x' * 300}", 400, "the body is no form with that boundary"),
        (b"--frontier\r\nX: y\r\n\r\nz\r\n" + END, FORM, 400, "a part of the form has no name"),
        (part("note", b"\xff\xfe") + END, FORM, 400, "part 'note' is not text in UTF-8"),
        (part("limit", "{", "Content-Type: application/json") + END, FORM, 400, "part 'limit' is not JSON in UTF-8"),
        (part("inputs", "{") + END, FORM, 400, "part 'inputs' is not JSON in UTF-8"),
        (part("inputs", "[1]") + END, FORM, 422, "the part 'inputs' must be a JSON object"),
        (part("inputs", "{}") * 2 + END, FORM, 422, "the part 'inputs' must be a JSON object"),
        (part("inputs", '{"limit": 1}') + part("limit", "2") + END, FORM, 422, "an argument is there twice"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "send application/json"),
    ],
)
async def test_what_is_no_form_is_refused_with_the_reason(
    tmp_path: Path, body: bytes, content_type: str, status: int, said: str
) -> None:
    it = desk(tmp_path)
    async with serving(it) as client:
        response = await execute(client, "read", body, end=b"", content_type=content_type)
        assert it.left() == []
    assert error_of(response)[0] == status
    assert said in error_of(response)[2]


@pytest.mark.parametrize("headers", [{"sec_fetch_site": "cross-site"}, {"origin": "http://elsewhere"}])
async def test_a_page_of_another_site_can_not_send_a_form(tmp_path: Path, headers: Any) -> None:
    async with serving(desk(tmp_path)) as client:
        response = await execute(client, "read", part("file", "x", filename="x"), **headers)
    assert error_of(response)[:2] == (415, "malformed_request")


# ---- a stream of events in reply


async def test_a_run_with_files_may_be_heard_while_it_goes_on(tmp_path: Path) -> None:
    async with serving(desk(tmp_path)) as client:
        response = await execute(client, "ask", part("file", "x", filename="x"), accept="text/event-stream")
    events = parsed(response.text)
    assert [name for name, _ in events] == ["run.started", "run.waiting", "response"]
    assert events[-1][1]["data"]["status"] == "waiting"


async def test_a_form_that_makes_no_run_has_a_plain_reply_and_the_rest_of_it_is_not_read(tmp_path: Path) -> None:
    it = desk(tmp_path)
    headers = {"content-length": "99", "expect": "100-continue", "accept": "text/event-stream"}
    exchange = Exchange([part("file", "x", filename="x"), END], headers)
    async with opened(it.app):
        await exchange.post(it.app, "reed")
    assert (exchange.status, exchange.error["code"], exchange.read) == (404, "not_found", 0)
    assert (b"connection", b"close") in exchange.sent[0]["headers"]


async def test_a_client_that_leaves_in_the_midst_of_its_form_does_not_have_its_run_begun(tmp_path: Path) -> None:
    it = desk(tmp_path)
    exchange = Exchange([part("file", "x", filename="x")], {"accept": "text/event-stream"})
    async with opened(it.app):
        await exchange.post(it.app, "ask")
        assert it.left() == []
    assert it.seen == []


# ---- limits


async def test_a_body_that_is_announced_too_long_is_not_read_at_all(tmp_path: Path) -> None:
    it = desk(tmp_path, settings={"max_upload_bytes": 1000})
    exchange = Exchange([b"x"], {"content-length": "1001", "expect": "100-continue"})
    async with opened(it.app):
        await exchange.post(it.app, "read")
    assert (exchange.status, exchange.error["code"], exchange.read) == (413, "payload_too_large", 0)
    assert (b"connection", b"close") in exchange.sent[0]["headers"]


async def test_a_body_is_read_to_the_limit_and_answered_before_the_rest_has_come(tmp_path: Path) -> None:
    it = desk(tmp_path, settings={"max_upload_bytes": 1000})
    exchange = Exchange([part("file", b"x" * 300, filename="x"), *[b"y" * 300] * 10], {"content-length": "900", "expect": "x"})
    async with opened(it.app):
        await exchange.post(it.app, "read")
        assert it.left() == []
    assert (exchange.status, exchange.error["details"]) == (413, {"limit": 1000})
    assert exchange.read == 4


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([part("value", "1")] * 1001, "more than 1000 parts"),
        ([part("value", "1", *(f"X-{n}: y" for n in range(20)))], "too many or too long headers"),
        ([part("value", "1", "X: " + "y" * 10_000)], "too many or too long headers"),
        ([part("note", "x" * 300), part("note", "x" * 300)], "longer than 500 bytes"),
    ],
)
async def test_parts_headers_and_text_have_their_limits(tmp_path: Path, parts: list[bytes], said: str) -> None:
    it = desk(tmp_path, settings={"max_body_bytes": 500})
    async with serving(it) as client:
        response = await execute(client, "read", part("file", "x" * 5000, filename="x"), *parts)
        assert it.left() == []
    assert error_of(response)[:2] == (413, "payload_too_large")
    assert said in error_of(response)[2]


async def test_a_slow_body_ends_with_the_time_that_a_request_may_take(tmp_path: Path) -> None:
    clock = FakeClock()
    it = desk(tmp_path, settings={"request_timeout": 10}, clock=clock)
    exchange = Exchange([part("file", "x", filename="x")], stays=True)
    async with opened(it.app), anyio.create_task_group() as group:
        group.start_soon(exchange.post, it.app, "read")
        await exchange.held.wait()
        await clock.advance(10)
        await until(lambda: bool(exchange.sent))
        group.cancel_scope.cancel()
        assert it.left() == []
    assert (exchange.status, exchange.error["code"]) == (504, "deadline_exceeded")


# ---- who may


class Refusing(Guard):
    async def check(self, call: Call) -> None:
        raise PermissionDeniedError("not you")


async def test_nothing_is_read_of_a_request_that_a_guard_refuses(tmp_path: Path) -> None:
    it = desk(tmp_path, guards=[Refusing()])
    exchange = Exchange([part("file", "x", filename="x"), END], {"content-length": "99", "expect": "100-continue"})
    async with opened(it.app):
        await exchange.post(it.app, "read")
    assert (exchange.status, exchange.error["code"], exchange.read) == (403, "permission_denied", 0)
    assert (b"connection", b"close") in exchange.sent[0]["headers"]
    assert not it.root.exists()


@pytest.mark.parametrize("workflow", ["reed", "runs.get"])
async def test_nothing_is_read_for_a_workflow_that_is_not_there(tmp_path: Path, workflow: str) -> None:
    it = desk(tmp_path)
    exchange = Exchange([part("file", "x", filename="x"), END], {"content-length": "99", "expect": "100-continue"})
    async with opened(it.app):
        await exchange.post(it.app, workflow)
        assert it.left() == []
    assert (exchange.status, exchange.error["code"], exchange.read) == (404, "not_found", 0)
