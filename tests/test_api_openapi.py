"""`/openapi.json`: what it says is valid, and true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
import httpx
import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from nexus import Nexus, Run, Schedule, create_nexus
from nexus.config import NexusConfig
from nexus_starlette import asgi
from nexus_starlette.references import Components

pytestmark = pytest.mark.anyio


@attrs.frozen
class City:
    name: str
    twin: City | None = None


@attrs.frozen
class Trip:
    stops: list[City]
    days: Annotated[int, msgspec.Meta(ge=1)] = 1


def desk() -> Nexus:
    app = create_nexus(NexusConfig(title="Desk", description="A desk.", version="7.1"))

    @app.workflow(name="travel.plan", tags=["travel"])
    async def plan(start: City, trip: Trip, notes: dict[str, str] | None = None) -> list[City]:
        """
        Plan a trip.

        Through every stop.
        """
        return [start, *trip.stops]

    @app.workflow(name="old", version="1")
    async def old_one() -> int:
        return 1

    @app.workflow(name="old", version="2")
    async def old_two() -> int:
        return 2

    @app.workflow
    async def ask(run: Run) -> bool:
        return await run.ask("Sure?", bool)

    return app


async def document_of(app: Nexus) -> Any:
    async with client_of(app) as client, app:
        return (await client.get("/openapi.json")).json()


def client_of(app: Nexus) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.channel("api")), base_url="http://api")  # type: ignore[arg-type]


def operations_in(document: Any) -> Sequence[tuple[str, str, Any]]:
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


async def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(await document_of(desk())).validate()


async def test_the_document_tells_what_the_application_is() -> None:
    document = await document_of(desk())
    assert document["openapi"].startswith("3.1")
    assert document["info"] == {"title": "Desk", "description": "A desk.", "version": "7.1"}


async def test_each_workflow_has_a_path_and_each_older_version_one_too() -> None:
    document = await document_of(desk())
    paths = [path for path in document["paths"] if path.endswith("/execute")]
    assert paths == [
        "/api/workflows/ask/execute",
        "/api/workflows/old/execute",
        "/api/workflows/old@1/execute",
        "/api/workflows/travel.plan/execute",
    ]
    planned = document["paths"]["/api/workflows/travel.plan/execute"]["post"]
    assert (planned["summary"], planned["tags"]) == ("Plan a trip.", ["travel"])
    assert planned["description"] == "Through every stop."


async def test_each_operation_has_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for _, _, operation in operations_in(await document_of(desk()))]
    assert sorted(set(ids)) == sorted(ids)
    assert {"execute_old", "execute_old@1", "execute_travel.plan", "get_run"} <= set(ids)


async def test_classes_are_components_and_every_reference_leads_somewhere() -> None:
    document = await document_of(desk())
    assert {"City", "Trip"} <= set(document["components"]["schemas"])
    assert "$defs" not in msgspec.json.encode(document).decode()
    references: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            references.extend([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(document)
    for reference in references:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    assert "#/components/schemas/City" in references


async def test_inputs_are_required_where_an_argument_is() -> None:
    document = await document_of(desk())
    planned = document["paths"]["/api/workflows/travel.plan/execute"]["post"]["requestBody"]
    without = document["paths"]["/api/workflows/old/execute"]["post"]["requestBody"]
    assert (planned["required"], planned["content"]["application/json"]["schema"]["required"]) == (True, ["inputs"])
    assert (without["required"], "required" in without["content"]["application/json"]["schema"]) == (False, False)


async def test_every_status_of_an_execution_is_described() -> None:
    document = await document_of(desk())
    responses = document["paths"]["/api/workflows/old/execute"]["post"]["responses"]
    expected = {200, 202, 400, 401, 403, 404, 406, 409, 413, 415, 422, 429, 499, 500, 503, 504}
    assert {int(status) for status in responses} == expected
    assert "Retry-After" in document["components"]["responses"]["Unavailable"]["headers"]
    assert "WWW-Authenticate" in document["components"]["responses"]["Unauthenticated"]["headers"]


def check(document: Any, path: str, method: str, response: httpx.Response) -> None:
    """Check a real response against what the document says of it."""
    described = document["paths"][path][method]["responses"][str(response.status_code)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(response.json())


async def test_real_responses_are_as_the_document_says() -> None:
    app = desk()
    async with client_of(app) as client, app:
        document = (await client.get("/openapi.json")).json()
        inputs = {"inputs": {"start": {"name": "Ulm"}, "trip": {"stops": [{"name": "Bonn", "twin": {"name": "Oxford"}}]}}}
        schema = document["paths"]["/api/workflows/travel.plan/execute"]["post"]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(inputs)
        plan, ask = "/api/workflows/travel.plan/execute", "/api/workflows/ask/execute"
        check(document, plan, "post", await client.post(plan, json=inputs))
        check(document, plan, "post", await client.post(plan, json={"inputs": {}}))
        check(document, plan, "post", await client.post(plan, json={"inputs": {}}, headers={"Authorization": "Bearer x"}))
        asked = await client.post(ask)
        check(document, ask, "post", asked)
        run, answer = "/api/runs/{run_id}", "/api/runs/{run_id}/answer"
        check(document, run, "get", await client.get(asked.headers["location"]))
        check(document, answer, "post", await client.post(f"{asked.headers['location']}/answer", json={"answer": True}))
        check(document, "/api/runs/{run_id}/cancel", "post", await client.post(f"{asked.headers['location']}/cancel"))
        check(document, run, "get", await client.get("/api/runs/f00"))
        check(document, "/api/runs", "get", await client.get("/api/runs", params={"limit": "1000"}))
        for path in ("/api/runs", "/api/workflows", "/health/live", "/health/ready"):
            check(document, path, "get", await client.get(path))
        for rest in ("", "/schema", "/graph"):
            check(document, f"/api/workflows/{{workflow}}{rest}", "get", await client.get(f"/api/workflows/travel.plan{rest}"))


async def test_what_is_said_of_schedules_is_as_the_document_says() -> None:
    app = desk()

    @app.workflow(schedule=Schedule("30 2 * * *", overlap="allow"))
    async def nightly() -> None:
        """Do nothing."""

    path, one = "/api/admin/schedules", "/api/admin/schedules/nightly"
    async with client_of(app) as client, app:
        document = (await client.get("/openapi.json")).json()
        check(document, path, "get", await client.get(path))
        for verb, body in (("trigger", None), ("trigger", {"wait": True}), ("pause", None), ("resume", None)):
            reply = await client.post(f"{one}/{verb}", json=body) if body else await client.post(f"{one}/{verb}")
            assert reply.status_code == 200
            check(document, f"{path}/{{schedule}}/{verb}", "post", reply)
        missing = await client.post(f"{path}/daily/trigger")
        check(document, f"{path}/{{schedule}}/trigger", "post", missing)
        assert missing.status_code == 404
        check(document, path, "get", await client.get(path))


async def test_the_document_has_both_forms_of_a_graph() -> None:
    app = desk()
    path = "/api/workflows/{workflow}/graph"
    async with client_of(app) as client, app:
        document = (await client.get("/openapi.json")).json()
        refused = await client.get("/api/workflows/travel.plan/graph", headers={"Accept": "text/html"})
        check(document, path, "get", refused)
    found = document["paths"][path]["get"]["responses"]["200"]
    assert found["content"]["text/vnd.mermaid"] == {"schema": {"type": "string"}}
    assert set(found["content"]) == {"application/json", "text/vnd.mermaid"}
    assert "Vary" in found["headers"]
    assert refused.status_code == 406


async def test_a_new_workflow_is_in_the_document_at_once() -> None:
    app = desk()
    async with client_of(app) as client, app:
        before = (await client.get("/openapi.json")).content
        same = (await client.get("/openapi.json")).content

        @app.workflow
        async def late() -> int:
            return 1

        after = (await client.get("/openapi.json")).json()
    assert before == same
    assert "/api/workflows/late/execute" in after["paths"]


async def test_the_document_of_a_mounted_application_says_where_it_is() -> None:
    app = desk()
    application = asgi(app)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "root_path": "/nexus", "path": f"/nexus{scope['path']}"}, receive, send)

    async with app, httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://api") as client:
        document = (await client.get("/openapi.json")).json()
    assert document["servers"] == [{"url": "/nexus"}]


async def test_an_application_without_workflows_has_a_document_too() -> None:
    document = await document_of(create_nexus(NexusConfig()))
    OpenAPIV31SpecValidator(document).validate()
    assert "description" not in document["info"]
    await anyio.lowlevel.checkpoint()


# ---- definitions become components


def test_equal_definitions_are_one_component_and_different_ones_get_a_number() -> None:
    components = Components({})
    city = {"type": "object", "properties": {"name": {"type": "string"}}}
    first = components.take({"$ref": "#/$defs/City", "$defs": {"City": city}})
    second = components.take({"type": "array", "items": {"$ref": "#/$defs/City"}, "$defs": {"City": dict(city)}})
    third = components.take({"$ref": "#/$defs/City", "$defs": {"City": {"type": "string"}}})
    assert first == {"$ref": "#/components/schemas/City"}
    assert second == {"type": "array", "items": {"$ref": "#/components/schemas/City"}}
    assert third == {"$ref": "#/components/schemas/City_2"}
    assert components.schemas == {"City": city, "City_2": {"type": "string"}}


def test_definitions_that_differ_only_in_what_they_refer_to_are_different() -> None:
    components = Components({})
    trip = {"properties": {"to": {"$ref": "#/$defs/City"}}}
    components.take({"$ref": "#/$defs/Trip", "$defs": {"Trip": trip, "City": {"type": "string"}}})
    second = components.take({"$ref": "#/$defs/Trip", "$defs": {"Trip": trip, "City": {"type": "integer"}}})
    assert second == {"$ref": "#/components/schemas/Trip_2"}
    assert components.schemas["Trip_2"] == {"properties": {"to": {"$ref": "#/components/schemas/City_2"}}}


def test_a_definition_may_refer_to_itself_and_be_named_in_any_way() -> None:
    taken_already: dict[str, Any] = {"Taken": {}}
    components = Components(taken_already)
    schema = {
        "anyOf": [
            {"$ref": "#/$defs/Tree%5Bint%5D"},
            {"$ref": "#/$defs/a~1b/items"},
            {"$ref": "#/$defs/Taken"},
            {"$ref": "other.json"},
        ],
        "$defs": {"Tree[int]": {"items": {"$ref": "#/$defs/Tree%5Bint%5D"}}, "a/b": {"items": {}}, "Taken": {}, "[]": True},
    }
    taken = components.take(schema)
    assert [each["$ref"] for each in taken["anyOf"]] == [
        "#/components/schemas/Tree_int",
        "#/components/schemas/a_b/items",
        "#/components/schemas/Taken_2",
        "other.json",
    ]
    assert components.schemas["Tree_int"] == {"items": {"$ref": "#/components/schemas/Tree_int"}}
    assert components.schemas["Schema"] is True


def test_what_only_looks_like_a_reference_is_left_alone() -> None:
    components = Components({})
    literal = {"$ref": "#/$defs/City"}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"$ref": {"const": literal}, "default": {"default": literal, "enum": [literal], "examples": [literal]}},
        "discriminator": {"propertyName": "kind", "mapping": {"city": "#/$defs/City"}},
        "$defs": {"City": {"discriminator": {"propertyName": "kind"}}},
    }
    taken = components.take(schema)
    assert taken["properties"] == schema["properties"]
    assert taken["discriminator"] == {"propertyName": "kind", "mapping": {"city": "#/components/schemas/City"}}
    assert "$schema" not in taken


async def test_a_workflow_that_takes_files_takes_a_form_and_one_that_gives_some_says_where_they_are() -> None:
    app = create_nexus(NexusConfig())

    @app.workflow
    def convert(file: Path, others: list[Path], spare: Path | None = None, quality: int = 3) -> Path:
        return file

    document = await document_of(app)
    OpenAPIV31SpecValidator(document).validate()
    converted = document["paths"]["/api/workflows/convert/execute"]["post"]
    form = converted["requestBody"]["content"]["multipart/form-data"]["schema"]
    results = converted["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]["properties"]
    assert form["required"] == ["file", "others"]
    assert form["properties"]["file"] == {"type": "string", "format": "binary"}
    assert form["properties"]["others"]["items"] == {"type": "string", "format": "binary"}
    assert form["properties"]["spare"]["anyOf"] == [{"type": "string", "format": "binary"}, {"type": "null"}]
    assert form["properties"]["quality"]["type"] == "integer"
    assert results["files"]["items"] == {"$ref": "#/components/schemas/NexusFile"}


async def test_a_workflow_without_files_takes_no_form_and_gives_none() -> None:
    document = await document_of(desk())
    planned = document["paths"]["/api/workflows/travel.plan/execute"]["post"]
    assert list(planned["requestBody"]["content"]) == ["application/json"]
    results = planned["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]["properties"]
    assert "files" not in results
