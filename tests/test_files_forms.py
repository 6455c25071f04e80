"""A form is read the same however it comes in pieces; names of files are safe whatever is sent."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.models import Caller, Upload
from nexus_starlette.forms import FormReader, is_form, safe_name
from nexus_starlette.parse import Head
from tests.files_desk import BOUNDARY, END, FORM, part


def head(content_type: str = FORM) -> Head:
    return Head("POST", "/", "", {b"content-type": content_type.encode()}, Caller(channel="api"), None)


def read(body: bytes, cuts: list[int], folder: Path) -> Any:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(places)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def whole() -> Any:
        reader = FormReader(head(), receive, 10**9, 10**9, dict)
        return await reader.read(folder)

    return anyio.run(whole)


@settings(deadline=None, max_examples=60)
@given(
    contents=st.lists(
        st.binary(max_size=200) | st.sampled_from([f"\r\n--{BOUNDARY}x".encode(), b"\r\n--", b"\r", b""]), max_size=4
    ),
    cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=30),
)
def test_files_are_written_as_they_are_however_the_body_is_cut(contents: list[bytes], cuts: list[int]) -> None:
    body = b"".join(part(f"f{n}", content, filename="same.bin") for n, content in enumerate(contents)) + END
    with tempfile.TemporaryDirectory() as folder:
        arguments = read(body, cuts, Path(folder))
        written = [arguments[f"f{n}"].path.read_bytes() for n in range(len(contents))]
    assert written == contents


def test_a_large_file_is_written_in_order(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    arguments = read(part("file", content, filename="x") + END, list(range(0, len(content), 65_537)), tmp_path)
    upload: Upload = arguments["file"]
    assert upload.path is not None
    assert upload.path.read_bytes() == content
    assert upload.size == len(content)


@given(st.text(max_size=400))
def test_a_safe_name_is_one_part_of_a_path_and_short(sent: str) -> None:
    name = safe_name(sent)
    assert name not in {"", ".", ".."}
    assert not set(name) & set('/\\<>:"|?*\0')
    assert name.isprintable()
    assert len(name.encode()) <= 150
    assert name == Path(name).name


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("x" * 300 + ".csv", "x" * 146 + ".csv"),
        ("é" * 300, "é" * 75),
        (".bashrc", ".bashrc"),
        ("x. .", "x"),
        ("a." + "b" * 300, "a." + "b" * 148),
    ],
)
def test_a_long_name_keeps_its_ending(sent: str, kept: str) -> None:
    assert safe_name(sent) == kept


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (FORM, True),
        ("Multipart/Form-Data; boundary=x", True),
        ("application/json", False),
        ("multipart/mixed", False),
        ("", False),
    ],
)
def test_a_form_is_known_by_its_content_type(content_type: str, expected: bool) -> None:
    assert is_form(head(content_type)) is expected


def test_an_upload_does_not_show_where_it_is() -> None:
    upload = Upload(filename="x.csv", media_type="text/csv", size=1, sha256="", path=Path("/secret/x.csv"))
    assert repr(upload) == "the uploaded file 'x.csv'"
