"""The catalogue as MCP tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import attrs
import pytest

from nexus.abc import Gateway
from nexus.exceptions import RegistrationError
from nexus.models import Hints, Operation
from nexus_mcp._schemas import is_object, object_at_root, resolved, wrapped
from nexus_mcp._tools import Tools, project, tool_name


@attrs.define(eq=False)
class Shelf:
    """The part of a gateway that tools are made from."""

    held: list[Operation] = attrs.field(factory=list)

    def operations(self, *, channel: str | None = None) -> Sequence[Operation]:
        return [operation for operation in self.held if channel is None or operation.shows_on(channel)]

    def operation(self, reference: str, *, channel: str | None = None) -> Operation | None:
        held = self.operations(channel=channel)
        named = [operation for operation in held if reference == operation.reference]
        return next(iter(named or [operation for operation in held if reference == operation.name and operation.newest]), None)


def operation(name: str, version: str = "1", **options: Any) -> Operation:
    return Operation(
        name=name,
        kind="workflow",
        version=version,
        input_schema=lambda: {"type": "object", "properties": {}},
        **{"output_schema": lambda: {"type": "integer"}, **options},
    )


def tools(*held: Operation) -> Tools:
    return Tools(cast("Gateway", Shelf(list(held))))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (operation("process_data"), "process_data"),
        (operation("reports.daily"), "reports_daily"),
        (operation("reports.daily", "1", newest=False), "reports_daily.v1"),
        (operation("top", "1.0+rc 2", newest=False), "top.v1.0-rc-2"),
    ],
)
def test_a_tool_is_named_after_its_operation(named: Operation, expected: str) -> None:
    assert tool_name(named) == expected


def test_a_tool_says_what_its_operation_says() -> None:
    hints = Hints(read_only=True, idempotent=True)
    tool = project(operation("reports.daily_rain", summary="Sum up.", description="In detail.", hints=hints)).tool

    assert tool.title == "Reports daily rain"
    assert tool.description == "Sum up.\n\nIn detail."
    assert tool.annotations is not None
    assert (tool.annotations.read_only_hint, tool.annotations.destructive_hint, tool.annotations.idempotent_hint) == (
        True,
        False,
        True,
    )
    assert tool.annotations.open_world_hint is None


def test_the_title_of_an_older_version_says_which() -> None:
    assert project(operation("top", "1", newest=False)).tool.title == "Top (version 1)"


def test_an_output_that_is_no_object_is_wrapped() -> None:
    projection = project(operation("count"))

    assert projection.wraps
    assert projection.tool.output_schema == {
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "required": ["result"],
    }


def test_an_output_that_is_an_object_behind_a_reference_is_not_wrapped() -> None:
    definitions = {"Rank": {"type": "object", "properties": {"airport": {"type": "string"}}}}
    projection = project(operation("top", output_schema=lambda: {"$ref": "#/$defs/Rank", "$defs": definitions}))

    assert not projection.wraps
    assert projection.tool.output_schema == {**definitions["Rank"], "$defs": definitions}


def test_definitions_stay_where_references_look_for_them() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/Rank"}, "$defs": {"Rank": {"type": "object"}}}

    assert wrapped(schema) == {
        "type": "object",
        "properties": {"result": {"type": "array", "items": {"$ref": "#/$defs/Rank"}}},
        "required": ["result"],
        "$defs": {"Rank": {"type": "object"}},
    }


def test_a_reference_that_goes_round_in_circles_ends() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}

    assert resolved(schema, schema)["$ref"] == "#/$defs/A"
    assert not is_object(schema)


def test_a_schema_without_a_type_is_made_one_of_an_object() -> None:
    assert object_at_root({}) == {"type": "object"}


def test_only_a_schema_that_repeats_arguments_in_headers_is_checked_against_headers() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    there = tools(operation("plain"), Operation(name="routed", kind="workflow", input_schema=lambda: schema))

    assert there.header_schema("plain") is None
    assert there.header_schema("routed") == schema
    assert there.header_schema("missing") is None


def test_only_operations_that_show_on_mcp_are_tools() -> None:
    there = tools(operation("shown"), operation("hidden", channels=frozenset({"api"})))

    assert [tool.name for tool in there.list(there.gateway.operations(channel="mcp"))] == ["shown"]


def test_an_operation_that_comes_later_is_a_tool() -> None:
    shelf = Shelf([operation("first")])
    there = Tools(cast("Gateway", shelf))
    assert there.find("second") is None
    shelf.held.append(operation("second"))

    assert [tool.name for tool in there.list(there.gateway.operations(channel="mcp"))] == ["first", "second"]
    assert there.find("second") is not None


def test_the_bare_name_follows_the_newest_version() -> None:
    first = operation("top")
    shelf = Shelf([first])
    there = Tools(cast("Gateway", shelf))
    assert there.find("top") is there.of(first)
    second = operation("top", "2")
    older = attrs.evolve(first, newest=False)
    shelf.held[:] = [second, older]

    assert there.find("top") is there.of(second)
    assert there.find("top.v1") is there.of(older)


def test_a_tool_is_also_found_by_the_name_of_its_operation() -> None:
    dotted = operation("reports.daily")
    there = tools(dotted)

    assert there.find("reports.daily") is there.find("reports_daily") is there.of(dotted)


def test_two_operations_of_one_tool_name_are_an_error_that_names_both() -> None:
    there = tools(operation("a.b", place="desk:one"), operation("a_b", place="desk:two"), operation("fine"))

    with pytest.raises(RegistrationError, match=r"a\.b@1 \(desk:one\) and a_b@1 \(desk:two\) would both be the MCP tool 'a_b'"):
        there.list(there.gateway.operations(channel="mcp"))
    with pytest.raises(RegistrationError, match="channels="):
        there.find("a_b")


def test_other_tools_go_on_beside_a_collision() -> None:
    there = tools(operation("a.b"), operation("a_b"), operation("fine"))

    assert there.find("fine") is not None
