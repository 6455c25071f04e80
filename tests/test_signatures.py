from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from nexus.exceptions import InvalidArgumentError
from nexus.models import MISSING
from nexus.workflows.codecs import Codecs
from nexus.workflows.files import FilesRoot
from nexus.workflows.signatures import Description, Parameter, Signature, describe, parameters_of, returns_of

if TYPE_CHECKING:
    from collections.abc import Callable


def signature_of(function: Any) -> Signature:
    place = "here:function"
    return Signature("function", parameters_of(function, place=place), codecs=Codecs(), place=place)


def problems_of(signature: Signature, arguments: dict[str, Any], **options: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgumentError) as caught:
        signature.check(arguments, **options)
    return {problem.pointer: problem.message for problem in caught.value.problems}


@dataclass(frozen=True)
class Record:
    file: Path


@attrs.frozen
class Part:
    file: Path
    others: list[Path] = attrs.field(factory=list)
    by: dict[str, Path] = attrs.field(factory=dict)
    pair: tuple[int, Path] | None = None


def process(file: Path, limit: Annotated[int, at.Interval(ge=1, le=100)] = 10, *, tags: list[str] | None = None) -> int:
    """
    Summarise a weather file.

    It reads, and reads on.

    Args:
        file: CSV file with
            a header row.
        limit: Read at most this many rows.

    Returns:
        How many.
    """
    return 0


def test_arguments_become_keyword_arguments_with_defaults_filled_in() -> None:
    assert signature_of(process).check({"file": "a.csv"}) == {"file": Path("a.csv"), "limit": 10, "tags": None}


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert problems_of(signature_of(process), {"limit": 500, "tags": ["a", 3, None], "limt": 3}) == {
        "/file": "missing; expected a path",
        "/limit": "expected an integer between 1 and 100, got 500",
        "/tags/1": "expected a string, got 3",
        "/tags/2": "expected a string, got null",
        "/limt": "unknown argument; did you mean 'limit'?",
    }


def test_the_error_tells_the_first_problem_and_how_many_more() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        signature_of(process).check({"limit": 500})

    assert str(caught.value) == "the arguments of 'function' don't fit: /file: missing; expected a path (and 1 more)"
    assert caught.value.details["errors"][0] == {"pointer": "/file", "message": "missing; expected a path"}


def test_an_unknown_argument_far_from_all_gets_the_list() -> None:
    def two(a: int, b: int) -> None: ...

    def one(a: int) -> None: ...

    def none() -> None: ...

    assert problems_of(signature_of(two), {"a": 1, "b": 1, "zzz": 1}) == {"/zzz": "unknown argument; there are a, b"}
    assert problems_of(signature_of(one), {"a": 1, "zzz": 1}) == {"/zzz": "unknown argument; there is a"}
    assert problems_of(signature_of(none), {"a~/b": 1}) == {"/a~0~1b": "unknown argument; there are none"}


def test_a_mutable_default_is_not_shared_between_calls() -> None:
    def collect(into: list[int] = [1], by: dict[str, int] = {}) -> None: ...  # noqa: B006 - what is tested

    signature = signature_of(collect)
    first = signature.check({})
    first["into"].append(2)
    first["by"]["a"] = 1

    assert signature.check({}) == {"into": [1], "by": {}}
    assert signature.check({}, lenient=True) == {"into": [1], "by": {}}


def test_any_object_may_be_a_default() -> None:
    here = Part(Path("a"))

    def take(part: Part = here, where: Path = Path("b")) -> None: ...

    assert signature_of(take).check({}) == {"part": here, "where": Path("b")}
    assert signature_of(take).schema["properties"]["where"] == {"type": "string", "format": "path", "default": "b"}


def test_a_default_that_json_has_no_word_for_is_not_shown() -> None:
    def take(what: Any = object) -> None: ...

    assert signature_of(take).schema["properties"]["what"] == {}


