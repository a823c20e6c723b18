"""Bad input: each kind has its own problem code, and changes nothing (I7)."""

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control.errors import Error
from control.http import PROBLEMS, decode_body
from control.links.model import LinkPatch, NewLink
from tests.control.station import Station, fetch

DOCS = Path(__file__).parents[2] / "docs" / "problems.md"
JSON = {"Content-Type": "application/json"}
GOOD = "https://example.com/"


def _post(station: Station, body: bytes | str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = station.client.post("/api/v1/links", content=body, headers=headers or JSON)
    problem: dict[str, Any] = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json", problem
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"] == f"/docs#{problem['code']}"
    return problem


CREATE_CASES: list[tuple[str | bytes, str, str | None]] = [
    ("", "body_malformed", None),
    ("{", "body_malformed", None),
    ('{"target": "https://example.com/",}', "body_malformed", None),
    (b'{"target": "https://example.com/\xff"}', "body_malformed", None),
    (b'\xff\xfe{"target"', "body_malformed", None),
    ("[" * 60_000, "field_type", ""),
    ("[]", "field_type", ""),
    ("null", "field_type", ""),
    ('"https://example.com/"', "field_type", ""),
    ("{}", "field_missing", "/target"),
    ('{"target": null}', "field_type", "/target"),
    ('{"target": 5}', "field_type", "/target"),
    ('{"target": ["https://example.com/"]}', "field_type", "/target"),
    ('{"target": "https://example.com/", "code": 5}', "field_type", "/code"),
    ('{"target": "https://example.com/", "status": "302"}', "field_type", "/status"),
    ('{"target": "https://example.com/", "status": true}', "field_type", "/status"),
    ('{"target": "https://example.com/", "status": 302.5}', "field_type", "/status"),
    ('{"target": "https://example.com/", "status": 303}', "field_value", "/status"),
    ('{"target": "https://example.com/", "is_enabled": 1}', "field_type", "/is_enabled"),
    ('{"target": "https://example.com/", "is_enabled": "true"}', "field_type", "/is_enabled"),
    ('{"target": "https://example.com/", "not_before": 5}', "field_type", "/not_before"),
    ('{"target": "https://example.com/", "not_before": "soon"}', "field_value", "/not_before"),
    ('{"target": "https://example.com/", "not_before": "2026-01-01T00:00:00"}', "field_value", "/not_before"),
    ('{"target": "https://example.com/", "not_before": "1969-12-31T23:59:59Z"}', "window_invalid", "/not_before"),
    (
        '{"target": "https://example.com/", "not_before": "2030-01-01T00:00:00Z", "not_after": "2029-01-01T00:00:00Z"}',
        "window_invalid",
        "/not_after",
    ),
    ('{"target": "https://example.com/", "cache_max_age_s": "60"}', "field_type", "/cache_max_age_s"),
    ('{"target": "https://example.com/", "cache_max_age_s": 1.5}', "field_type", "/cache_max_age_s"),
    ('{"target": "https://example.com/", "cache_max_age_s": true}', "field_type", "/cache_max_age_s"),
    ('{"target": "https://example.com/", "cache_max_age_s": -1}', "cache_max_age_invalid", "/cache_max_age_s"),
    ('{"target": "https://example.com/", "cache_max_age_s": 31536001}', "cache_max_age_invalid", "/cache_max_age_s"),
    ('{"target": "https://example.com/", "tragte": 1}', "field_unknown", "/tragte"),
    ('{"target": "https://example.com/", "a/b~c": 1}', "field_unknown", "/a~1b~0c"),
    ('{"target": "https://example.com/", "version": 1}', "field_unknown", "/version"),
    ('{"target": "javascript:alert(1)"}', "target_scheme", "/target"),
    ('{"target": "https://user:pw@example.com/"}', "target_credentials", "/target"),
    ('{"target": "https://example.com/a b"}', "target_characters", "/target"),
    ('{"target": "https://example.com/\\u0000"}', "target_characters", "/target"),
    ('{"target": "no url"}', "target_characters", "/target"),
    ('{"target": "no-url"}', "target_invalid", "/target"),
    (json.dumps({"target": GOOD + "a" * 10_240}), "target_too_long", "/target"),
    ('{"target": "http://go.example/other"}', "target_loop", "/target"),
    ('{"target": "https://GO.example./other"}', "target_loop", "/target"),
    ('{"target": "https://go.example:80/"}', "target_loop", "/target"),
    ('{"target": "https://example.com/", "code": ""}', "code_invalid", "/code"),
    ('{"target": "https://example.com/", "code": "a b"}', "code_invalid", "/code"),
    ('{"target": "https://example.com/", "code": "a/b"}', "code_invalid", "/code"),
    ('{"target": "https://example.com/", "code": "é"}', "code_invalid", "/code"),
    ('{"target": "https://example.com/", "code": "robots.txt"}', "code_invalid", "/code"),
    (json.dumps({"target": GOOD, "code": "a" * 65}), "code_invalid", "/code"),
    ('{"target": "https://example.com/", "code": "metrics"}', "code_reserved", "/code"),
    ('{"target": "https://example.com/", "code": "taken"}', "code_taken", "/code"),
    ('{"target": "https://example.com/", "domain": "other.example"}', "domain_not_found", None),
    ('{"target": "https://example.com/", "domain": "\\u0000"}', "domain_not_found", None),
    (json.dumps({"target": GOOD, "code": " " * 65_536}), "body_too_large", None),
]


def test_bad_body_gets_its_code_and_leaves_no_row(bare_station: Station) -> None:
    """Every way to send a wrong body to POST: the code, where it is wrong, and nothing stored."""
    bare_station.client.post("/api/v1/links", json={"target": GOOD, "code": "taken"})
    before = fetch(bare_station.database_url, "SELECT count(*) FROM links")
    queued = fetch(bare_station.database_url, "SELECT count(*) FROM outbox")
    for body, code, pointer in CREATE_CASES:
        problem = _post(bare_station, body)
        assert code == problem["code"], (body[:80], problem)
        assert pointer == problem.get("errors", [{"pointer": None}])[0]["pointer"], (body[:80], problem)
    assert before == fetch(bare_station.database_url, "SELECT count(*) FROM links") == [(1,)]
    assert queued == fetch(bare_station.database_url, "SELECT count(*) FROM outbox") == [(1,)]


def test_body_that_is_not_declared_as_json_is_refused(bare_station: Station) -> None:
    """A form sent by a browser of somebody else's page is no request to us."""
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"):
        problem = _post(bare_station, '{"target": "https://example.com/"}', {"Content-Type": content_type})
        assert problem["code"] == "content_type"
    assert fetch(bare_station.database_url, "SELECT count(*) FROM links") == [(0,)]


KEY_CASES = [
    ({}, "key_missing"),
    ({"Authorization": ""}, "key_missing"),
    ({"Authorization": "Bearer pm_wrong"}, "key_invalid"),
    ({"Authorization": "Basic cG06cG0="}, "key_invalid"),
    ({"Authorization": "Bearer " + "x" * 5000}, "key_invalid"),
    ({"Authorization": "Bearer pm_é"}, "key_invalid"),
]


def test_missing_and_bad_keys_have_different_codes(bare_station: Station) -> None:
    """401 tells whether to send a key or to send another one."""
    bare_station.client.headers.pop("Authorization")
    for headers, code in KEY_CASES:
        encoded = {name.encode(): value.encode() for name, value in headers.items()}
        for method, path in (("POST", "/api/v1/links"), ("GET", "/api/v1/links"), ("DELETE", "/api/v1/links/a")):
            answer = bare_station.client.request(method, path, headers=encoded)
            assert (answer.status_code, answer.json()["code"]) == (401, code), headers
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert fetch(bare_station.database_url, "SELECT count(*) FROM links") == [(0,)]


GET_CASES = [
    ("/api/v1/links?limit=0", "query_invalid"),
    ("/api/v1/links?limit=501", "query_invalid"),
    ("/api/v1/links?limit=x", "query_invalid"),
    ("/api/v1/links?limit=1&limit=2", "query_invalid"),
    ("/api/v1/links?cursor=%00", "query_invalid"),
    ("/api/v1/links?cursor=zzz", "query_invalid"),
    ("/api/v1/links?cursor=LTE", "query_invalid"),
    ("/api/v1/links?colour=red", "query_invalid"),
    ("/api/v1/links/none", "link_not_found"),
    ("/api/v1/links/a%00b", "link_not_found"),
    ("/api/v1/links/%C3%A9", "link_not_found"),
    ("/api/v1/links/a%2Fb", "link_not_found"),
    ("/api/v1/links/none?domain=other.example", "domain_not_found"),
    ("/api/v1/links/none?domain=%00", "domain_not_found"),
    ("/api/v1/links/none?domian=x", "query_invalid"),
    ("/api/v2/links", "route_not_found"),
    ("/", "route_not_found"),
]


def test_bad_get_gets_its_code(bare_station: Station) -> None:
    """Wrong queries and paths that do not exist."""
    for path, code in GET_CASES:
        answer = bare_station.client.get(path)
        assert (answer.json()["code"], answer.status_code) == (code, PROBLEMS[code].status), path


def test_wrong_method_is_told_the_right_ones(bare_station: Station) -> None:
    """405 with Allow."""
    answer = bare_station.client.put("/api/v1/links/abc", json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, PATCH, DELETE"


PATCH_CASES: list[tuple[str, dict[str, str], str]] = [
    ("{}", {}, "patch_empty"),
    ('{"version": 1}', {}, "patch_empty"),
    ('{"target": null}', {}, "field_type"),
    ('{"status": null}', {}, "field_type"),
    ('{"code": "other"}', {}, "field_unknown"),
    ('{"target": "ftp://example.com/"}', {}, "target_scheme"),
    ('{"target": "http://go.example/abc"}', {}, "target_loop"),
    ('{"status": 303}', {}, "field_value"),
    ('{"status": 301, "version": 0}', {}, "field_value"),
    ('{"status": 301, "version": "1"}', {}, "field_type"),
    ('{"status": 301, "version": 7}', {}, "version_conflict"),
    ('{"status": 301}', {"If-Match": '"7"'}, "precondition_failed"),
    ('{"status": 301}', {"If-Match": "7"}, "if_match_invalid"),
    ('{"status": 301}', {"If-Match": 'W/"1"'}, "if_match_invalid"),
    ('{"not_after": "2020-01-01T00:00:00Z"}', {}, "window_invalid"),
    ('{"cache_max_age_s": "60"}', {}, "field_type"),
    ('{"cache_max_age_s": -1}', {}, "cache_max_age_invalid"),
    ('{"cache_max_age_s": 60, "version": 7}', {}, "version_conflict"),
]


def test_bad_patch_gets_its_code_and_changes_nothing(bare_station: Station) -> None:
    """Every way to send a wrong PATCH."""
    body = {"target": GOOD, "code": "abc", "not_before": "2025-01-01T00:00:00Z"}
    link = bare_station.client.post("/api/v1/links", json=body).json()
    for text, headers, code in PATCH_CASES:
        answer = bare_station.client.patch("/api/v1/links/abc", content=text, headers=JSON | headers)
        assert (answer.json()["code"], answer.status_code) == (code, PROBLEMS[code].status), text
    assert bare_station.client.get("/api/v1/links/abc").json() == link
    assert fetch(bare_station.database_url, "SELECT count(*) FROM outbox") == [(1,)]


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_body_breaks_the_decoder(data: bytes) -> None:
    """Whatever the bytes, decoding gives a link or a problem that is in the list."""
    assert {_code_of(data, kind) for kind in (NewLink, LinkPatch)} <= PROBLEMS.keys() | {"none"}


def _code_of(data: bytes, kind: type[NewLink | LinkPatch]) -> str:
    try:
        decode_body(data, kind)
    except Error as error:
        return error.code
    return "none"


def test_every_problem_is_documented() -> None:
    """docs/problems.md has a heading for each code, and none for another."""
    headings = re.findall(r"^### `(\w+)`", DOCS.read_text(), re.MULTILINE)
    assert sorted(PROBLEMS) == sorted(headings)
