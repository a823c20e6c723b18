"""The OpenAPI document says what is enforced, because it is made of it."""

import re
from typing import Any

import pytest

from control.http import PROBLEMS
from tests.control.station import Station, fetch

REF = re.compile(r"#/components/schemas/(\w+)")


@pytest.fixture
def document(bare_station: Station) -> dict[str, Any]:
    """The document of a running control plane."""
    result: dict[str, Any] = bare_station.client.get("/openapi.json").json()
    return result


def test_document_has_every_operation(document: dict[str, Any]) -> None:
    """The contract's routes, and a definition for whatever is referred to."""
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert operations == {
        ("post", "/api/v1/links"),
        ("get", "/api/v1/links"),
        ("get", "/api/v1/links/{code}"),
        ("patch", "/api/v1/links/{code}"),
        ("delete", "/api/v1/links/{code}"),
        ("get", "/api/v1/outbox/set-aside"),
        ("get", "/api/v1/audit"),
        ("get", "/api/v1/links/{code}/clicks"),
        ("get", "/api/v1/domains/{host}/clicks"),
        ("get", "/api/v1/tags/{tag}/clicks"),
        ("get", "/api/v1/clicks"),
        ("get", "/api/v1/clicks/unknown"),
        ("get", "/api/v1/top"),
        ("get", "/api/v1/clicks/tail"),
        ("get", "/api/v1/links/{code}/clicks/export"),
        ("get", "/api/v1/clicks/export"),
        ("get", "/api/v1/clicks/reconciliation"),
        ("get", "/api/v1/tags"),
        ("delete", "/api/v1/tags/{name}"),
        ("get", "/api/v1/shards"),
        ("post", "/api/v1/shards"),
        ("delete", "/api/v1/shards/{id}"),
        ("patch", "/api/v1/shards/{id}"),
        ("post", "/api/v1/shards/{id}/replace"),
        ("post", "/api/v1/shards/{id}/promote"),
        ("post", "/api/v1/shards/{id}/rebuild"),
        ("get", "/api/v1/edges"),
        ("get", "/api/v1/moves"),
        ("get", "/api/v1/moves/{id}"),
        ("post", "/api/v1/moves/{id}/pause"),
        ("post", "/api/v1/moves/{id}/resume"),
        ("post", "/api/v1/moves/{id}/abort"),
        ("post", "/api/v1/moves/{id}/reverse"),
        ("post", "/api/v1/moves/{id}/lost"),
    }
    assert set(REF.findall(str(document))) <= document["components"]["schemas"].keys()


def test_documented_members_are_those_that_are_taken(bare_station: Station, document: dict[str, Any]) -> None:
    """What the schema of NewLink lists is accepted, what it does not list is refused."""
    schema = document["components"]["schemas"]["NewLink"]
    assert schema["required"] == ["target"]
    assert schema["additionalProperties"] is False
    body = {name: member["default"] for name, member in schema["properties"].items() if "default" in member}
    answer = bare_station.client.post("/api/v1/links", json=body | {"target": "https://example.com/"})
    assert answer.status_code == 201, answer.text
    assert set(answer.json()) <= document["components"]["schemas"]["ChangedLink"]["properties"].keys()
    assert fetch(bare_station.database_url, "SELECT count(*) FROM links") == [(1,)]


def test_dry_run_is_documented(document: dict[str, Any]) -> None:
    """What starts a move answers 202 with the move, or 200 with a plan."""
    for method, path in (
        ("post", "/api/v1/shards"),
        ("delete", "/api/v1/shards/{id}"),
        ("patch", "/api/v1/shards/{id}"),
    ):
        operation = document["paths"][path][method]
        schemas = [operation["responses"][status]["content"]["application/json"]["schema"] for status in ("200", "202")]
        assert [schema["$ref"].rpartition("/")[2] for schema in schemas] == ["DryRun", "MoveView"]
        assert {"dry_run"} == {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}


def test_documented_problems_are_in_the_list(document: dict[str, Any]) -> None:
    """Under the status that they are answered with."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert {PROBLEMS[code].status for code in response["description"].split(", ")} == {int(status)}


def test_page_holds_the_document_and_loads_nothing(bare_station: Station) -> None:
    """One file: no script, style or font from elsewhere."""
    page = bare_station.client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/api/v1/links/{code}" in page.text
    assert "{{" not in page.text
    assert not re.search(r"(src|href)=\"https?:|@import|url\(", page.text)
    assert all(f'"{code}"' in page.text for code in PROBLEMS)