def test_a_default_of_none_makes_null_good() -> None:
    def take(limit: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013 - what is tested

    assert signature_of(take).check({"limit": None}) == {"limit": None}
    assert signature_of(take).schema["properties"]["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}


def test_the_schema_has_descriptions_defaults_and_what_is_required() -> None:
    assert signature_of(process).schema == {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "path", "description": "CSV file with a header row."},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "description": "Read at most this many rows.",
                "default": 10,
            },
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
        },
        "required": ["file"],
        "additionalProperties": False,
    }


def test_a_signature_without_parameters_takes_nothing() -> None:
    def nothing() -> None: ...

    assert signature_of(nothing).check({}) == {}
    assert signature_of(nothing).schema == {"type": "object", "properties": {}, "additionalProperties": False}


def test_a_parameter_may_be_called_self() -> None:
    def odd(self: int, cls: int = 2) -> None: ...

    assert signature_of(odd).check({"self": 1}) == {"self": 1, "cls": 2}


def test_any_mapping_is_good_for_arguments() -> None:
    assert signature_of(process).check(MappingProxyType({"file": "a"}))["file"] == Path("a")


def test_arguments_that_are_no_object_are_told() -> None:
    assert problems_of(signature_of(process), [1]) == {"": "expected an object of arguments by name, got [1]"}  # type: ignore[arg-type]


def test_of_very_many_problems_the_first_hundred_are_told() -> None:
    def take(numbers: list[int]) -> None: ...

    problems = problems_of(signature_of(take), {"numbers": ["x"] * 1000})

    assert len(problems) == 101
    assert problems[""] == "and 900 more problems"


def test_a_name_that_goes_on_and_on_gets_no_suggestion() -> None:
    assert problems_of(signature_of(process), {"file": "a", "l" * 100: 1}) == {
        "/" + "l" * 100: "unknown argument; there are file, limit, tags"
    }


@pytest.mark.parametrize("lenient", [True, False])
def test_what_is_nested_too_deeply_is_a_problem_and_no_accident(lenient: bool) -> None:
    def take(folder: Folder) -> None: ...

    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"below": [deep]}

    assert problems_of(signature_of(take), {"folder": deep}, lenient=lenient) == {"": "the arguments are nested too deeply"}


