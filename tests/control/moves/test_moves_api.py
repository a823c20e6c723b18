"""The routes of moves: what they take, give and refuse. A refused request has changed nothing (I7)."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
import redis

from control.shards import service as shard_service
from tests.control.commands import run_command
from tests.control.conftest import StationFactory
from tests.control.heartbeats import beat
from tests.control.station import Station, eventually, fetch, shard_list, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire.topology import Shard

ROUTES: Final = [
    ("POST", "/api/v1/shards"),
    ("DELETE", "/api/v1/shards/shard-0"),
    ("PATCH", "/api/v1/shards/shard-0"),
    ("POST", "/api/v1/shards/shard-0/replace"),
    ("GET", "/api/v1/shards"),
    ("GET", "/api/v1/edges"),
    ("GET", "/api/v1/moves"),
    ("GET", "/api/v1/moves/1"),
    ("POST", "/api/v1/moves/1/pause"),
    ("POST", "/api/v1/moves/1/resume"),
    ("POST", "/api/v1/moves/1/abort"),
    ("POST", "/api/v1/moves/1/reverse"),
    ("POST", "/api/v1/moves/1/lost"),
]
NOWHERE: Final = "redis://127.0.0.1:1"


@pytest.fixture
def target(redis_factory: RedisFactory) -> RedisServer:
    """The server that is brought in."""
    return redis_factory()


@pytest.fixture
def held_station(station: Station, shards: list[RedisServer]) -> Station:
    """A control plane whose moves stay at their beginning: an edge does not take the topology in force."""
    beat(shards, "old-1.0", epoch=0)
    eventually(lambda: station.client.get("/api/v1/edges").json()["items"], "the edge is heard")
    return station


def _problem(answer: httpx.Response) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json", problem
    assert problem["status"] == answer.status_code
    assert problem["detail"]
    return problem


@contextmanager
def _nothing_changes(station: Station) -> Iterator[None]:
    before = [
        fetch(station.database_url, f"SELECT count(*) FROM {table}") for table in ("moves", "topologies", "shards")
    ]
    yield
    after = [
        fetch(station.database_url, f"SELECT count(*) FROM {table}") for table in ("moves", "topologies", "shards")
    ]
    assert before == after


def _add(station: Station, target: RedisServer) -> dict[str, Any]:
    answer = station.client.post("/api/v1/shards", json={"id": "shard-2", "url": target.url})
    assert answer.status_code == 202, answer.text
    move: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/api/v1/moves/{move['id']}"
    return move


def _until(station: Station, move_id: int, phase: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        found: dict[str, Any] = station.client.get(f"/api/v1/moves/{move_id}").json()
        return found if found["phase"] == phase else None

    move: dict[str, Any] = eventually(reached, f"move {move_id} is {phase}")
    return move


def test_every_route_needs_a_key(bare_station: Station) -> None:
    """Before anything else is looked at."""
    for method, path in ROUTES:
        for headers, code in (({}, "key_missing"), ({"Authorization": "Bearer pm_wrong"}, "key_invalid")):
            answer = httpx.request(method, bare_station.url + path, headers=headers, timeout=5)
            assert (answer.status_code, _problem(answer)["code"]) == (401, code), (method, path)


def test_dry_run_says_what_would_move(station: Station, target: RedisServer) -> None:
    """All four that start a move, with the numbers of the plan; the server that is looked at keeps what it has."""
    for number in range(30):
        station.create(f"https://a.example/{number}")
    with redis.Redis.from_url(target.url) as client:
        client.set("l:1:mine", "x")
    asked = {"id": "shard-2", "url": target.url}
    with _nothing_changes(station):
        added = station.client.post("/api/v1/shards?dry_run=true", json=asked)
        removed = station.client.delete("/api/v1/shards/shard-0?dry_run=true")
        drained = station.client.patch("/api/v1/shards/shard-0?dry_run=true", json={"weight": 0})
        lighter = station.client.patch("/api/v1/shards/shard-0?dry_run=true", json={"weight": 0.5})
        replaced = station.client.post("/api/v1/shards/shard-0/replace?dry_run=true", json=asked)
    answers = (added, removed, drained, lighter, replaced)
    assert [answer.status_code for answer in answers] == [200] * 5
    assert not any("Location" in answer.headers for answer in answers)
    plans = [answer.json() for answer in answers]
    assert [plan["kind"] for plan in plans] == ["add", "remove", "drain", "reweight", "replace"]
    add, remove, drain, reweight, replace = plans
    assert [(pair["from"], pair["to"]) for pair in add["pairs"]] == [("shard-0", "shard-2"), ("shard-1", "shard-2")]
    assert sum(pair["share"] for pair in add["pairs"]) == pytest.approx(1 / 3, rel=0.1)
    assert add["links"] == sum(pair["links"] for pair in add["pairs"]) == pytest.approx(10, abs=3)
    assert add["bytes"] > 0
    assert add["seconds"] >= 60  # the soak
    assert any("holds 1 keys" in warning for warning in add["warnings"])
    assert (add["epoch"], [shard["id"] for shard in add["after"]]) == (1, ["shard-0", "shard-1", "shard-2"])
    assert [(pair["from"], pair["to"], pair["arcs"] > 0) for pair in remove["pairs"]] == [("shard-0", "shard-1", True)]
    assert drain["after"][0] | {"weight": 1.0} == drain["before"][0]
    assert sum(pair["share"] for pair in reweight["pairs"]) == pytest.approx(1 / 6, rel=0.1)
    assert [(shard["id"], shard["place"]) for shard in replace["after"]] == [
        ("shard-2", "shard-0"),
        ("shard-1", "shard-1"),
    ]
    with redis.Redis.from_url(target.url) as client:
        assert client.dbsize() == 1


def test_dry_run_false_starts(held_station: Station, target: RedisServer) -> None:
    """It is what holds without the parameter."""
    answer = held_station.client.post("/api/v1/shards?dry_run=false", json={"id": "shard-2", "url": target.url})
    assert answer.status_code == 202


BAD_BODIES: Final[list[tuple[str, str, str | bytes, str, str | None]]] = [
    ("POST", "", "", "body_malformed", None),
    ("POST", "", "[]", "field_type", ""),
    ("POST", "", "{}", "field_missing", "/id"),
    ("POST", "", '{"id": "shard-2"}', "field_missing", "/url"),
    ("POST", "", '{"id": 2, "url": "redis://127.0.0.1:1"}', "field_type", "/id"),
    ("POST", "", '{"id": "", "url": "redis://127.0.0.1:1"}', "field_value", "/id"),
    ("POST", "", '{"id": "Shard", "url": "redis://127.0.0.1:1"}', "field_value", "/id"),
    ("POST", "", '{"id": "a/b", "url": "redis://127.0.0.1:1"}', "field_value", "/id"),
    ("POST", "", json.dumps({"id": "a" * 64, "url": NOWHERE}), "field_value", "/id"),
    ("POST", "", '{"id": "shard-2", "url": 5}', "field_type", "/url"),
    ("POST", "", '{"id": "shard-2", "url": ""}', "field_value", "/url"),
    ("POST", "", json.dumps({"id": "shard-2", "url": "redis://" + "a" * 1024}), "field_value", "/url"),
    ("POST", "", '{"id": "shard-2", "url": "http://127.0.0.1"}', "topology_invalid", "/url"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:no"}', "topology_invalid", "/url"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1?what=1"}', "topology_invalid", "/url"),
    ("POST", "", json.dumps({"id": "shard-2", "url": NOWHERE}), "shard_unreachable", "/url"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "weight": "1"}', "field_type", "/weight"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "weight": true}', "field_type", "/weight"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "weight": -1}', "field_value", "/weight"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "weight": 1000.5}', "field_value", "/weight"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "weight": 0}', "topology_invalid", "/weight"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "weight": 0.001}', "topology_invalid", None),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "replicas": "redis://a"}', "field_type", "/replicas"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "replicas": [5]}', "field_type", "/replicas/0"),
    ("POST", "", json.dumps({"id": "shard-2", "url": NOWHERE, "replicas": [NOWHERE] * 9}), "field_value", "/replicas"),
    ("POST", "", json.dumps({"id": "a2", "url": NOWHERE, "replicas": ["http://a"]}), "topology_invalid", "/replicas"),
    ("POST", "", json.dumps({"id": "a2", "url": NOWHERE, "replicas": [NOWHERE]}), "topology_invalid", "/replicas"),
    ("POST", "", '{"id": "shard-2", "url": "redis://127.0.0.1:1", "place": "x"}', "field_unknown", "/place"),
    ("POST", "", json.dumps({"id": "shard-2", "url": NOWHERE, "weight": " " * 65_536}), "body_too_large", None),
    ("POST", "", '{"id": "shard-1", "url": "redis://127.0.0.1:1"}', "shard_exists", "/id"),
    ("POST", "", '{"id": "shard-2", "url": "{0}"}', "shard_exists", "/url"),
    ("POST", "", json.dumps({"id": "a2", "url": NOWHERE, "replicas": ["{0}"]}), "shard_exists", "/replicas"),
    ("PATCH", "/shard-0", "{}", "field_missing", "/weight"),
    ("PATCH", "/shard-0", '{"weight": null}', "field_type", "/weight"),
    ("PATCH", "/shard-0", '{"weight": -0.01}', "field_value", "/weight"),
    ("PATCH", "/shard-0", '{"weight": 0.001}', "topology_invalid", None),
    ("PATCH", "/shard-0", '{"weight": 1, "url": "redis://127.0.0.1:1"}', "field_unknown", "/url"),
    ("PATCH", "/shard-0", '{"weight": 1}', "move_empty", None),
    ("PATCH", "/shard-9", '{"weight": 2}', "shard_unknown", None),
    ("POST", "/shard-0/replace", '{"url": "redis://127.0.0.1:1"}', "field_missing", "/id"),
    ("POST", "/shard-0/replace", '{"id": "shard-2"}', "field_missing", "/url"),
    ("POST", "/shard-0/replace", '{"id": "shard-0", "url": "redis://127.0.0.1:1"}', "shard_exists", "/id"),
    ("POST", "/shard-0/replace", '{"id": "a2", "url": "redis://127.0.0.1:1", "weight": 2}', "field_unknown", "/weight"),
    ("POST", "/shard-9/replace", json.dumps({"id": "a2", "url": NOWHERE}), "shard_unknown", None),
    ("DELETE", "/shard-9", "", "shard_unknown", None),
    ("DELETE", "/%00", "", "shard_unknown", None),
]


def test_bad_request_is_refused_with_its_code(station: Station, shards: list[RedisServer]) -> None:
    """Each member of each body, unknown shards; a dry run refuses the same."""
    with _nothing_changes(station):
        for method, path, body, code, pointer in BAD_BODIES:
            text = body.decode() if isinstance(body, bytes) else body
            for query in ("", "?dry_run=true"):
                answer = station.client.request(
                    method,
                    f"/api/v1/shards{path}{query}",
                    content=text.replace("{0}", shards[0].url),
                    headers={"Content-Type": "application/json"},
                )
                problem = _problem(answer)
                assert problem["code"] == code, (method, path, body[:80], problem)
                assert problem.get("errors", [{"pointer": None}])[0]["pointer"] == pointer, (body[:80], problem)


def test_bad_query_is_refused(station: Station) -> None:
    """Unknown parameters, values that are none; cursors that no list gave."""
    cursors = ["", "x", "1", base64.urlsafe_b64encode(b"0").decode(), base64.urlsafe_b64encode(b"9" * 30).decode()]
    with _nothing_changes(station):
        for path in (
            "/api/v1/moves?limit=0",
            "/api/v1/moves?limit=101",
            "/api/v1/moves?page=1",
            *(f"/api/v1/moves?cursor={cursor}" for cursor in cursors),
            "/api/v1/shards?limit=1",
            "/api/v1/edges?limit=1",
        ):
            assert _problem(station.client.get(path))["code"] == "query_invalid", path
        for value in ("maybe", "", "2"):
            answer = station.client.delete(f"/api/v1/shards/shard-0?dry_run={value}")
            assert _problem(answer)["code"] == "query_invalid"


def test_installation_without_shards_has_nothing_to_move(bare_station: Station) -> None:
    """It is told how to begin."""
    problem = _problem(bare_station.client.delete("/api/v1/shards/shard-0"))
    assert problem["code"] == "topology_missing"
    assert "pointsman topology set" in problem["detail"]
    assert bare_station.client.get("/api/v1/moves").json() == {"items": [], "next_cursor": None}


def test_last_shard_cannot_leave(
    station_factory: StationFactory, database_url: str, redis_factory: RedisFactory
) -> None:
    """Nor be drained: no shard would hold links."""
    station = station_factory(database_url, [redis_factory()])
    with _nothing_changes(station):
        for answer in (
            station.client.delete("/api/v1/shards/shard-0"),
            station.client.patch("/api/v1/shards/shard-0", json={"weight": 0}),
        ):
            assert (answer.status_code, _problem(answer)["code"]) == (409, "ring_empty")


def test_unknown_move_is_said_to_be_unknown(station: Station) -> None:
    """Whatever stands for its number."""
    for name in ("1", "0", "-1", "01", "x", "plan", "9" * 19, "9" * 40, "%00"):
        paths = [("GET", ""), *(("POST", f"/{action}") for action in ("pause", "resume", "abort", "reverse"))]
        for method, rest in paths:
            answer = station.client.request(method, f"/api/v1/moves/{name}{rest}")
            assert (answer.status_code, _problem(answer)["code"]) == (404, "move_unknown"), name
        answer = station.client.post(f"/api/v1/moves/{name}/lost", json={"shard": "shard-0"})
        assert (answer.status_code, _problem(answer)["code"]) == (404, "move_unknown"), name


def test_wrong_method_is_told_the_right_ones(bare_station: Station) -> None:
    """As everywhere."""
    for method, path, allowed in (
        ("PUT", "/api/v1/shards", "POST, GET"),
        ("GET", "/api/v1/shards/shard-0", "DELETE, PATCH"),
        ("GET", "/api/v1/moves/1/pause", "POST"),
        ("DELETE", "/api/v1/moves/1", "GET"),
    ):
        answer = bare_station.client.request(method, path)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == set(allowed.split(", "))


def test_move_is_started_steered_and_remembered(held_station: Station, target: RedisServer) -> None:
    """Start, conflict, wait, pause, resume, abort; then its history, and what an ended move refuses."""
    client = held_station.client
    move = _add(held_station, target)
    path = f"/api/v1/moves/{move['id']}"
    assert (move["kind"], move["shard_id"], move["phase"], move["ended_at"]) == ("add", "shard-2", "planned", None)
    assert move["plan"]["pairs"][0].keys() == {"from", "to", "arcs", "share", "links", "bytes"}
    with _nothing_changes(held_station):
        for answer in (
            client.post("/api/v1/shards", json={"id": "shard-3", "url": NOWHERE}),
            client.delete("/api/v1/shards/shard-0"),
            client.delete("/api/v1/shards/shard-0?dry_run=true"),
            client.patch("/api/v1/shards/shard-0", json={"weight": 2}),
        ):
            assert (answer.status_code, _problem(answer)["code"]) == (409, "move_under_way")
    held = eventually(lambda: (found := client.get(path).json())["waits_for"] and found, "it waits for the old edge")
    assert "edge old-1.0 still answers by epoch 0" in held["waits_for"]
    assert held["waits_since"] is not None
    for _ in range(2):
        assert client.post(f"{path}/pause").json()["is_paused"] is True
    answer = client.post(f"{path}/reverse")
    assert (answer.status_code, _problem(answer)["code"]) == (409, "move_phase")
    assert client.post(f"{path}/resume").json()["is_paused"] is False
    aborted = client.post(f"{path}/abort")
    assert (aborted.status_code, aborted.json()["wanted"]) == (202, "abort")
    ended = _until(held_station, move["id"], "aborted")
    assert ended["ended_at"] is not None
    assert [event["event"] for event in ended["events"]] == ["started", "paused", "resumed", "abort_requested", "abort"]
    assert [event["number"] for event in ended["events"]] == [1, 2, 3, 4, 5]
    assert [shard["id"] for shard in ended["after"]] == ["shard-0", "shard-1", "shard-2"]
    for action in ("pause", "resume", "abort", "reverse"):
        answer = client.post(f"{path}/{action}")
        assert (answer.status_code, _problem(answer)["code"]) == (409, "move_phase")
    assert [item["id"] for item in client.get("/api/v1/shards").json()["items"]] == ["shard-0", "shard-1"]


def test_moves_are_listed_by_pages(held_station: Station, target: RedisServer) -> None:
    """Newest first; a cursor leads on, the last page has none."""
    for _ in range(3):
        move = _add(held_station, target)
        held_station.client.post(f"/api/v1/moves/{move['id']}/abort")
        _until(held_station, move["id"], "aborted")
    client = held_station.client
    whole = client.get("/api/v1/moves").json()
    assert ([item["id"] for item in whole["items"]], whole["next_cursor"]) == ([3, 2, 1], None)
    first = client.get("/api/v1/moves?limit=2").json()
    rest = client.get("/api/v1/moves", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([item["id"] for item in first["items"]], [item["id"] for item in rest["items"]]) == ([3, 2], [1])
    assert rest["next_cursor"] is None
    assert "events" not in whole["items"][0]


def test_shard_is_declared_lost(held_station: Station, shards: list[RedisServer], target: RedisServer) -> None:
    """Only one that does not answer, and that the move is about."""
    client = held_station.client
    path = f"/api/v1/moves/{_add(held_station, target)['id']}/lost"
    for body, code, status in (
        ({}, "field_missing", 422),
        ({"shard": 5}, "field_type", 422),
        ({"shard": "shard-0", "why": ""}, "field_unknown", 422),
        ({"shard": "shard-9"}, "shard_unknown", 404),
        ({"shard": "shard-0"}, "shard_answers", 409),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, _problem(answer)["code"]) == (status, code)
    target.kill()
    assert _problem(client.post(path, json={"shard": "shard-2"}))["code"] == "move_phase"
    shards[0].kill()
    answer = client.post(path, json={"shard": "shard-0"})
    assert (answer.status_code, answer.json()["lost"]) == (202, ["shard-0"])
    assert client.post(path, json={"shard": "shard-0"}).json()["lost"] == ["shard-0"]


def test_passwords_do_not_come_back(station: Station, shards: list[RedisServer], target: RedisServer) -> None:
    """In no plan, move, warning or problem."""
    with redis.Redis.from_url(target.url) as client:
        client.set("l:1:mine", "x")
        client.config_set("requirepass", "s3cret")
        client.config_set("maxmemory-policy", "allkeys-lru")
    url = target.url.replace("redis://", "redis://:s3cret@")
    http = station.client
    planned = http.post("/api/v1/shards?dry_run=true", json={"id": "shard-2", "url": url})
    assert (planned.status_code, len(planned.json()["warnings"])) == (200, 2)
    wrong = http.post("/api/v1/shards", json={"id": "shard-2", "url": url.replace("s3cret", "s3cretive")})
    assert _problem(wrong)["code"] == "shard_unreachable"
    same = http.post("/api/v1/shards", json={"id": "a2", "url": shards[0].url.replace("redis://", "redis://x:s3cret@")})
    assert _problem(same)["code"] == "shard_unreachable"
    beat(shards, "old-1.0", epoch=0)
    eventually(lambda: http.get("/api/v1/edges").json()["items"], "the edge is heard")
    started = http.post("/api/v1/shards", json={"id": "shard-2", "url": url})
    shown = http.get(started.headers["Location"])
    by_command = run_command(station.database_url, "move", "show", str(started.json()["id"]))
    texts = (planned.text, wrong.text, same.text, started.text, shown.text, by_command.stdout)
    assert not any("s3cret" in text for text in texts)
    assert "redis://:***@" in shown.text


def test_plan_does_not_outlive_its_topology(station: Station, shards: list[RedisServer]) -> None:
    """Another URL is a new topology; a move that is started then begins there."""
    moved = [Shard(id=shard.id, url=shard.url.replace("127.0.0.1", "localhost")) for shard in shard_list(shards)]
    assert station.client.delete("/api/v1/shards/shard-0?dry_run=true").json()["epoch"] == 1
    with_database(station.database_url, lambda database: shard_service.set_topology(database, moved))
    assert station.client.delete("/api/v1/shards/shard-0?dry_run=true").json()["epoch"] == 2
