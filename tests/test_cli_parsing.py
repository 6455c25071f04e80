"""A command line becomes the arguments of an operation, and nothing is checked on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from nexus.models import MISSING, Operation
from nexus_click._parameters import Parameter, json_type, parameters_of
from nexus_click._parsing import Invocation, Settings, parse, to_argv


def schema(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
STOPS = {"type": "array", "items": {"$ref": "#/$defs/Stop"}}
WEATHER = schema(
    "file",
    file={"type": "string", "format": "path"},
    limit={**INTEGER, "default": 100},
    keep={"type": "boolean", "default": False},
    tags={"type": "array", "items": TEXT, "default": []},
)


def read(document: dict[str, Any], *argv: str, stdin: str = "") -> Invocation:
    return parse("weather", document, argv, read_stdin=lambda: stdin, settings=Settings())


def arguments(document: dict[str, Any], *argv: str, stdin: str = "") -> dict[str, Any]:
    return dict(read(document, *argv, stdin=stdin).arguments)


def told(invocation: Invocation) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.message) for fault in invocation.faults.values()]


def only(document: dict[str, Any]) -> Parameter:
    (parameter,) = parameters_of(document)
    return parameter


class TestWords:
    def test_required_parameters_are_arguments_and_others_options(self) -> None:
        assert arguments(WEATHER, "data.csv", "--limit", "3") == {"file": "data.csv", "limit": "3"}

    def test_an_argument_can_be_given_by_name(self) -> None:
        assert arguments(WEATHER, "--file", "data.csv") == {"file": "data.csv"}

    def test_an_option_takes_its_value_after_an_equals_sign(self) -> None:
        assert arguments(WEATHER, "--limit=3") == {"limit": "3"}

    def test_an_option_takes_a_value_that_looks_like_an_option(self) -> None:
        assert arguments(WEATHER, "--limit", "-3") == {"limit": "-3"}

    def test_the_last_of_two_values_wins(self) -> None:
        assert arguments(WEATHER, "--limit", "3", "--limit", "4") == {"limit": "4"}

    def test_a_negative_number_is_an_argument(self) -> None:
        assert arguments(schema("n", n=INTEGER), "-5") == {"n": "-5"}

    def test_a_dash_alone_is_an_argument(self) -> None:
        assert arguments(WEATHER, "-") == {"file": "-"}

    def test_words_after_two_dashes_are_arguments(self) -> None:
        assert arguments(WEATHER, "--", "--limit") == {"file": "--limit"}

    def test_dashes_and_underscores_are_the_same(self) -> None:
        document = schema(max_rows=INTEGER)
        assert arguments(document, "--max-rows", "1") == arguments(document, "--max_rows", "1") == {"max_rows": "1"}

    @pytest.mark.parametrize(("word", "value"), [("--keep", True), ("--no-keep", False), ("--keep=yes", "yes")])
    def test_a_boolean_is_a_flag(self, word: str, value: object) -> None:
        assert arguments(WEATHER, word) == {"keep": value}

    def test_a_required_boolean_is_a_flag_too(self) -> None:
        assert arguments(schema("keep", "file", keep={"type": "boolean"}, file=TEXT), "a.csv", "--no-keep") == {
            "file": "a.csv",
            "keep": False,
        }

    def test_null_takes_the_place_of_a_default(self) -> None:
        nullable = {"anyOf": [INTEGER, {"type": "null"}], "default": 5}
        assert arguments(schema(limit=nullable), "--no-limit") == {"limit": None}

    def test_a_list_is_an_option_given_several_times(self) -> None:
        assert arguments(WEATHER, "--tags", "a", "--tags=b") == {"tags": ["a", "b"]}

    def test_a_list_is_json_too(self) -> None:
        assert arguments(WEATHER, "--tags", '["a", "b"]') == {"tags": ["a", "b"]}

    def test_a_nullable_list_is_nothing_when_it_is_refused(self) -> None:
        nullable = {"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}], "default": ["a"]}
        assert arguments(schema(tags=nullable), "--no-tags") == {"tags": None}

    def test_the_last_argument_takes_the_rest_if_it_is_a_list(self) -> None:
        document = schema("folder", "files", folder=TEXT, files={"type": "array", "items": TEXT})
        assert arguments(document, "out", "a", "b") == {"folder": "out", "files": ["a", "b"]}

    def test_a_list_before_other_arguments_is_one_word(self) -> None:
        document = schema("files", "folder", files={"type": "array", "items": TEXT}, folder=TEXT)
        assert arguments(document, '["a"]', "out") == {"folder": "out", "files": ["a"]}

    @given(
        st.fixed_dictionaries(
            {"file": st.text()},
            optional={
                "limit": st.integers(),
                "keep": st.booleans(),
                "tags": st.lists(st.text()),
                "stops": st.lists(st.fixed_dictionaries({"city": st.text()})),
                "anything": st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
                "either": st.none() | st.text() | st.lists(st.integers()),
            },
        )
    )
    def test_arguments_survive_the_way_to_a_command_line_and_back(self, given: dict[str, Any]) -> None:
        document = {
            **schema(
                "file",
                **WEATHER["properties"],
                stops=STOPS,
                anything={},
                either={"anyOf": [TEXT, {"type": "null"}, {"type": "array", "items": INTEGER}], "default": ""},
            ),
            "$defs": {"Stop": schema(city=TEXT)},
        }
        operation = Operation(name="weather", kind="workflow", input_schema=lambda: document)
        expected = {**given, **({"limit": str(given["limit"])} if "limit" in given else {})}
        assert arguments(document, *to_argv(Plain(), operation, given)) == expected

    def test_null_where_it_is_the_default_needs_no_word(self) -> None:
        document = schema(who={"anyOf": [TEXT, {"type": "null"}], "default": None})
        assert to_argv(Plain(), Operation(name="x", kind="workflow", input_schema=lambda: document), {"who": None}) == []


class Plain:
    """Knows JSON values only."""

    def to_builtins(self, value: Any) -> Any:
        return value

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not needed here")


TRIP = {**schema("stops", stops=STOPS), "$defs": {"Stop": schema(city=TEXT)}}


class TestNestedValues:
    def test_are_json(self) -> None:
        assert arguments(TRIP, '[{"city": "Ulm"}]') == {"stops": [{"city": "Ulm"}]}

    def test_are_read_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "stops.json"
        file.write_text('[{"city": "Köln"}]', encoding="utf-8")
        assert arguments(TRIP, f"@{file}") == {"stops": [{"city": "Köln"}]}

    def test_are_read_from_standard_input(self) -> None:
        assert arguments(TRIP, "@-", stdin="[]") == {"stops": []}

    def test_standard_input_is_read_once(self) -> None:
        invocation = read(schema("a", "b", a={"type": "object"}, b={"type": "object"}), "@-", "@-", stdin="{}")
        assert told(invocation) == [("/b", "standard input (@-) can be used once only")]

    def test_broken_json_is_told_with_its_place(self) -> None:
        invocation = read(TRIP, "[1,")
        assert told(invocation) == [
            ("/stops", "expected JSON, or @file with JSON in it: Expecting value: line 1 column 4 (char 3)")
        ]

    def test_broken_json_in_a_file_is_told_with_its_name(self, tmp_path: Path) -> None:
        file = tmp_path / "stops.json"
        file.write_text("{", encoding="utf-8")
        ((_, message),) = told(read(TRIP, f"@{file}"))
        assert f"in '@{file}'" in message

    def test_a_file_that_is_not_there_is_told(self) -> None:
        assert told(read(TRIP, "@nowhere.json")) == [("/stops", "can't read 'nowhere.json': No such file or directory")]

    def test_a_file_that_is_not_utf8_is_told(self, tmp_path: Path) -> None:
        file = tmp_path / "stops.json"
        file.write_bytes(b"\xff")
        assert told(read(TRIP, f"@{file}")) == [("/stops", f"can't read '{file}': it is not UTF-8")]

    @pytest.mark.parametrize("text", ["NaN", "[" * 100_000, "1" * 5_000], ids=["nan", "deep", "long"])
    def test_json_that_python_takes_and_others_do_not_is_told(self, text: str) -> None:
        ((pointer, _),) = told(read(TRIP, text))
        assert pointer == "/stops"

    def test_json_of_the_wrong_type_is_left_to_the_signature(self) -> None:
        assert arguments(TRIP, "3") == {"stops": 3}

    def test_text_is_text_where_text_is_good(self) -> None:
        document = schema(who={"anyOf": [TEXT, {"type": "array", "items": TEXT}, {"type": "object"}]})
        assert arguments(document, "--who", "@bob") == {"who": "@bob"}
        assert arguments(document, "--who", "3") == {"who": "3"}
        assert arguments(document, "--who", '["bob"]') == {"who": ["bob"]}

    def test_a_number_is_good_for_a_number(self) -> None:
        assert arguments(schema(n={"type": ["number", "object"]}), "--n", "3") == {"n": 3}


class TestFaults:
    def test_an_unknown_option_goes_along_with_its_value(self) -> None:
        assert arguments(WEATHER, "a.csv", "--colour", "red") == {"file": "a.csv", "colour": "red"}

    def test_the_value_of_an_unknown_option_is_no_argument(self) -> None:
        assert arguments(WEATHER, "--colour", "red") == {"colour": "red"}

    @pytest.mark.parametrize("word", ["--keeep", "--verbos", "--no-colour"])
    def test_what_is_nearly_a_flag_takes_no_value(self, word: str) -> None:
        assert arguments(WEATHER, word, "a.csv")["file"] == "a.csv"

    @pytest.mark.parametrize("words", [["--colour=red"], ["a.csv", "--colour"], ["a.csv", "--colour", "--keep"]])
    def test_an_unknown_option_needs_no_value(self, words: list[str]) -> None:
        assert "colour" in arguments(WEATHER, *words)

    def test_a_short_option_is_unknown(self) -> None:
        invocation = read(WEATHER, "-l")
        assert invocation.arguments == {"-l": "true"}
        assert invocation.spelling(ArgumentProblem("/-l", "unknown")) == "-l"

    def test_a_word_too_many_is_told(self) -> None:
        invocation = read(WEATHER, "a.csv", "b.csv")
        assert told(invocation) == [("", "unexpected extra argument 'b.csv'")]
        assert invocation.arguments["#1"]

    def test_an_option_without_its_value_is_told(self) -> None:
        assert told(read(WEATHER, "a.csv", "--limit")) == [("/limit", "--limit needs a value")]

    def test_an_unknown_format_is_told(self) -> None:
        assert told(read(WEATHER, "a.csv", "--format", "xml")) == [("/format", "expected one of text, json, got 'xml'")]
        assert told(read(WEATHER, "a.csv", "--format")) == [("/format", "expected one of text, json, got ''")]

    def test_faults_stand_in_the_error_in_the_place_of_what_the_signature_says(self) -> None:
        invocation = read(schema("stops", "n", stops={"type": "object"}, n=INTEGER), "{", "x", "more")
        error = InvalidArgumentError(
            "3 arguments are wrong",
            [
                ArgumentProblem("/stops", "missing"),
                ArgumentProblem("/n", "expected an integer"),
                ArgumentProblem("/#1", "unknown"),
                ArgumentProblem("/#2", "unknown"),
            ],
        )
        explained = invocation.explain(error)
        assert [problem.pointer for problem in explained.problems] == ["/n", "", "/stops"]
        assert explained.details["errors"][1]["message"] == "unexpected extra argument 'more'"


class TestSettings:
    def test_stand_among_the_arguments(self) -> None:
        invocation = read(WEATHER, "--format", "json", "a.csv", "--yes", "--no-input", "--verbose")
        assert invocation.settings == Settings(format="json", assume_yes=True, no_input=True, verbose=True)
        assert invocation.arguments == {"file": "a.csv"}

    def test_give_way_to_a_parameter_of_the_same_name(self) -> None:
        invocation = read(schema(format=TEXT, yes={"type": "boolean"}), "--format", "csv", "--yes")
        assert invocation.settings == Settings()
        assert invocation.arguments == {"format": "csv", "yes": True}

    def test_help_is_wanted_wherever_it_stands(self) -> None:
        assert read(WEATHER, "a.csv", "--help").wants_help
        assert not read(WEATHER, "--", "--help").wants_help


class TestParameters:
    @pytest.mark.parametrize(
        ("part", "metavar"),
        [
            (TEXT, "TEXT"),
            (INTEGER, "INTEGER"),
            ({"type": "number"}, "NUMBER"),
            ({"type": "string", "format": "path"}, "PATH"),
            ({"type": "string", "format": "date-time"}, "DATETIME"),
            ({"type": "string", "contentEncoding": "base64"}, "BASE64"),
            ({"enum": ["red", "green"]}, "[red|green]"),
            ({"const": 1}, "[1]"),
            ({"anyOf": [{"enum": ["all"]}, INTEGER]}, "[all|INTEGER]"),
            ({"anyOf": [INTEGER, {"type": "null"}]}, "INTEGER"),
            ({"oneOf": [INTEGER, TEXT]}, "INTEGER|TEXT"),
            ({"type": ["integer", "null"]}, "INTEGER|NULL"),
            ({"type": "object"}, "JSON"),
            ({"type": "array", "items": {"enum": ["a", "b"]}}, "[a|b]"),
            ({"type": "array", "items": {"type": "object"}}, "JSON"),
            ({"type": "array"}, "JSON"),
            ({}, "JSON"),
            ({"allOf": [INTEGER]}, "INTEGER"),
            ({"type": "null"}, "VALUE"),
        ],
    )
    def test_a_placeholder_names_the_type(self, part: dict[str, Any], metavar: str) -> None:
        assert only(schema(x=part)).metavar == metavar

    def test_references_are_followed(self) -> None:
        document = {"$ref": "#/$defs/a~1b", "$defs": {"a/b": schema(x={"$ref": "#/$defs/Colour"}), "Colour": {"enum": ["red"]}}}
        assert only(document).metavar == "[red]"

    def test_limits_are_shown(self) -> None:
        assert only(schema(x={**INTEGER, "minimum": 1, "exclusiveMaximum": 10})).limits == "x>=1, x<10"

    def test_a_default_is_kept_apart_from_none(self) -> None:
        assert only(schema(x=TEXT)).default is MISSING
        assert only(schema(x={**TEXT, "default": None})).default is None

    def test_an_operation_without_arguments_has_none(self) -> None:
        assert parameters_of({}) == ()

    @pytest.mark.parametrize("text", ["null", "true", "1", "1.5", '""', "[]", "{}"])
    def test_json_types_have_the_names_of_json_schema(self, text: str) -> None:
        names = {
            "null": "null",
            "true": "boolean",
            "1": "integer",
            "1.5": "number",
            '""': "string",
            "[]": "array",
            "{}": "object",
        }
        assert json_type(json.loads(text)) == names[text]