class TestFiles:
    @pytest.fixture
    def root(self, tmp_path: Path) -> FilesRoot:
        (tmp_path / "files").mkdir()
        return FilesRoot(tmp_path / "files")

    def test_a_path_is_resolved_below_the_root(self, root: FilesRoot, tmp_path: Path) -> None:
        assert signature_of(process).check({"file": "a.csv"}, files=root)["file"] == (tmp_path / "files" / "a.csv").resolve()

    @pytest.mark.parametrize("lenient", [True, False])
    def test_a_path_that_leads_outside_is_a_problem_like_any_other(self, root: FilesRoot, lenient: bool) -> None:
        assert problems_of(signature_of(process), {"file": "../a", "limit": []}, files=root, lenient=lenient) == {
            "/file": "the path leads outside files_root; got '../a'",
            "/limit": "expected an integer between 1 and 100, got []",
        }

    def test_without_a_root_no_path_is_good(self) -> None:
        assert problems_of(signature_of(process), {"file": "a"}, files=FilesRoot(None)) == {
            "/file": "paths can't be given here: no files_root is configured; got 'a'"
        }

    def test_paths_at_any_depth_are_held(self, root: FilesRoot) -> None:
        def deep(part: Part, by: dict[str, list[Path | int]], keys: dict[Path, int], pair: tuple[int, Path]) -> None: ...

        assert problems_of(
            signature_of(deep),
            {
                "part": {"file": "../1", "others": ["/2", "ok"]},
                "by": {"x": [1, "../3"]},
                "keys": {"../4": 1},
                "pair": [1, "/5"],
            },
            files=root,
        ) == {
            "/part/file": "the path leads outside files_root; got '../1'",
            "/part/others/0": "an absolute path is not allowed; give one relative to files_root; got '/2'",
            "/by/x/1": "the path leads outside files_root; got '../3'",
            "/keys/..~14": "the key: the path leads outside files_root; got '../4'",
            "/pair/1": "an absolute path is not allowed; give one relative to files_root; got '/5'",
        }

    def test_an_instance_does_not_smuggle_a_path_in(self, root: FilesRoot) -> None:
        def take(part: Part) -> None: ...

        assert problems_of(signature_of(take), {"part": Part(Path("/etc/passwd"))}, files=root) == {
            "/part/file": "an absolute path is not allowed; give one relative to files_root; got '/etc/passwd'"
        }
        assert signature_of(take).check({"part": Part(Path("/etc/passwd"))})["part"] == Part(Path("/etc/passwd"))

    def test_a_converter_does_not_smuggle_a_path_in(self, root: FilesRoot) -> None:
        def to_path(text: str) -> Path:
            return Path(text)

        made = attrs.make_class("Made", {"file": attrs.field(type=Path, converter=to_path)})
        signature = Signature("f", [Parameter(name="it", hint=made)], codecs=Codecs(), place="here:f")

        assert problems_of(signature, {"it": {"file": "/etc/passwd"}}, files=root) == {
            "/it/file": "an absolute path is not allowed; give one relative to files_root; got '/etc/passwd'"
        }

    def test_paths_in_models_of_pydantic_are_held(self, root: FilesRoot, tmp_path: Path) -> None:
        class Inner(pydantic.BaseModel):
            file: Path

        class Outer(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(frozen=True)
            inner: Inner
            more: dict[str, list[Path]] = {}
            pair: tuple[Path, int] = (Path("/chosen/by/the/author"), 1)
            row: deque[PurePath] = deque()
            record: Record | None = None

        signature = Signature("f", [Parameter(name="it", hint=Outer)], codecs=Codecs(), place="here:f")

        taken = signature.check({"it": {"inner": {"file": "a"}, "more": {"x": ["b"]}}}, files=root)["it"]
        assert (taken.inner.file, taken.more["x"]) == (root.resolve("a"), [root.resolve("b")])
        assert signature.check({"it": {"inner": {"file": "a"}, "record": {"file": "b"}}}, files=root)["it"].record == Record(
            root.resolve("b")
        )
        outside = {"inner": {"file": "../a"}, "more": {"x": ["/b"]}, "row": ["../c"], "record": {"file": "../d"}}
        assert problems_of(signature, {"it": outside}, files=root) == {
            "/it/inner/file": "the path leads outside files_root; got '../a'",
            "/it/row/0": "the path leads outside files_root; got '../c'",
            "/it/record/file": "the path leads outside files_root; got '../d'",
            "/it/more/x/0": "an absolute path is not allowed; give one relative to files_root; got '/b'",
        }

    def test_what_a_codec_makes_is_held_too(self, root: FilesRoot) -> None:
        codecs = Codecs()
        codecs.add(Path, encode=str, decode=lambda text: Path("/etc") / text, schema={"type": "string"})
        signature = Signature("f", [Parameter(name="it", hint=Path)], codecs=codecs, place="here:f")

        assert signature.check({"it": "passwd"}) == {"it": Path("/etc/passwd")}
        assert problems_of(signature, {"it": "passwd"}, files=root)["/it"].endswith(
            "an absolute path is not allowed; give one relative to files_root"
        )

    def test_one_of_several_classes_is_held_too(self, root: FilesRoot) -> None:
        signature = Signature("f", [Parameter(name="it", hint=OneFile | TwoFiles | None)], codecs=Codecs(), place="here:f")

        assert problems_of(signature, {"it": OneFile(Path("/x"))}, files=root) == {
            "/it/file": "an absolute path is not allowed; give one relative to files_root; got '/x'"
        }

    def test_a_recursive_class_is_held_too(self, root: FilesRoot) -> None:
        signature = Signature("f", [Parameter(name="it", hint=Folder)], codecs=Codecs(), place="here:f")

        assert problems_of(signature, {"it": {"below": [{"path": "/x"}]}}, files=root) == {
            "/it/below/0/path": "an absolute path is not allowed; give one relative to files_root; got '/x'"
        }


class OneFile(msgspec.Struct, tag=True):
    file: Path


class TwoFiles(msgspec.Struct, tag=True):
    files: tuple[Path, Path]


@attrs.frozen
class Folder:
    below: list[Folder] = attrs.field(factory=list)
    path: Path = Path("x")


class TestParameters:
    def test_hints_are_resolved_and_annotated_is_kept(self) -> None:
        assert [(p.name, p.hint, p.default) for p in parameters_of(process, place="here:process")] == [
            ("file", Path, MISSING),
            ("limit", Annotated[int, at.Interval(ge=1, le=100)], 10),
            ("tags", list[str] | None, None),
        ]

    def test_the_result_has_a_hint_too(self) -> None:
        def nothing():  # type: ignore[no-untyped-def]  # noqa: ANN202 - what is tested
            ...

        assert returns_of(process, place="here:process") is int
        assert returns_of(nothing, place="here:nothing") is Any

    def test_a_class_that_is_local_where_the_function_was_written_is_found(self) -> None:
        @attrs.frozen
        class Local:
            x: int
            other: Local | None = None

        def take(it: Local) -> Local:
            return it

        [parameter] = parameters_of(take, place="here:take", localns=locals())

        assert parameter.hint is Local
        assert returns_of(take, place="here:take", localns=locals()) is Local

    def test_classes_that_are_local_there_may_name_each_other(self) -> None:
        @attrs.frozen
        class City:
            name: str

        @attrs.frozen
        class Stop:
            city: City

        def take(stops: list[Stop]) -> None: ...

        parameters = parameters_of(take, place="here:take", localns=locals())
        signature = Signature("take", parameters, codecs=Codecs(), place="here:take")

        assert signature.check({"stops": [{"city": {"name": "Bern"}}]}) == {"stops": [Stop(City("Bern"))]}
        assert Codecs().output_schema(Stop, localns=locals())["properties"] == {"city": {"$ref": "#/$defs/City"}}

    def test_a_name_in_the_closure_is_found(self) -> None:
        class Local: ...

        def take(it: Local) -> object:
            return Local

        assert parameters_of(take, place="here:take")[0].hint is Local

    def test_what_wraps_a_function_has_its_parameters(self) -> None:
        @functools.wraps(process)
        def wrapped(*args: Any, **kwargs: Any) -> int:
            return 0

        assert [p.name for p in parameters_of(wrapped, place="here:process")] == ["file", "limit", "tags"]

    def test_a_partial_a_method_and_an_instance_are_functions_too(self) -> None:
        class Thing:
            def method(self, a: Path) -> None: ...

            def __call__(self, b: Path) -> None: ...

        things: list[Callable[..., Any]] = [functools.partial(process, Path("a")), Thing().method, Thing()]

        assert [[p.name for p in parameters_of(thing, place="here")] for thing in things] == [["limit", "tags"], ["a"], ["b"]]
        assert parameters_of(Thing(), place="here")[0].hint is Path


class TestDescriptions:
    def test_a_docstring_has_summary_description_and_parameters(self) -> None:
        assert describe(process) == Description(
            summary="Summarise a weather file.",
            description="It reads, and reads on.",
            parameters={"file": "CSV file with a header row.", "limit": "Read at most this many rows."},
        )

    def test_a_docstring_of_one_line_is_the_summary(self) -> None:
        def short() -> None:
            """Do it."""

        assert describe(short) == Description(summary="Do it.")

    def test_no_docstring_says_nothing(self) -> None:
        def silent() -> None: ...

        assert describe(silent) == Description()


def test_a_struct_with_a_default_that_may_change_is_a_default() -> None:
    class Row(msgspec.Struct):
        a: int = 1

    row = Row()
    signature = Signature("f", [Parameter(name="it", hint=Row, default=row)], codecs=Codecs(), place="here:f")

    assert signature.check({})["it"] is row
