"""What is shown of shards and edges, by the API and by commands; and that one which does not answer holds up nobody."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from control.db import Database
from control.errors import Error
from control.shards import registry
from control.shards import service as shard_service
from control.shards.addresses import check, redacted
from control.shards.edges import EDGES_MAX, Edges
from control.shards.registry import Registry
from tests.control.commands import run_command
from tests.control.conftest import StationFactory
from tests.control.heartbeats import beat
from tests.control.station import Station, eventually, fetch, with_database
from tests.edge.stand import running_edge
from tests.stack.server import RedisServer
from wire import keys
from wire.heartbeat import Heartbeat
from wire.topology import Shard

NULL_WHEN_AWAY = ("epoch", "run_id", "links", "memory_bytes", "latency_ms", "sequence", "click_frames")
EDGE = {
    "started_ms": 1_700_000_000_000,
    "requests": 200,
    "hits": 150,
    "samples": 7,
    "sample_differences": 2,
    "fallbacks": 1,
    "links": 40,
    "memory_bytes": 5_000_000,
    "lag_us": 30,
    "lookup_us": 400,
}


def _shards(station: Station) -> list[dict[str, Any]]:
    answer = station.client.get("/api/v1/shards")
    assert answer.status_code == 200, answer.text
    assert answer.json()["next_cursor"] is None
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def _edges(station: Station) -> dict[str, Any]:
    answer = station.client.get("/api/v1/edges")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def test_shards_say_what_they_hold(station: Station, shards: list[RedisServer]) -> None:
    """Every member of the rows, beside what the servers say themselves."""
    for number in range(10):
        station.create(f"https://a.example/{number}")
    items = _shards(station)
    assert [item["id"] for item in items] == ["shard-0", "shard-1"]
    assert sum(item["share"] for item in items) == pytest.approx(1.0)
    assert sum(item["links"] for item in items) >= 10
    for item, server in zip(items, shards, strict=True):
        with redis.Redis.from_url(server.url) as client:
            info: Any = client.info()
            sequence: Any = client.get(keys.SEQUENCE)
        assert (item["url"], item["replicas"], item["place"]) == (server.url, [], item["id"])
        assert (item["weight"], item["second_weight"], item["second_share"]) == (1.0, 0.0, 0.0)
        assert (item["state"], item["reason"], item["epoch"]) == ("complete", None, 1)
        assert item["run_id"] == info["run_id"]
        assert item["links"] == info["db0"]["keys"]
        assert item["sequence"] <= int(sequence)
        assert item["memory_bytes"] > 100_000
        assert 0 < item["latency_ms"] < 800
        assert (item["lag"], item["edges"], item["click_frames"]) == (0, 0, 0)


def test_shard_that_stands_still_holds_up_nobody(station: Station, shards: list[RedisServer]) -> None:
    """Its row says so, with nulls, within about a second; what waits for it is counted."""
    shards[0].pause()
    try:
        began_s = time.monotonic()
        away, present = _shards(station)
        assert time.monotonic() - began_s < registry.LOOK_TIMEOUT_S + 0.7
        assert (away["state"], present["state"]) == ("unreachable", "complete")
        assert "does not answer within" in away["reason"]
        assert {name: away[name] for name in NULL_WHEN_AWAY} == dict.fromkeys(NULL_WHEN_AWAY)
        for number in range(20):
            station.client.post("/api/v1/links", json={"target": f"https://a.example/{number}"})
        eventually(lambda: _shards(station)[0]["lag"] > 0, "changes wait for the shard")
        assert _edges(station)["items"] == []
    finally:
        shards[0].resume()
    eventually(lambda: _shards(station)[0]["state"] == "complete" and _shards(station)[0]["lag"] == 0, "it is back")


def test_shard_that_is_gone_says_why(station: Station, shards: list[RedisServer]) -> None:
    """Refused at once; one that comes back empty is filled before it is complete again."""
    shards[1].kill()
    present, gone = _shards(station)
    assert (present["state"], gone["state"]) == ("complete", "unreachable")
    assert "cannot be reached" in gone["reason"]
    eventually(lambda: _shards(station)[1]["edges"] is None, "nothing is known of its edges")
    shards[1].start()
    states: list[str] = []

    def is_filled() -> bool:
        states.append(_shards(station)[1]["state"])
        return states[-1] == "complete"

    eventually(is_filled, "it is filled")
    assert set(states) <= {"unreachable", "unadopted", "filling", "complete"}


def test_process_that_nobody_has_adopted_is_called_so(database_url: str, shards: list[RedisServer]) -> None:
    """A fence of another process, an unreadable one, or none, is no word about this one. No control process runs."""
    run_command(database_url, "migrate")
    with_database(database_url, lambda database: shard_service.set_topology(database, _passwords(shards, "")))
    for data in (None, b"\x01{}", b"nonsense"):
        with redis.Redis.from_url(shards[0].url) as client:
            client.flushall()
            if data is not None:
                client.set(keys.FENCE, data)
        views = with_database(database_url, lambda database: Registry(database, Edges()).shards())
        assert [view.state for view in views] == ["unadopted", "unadopted"]
        assert views[0].epoch is None


def test_shard_that_a_move_brings_in_is_joining(station: Station) -> None:
    """Whatever its fence says."""
    fetch(station.database_url, "UPDATE shards SET is_joining = true WHERE id = 'shard-1'")
    assert [item["state"] for item in _shards(station)] == ["complete", "joining"]


def test_without_a_topology_there_is_nothing(bare_station: Station) -> None:
    """No error: an installation begins like this."""
    assert _shards(bare_station) == []
    assert _edges(bare_station) == {"items": [], "unread": [], "unheard_shards": [], "next_cursor": None}


def test_passwords_are_not_shown(database_url: str, shards: list[RedisServer]) -> None:
    """Neither by the registry nor by commands; the servers are asked with them."""
    run_command(database_url, "migrate")
    for server in shards:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "s3cret")
    with_database(database_url, lambda database: shard_service.set_topology(database, _passwords(shards, ":s3cret@")))
    views = with_database(database_url, lambda database: Registry(database, Edges()).shards())
    assert [view.run_id is not None for view in views] == [True, True]
    assert views[0].url.startswith("redis://:***@127.0.0.1")
    for arguments in (("topology", "show"), ("shard", "list")):
        shown = run_command(database_url, *arguments)
        assert shown.returncode == 0
        assert "***" in shown.stdout
        assert "s3cret" not in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://10.0.0.1", "redis://10.0.0.1"),
        ("redis://10.0.0.1:6380/2", "redis://10.0.0.1:6380/2"),
        ("redis://[2001:db8::7]:6380", "redis://[2001:db8::7]:6380"),
        ("redis://:pw@10.0.0.1", "redis://:***@10.0.0.1"),
        ("rediss://user:p@w:d@10.0.0.1:6380", "rediss://user:***@10.0.0.1:6380"),
        ("redis://user@10.0.0.1", "redis://user@10.0.0.1"),
        ("redis://:p/w@10.0.0.1", "redis://:***@10.0.0.1"),
        ("unix://user:pw@/run/redis.sock?db=1", "unix://user:***@/run/redis.sock?db=1"),
        ("redis://10.0.0.1?password=pw&db=1", "redis://10.0.0.1?password=***&db=1"),
        ("redis://10.0.0.1?password=p@w", "redis://10.0.0.1?password=***"),
        ("redis-x2://:pw@10.0.0.1", "redis-x2://:***@10.0.0.1"),
        (" redis://:pw@10.0.0.1", " redis://:***@10.0.0.1"),
        ("//:pw@10.0.0.1", "//:***@10.0.0.1"),
        ("user:pw@10.0.0.1", "user:***@10.0.0.1"),
    ],
)
def test_password_is_taken_out_of_a_url(url: str, shown: str) -> None:
    """Wherever it may stand."""
    assert redacted(url) == shown


@pytest.mark.parametrize("url", ["redis://u:s3cret/x@10.0.0.1", "redis://:s3cret#x@h", "redis://:x@h:s3cret", "s3cret"])
def test_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    """Where a password has a "/", what stands before it passes for a port, and would be quoted."""
    with pytest.raises(Error) as caught:
        check(url)
    error = caught.value
    assert (error.code, error.__cause__) == ("topology_invalid", None)
    assert "port" not in error.message.lower()
    assert url in ("redis://:x@h:s3cret", "s3cret") or "s3cret" not in error.message


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@10.0.0.1?db=7",  # an edge would read database 0
        "redis://10.0.0.1?password=s3cret",
        "redis://10.0.0.1?passw%6frd=s3cret",
        "redis://10.0.0.1?decode_responses=true",
        "rediss://10.0.0.1?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "redis://:s3cret@10.0.0.1/abc",
        "redis://:s3cret@10.0.0.1/1/2",
        "redis://:s3cret@10.0.0.1/-1",
        "redis:///0",
        "redis://",
        " redis://:s3cret@10.0.0.1",
        "redis://:s3cret@10.0.0.1\n",
        "redis://:s3cret@10.0.0.1\x00",
        "redis-x://:s3cret@10.0.0.1",
        "user:s3cret@10.0.0.1",
    ],
)
def test_url_that_edges_would_take_for_another_is_refused(url: str) -> None:
    """Control and edges have to mean the same database; the reason does not have the password."""
    with pytest.raises(Error) as caught:
        check(url, "/url")
    assert (caught.value.code, caught.value.pointer) == ("topology_invalid", "/url")
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.0.0.1",
        "redis://10.0.0.1/",
        "redis://localhost:6380/12",
        "rediss://user:p%40ss@[2001:db8::7]:6380/0",
        "unix:///run/redis.sock",
    ],
)
def test_url_of_a_shard_is_taken(url: str) -> None:
    """With a port, a database, credentials; a socket of this machine."""
    check(url)


def test_edges_say_what_they_do(station: Station, shards: list[RedisServer]) -> None:
    """Every member; lag is what the shard is ahead, per shard; one that is behind the topology is not current."""
    beat(shards, "web-1.0", sequence=10**9, **EDGE)
    beat(shards[:1], "web-2.0", epoch=0)
    page = eventually(lambda: len((found := _edges(station))["items"]) == 2 and found, "both are heard")
    first, second = page["items"]
    assert page["unheard_shards"] == []
    assert {name: first[name] for name in EDGE if name in first} == {
        name: value for name, value in EDGE.items() if name in first
    }
    assert (first["id"], first["build"], first["epoch"], first["is_current"]) == ("web-1.0", "test", 1, True)
    assert (first["hit_ratio"], first["started_at"]) == (0.75, "2023-11-14T22:13:20Z")
    assert [(shard["id"], shard["lag"], shard["lookup_us"]) for shard in first["shards"]] == [
        ("shard-0", 0, 400),
        ("shard-1", 0, 400),
    ]
    assert (second["id"], second["epoch"], second["is_current"], second["hit_ratio"]) == ("web-2.0", 0, False, None)
    assert second["started_at"] is None
    station.create("https://a.example/")
    (place,) = eventually(lambda: _edges(station)["items"][1]["shards"], "its shards")
    assert (place["id"], place["epoch"], place["sequence"]) == ("shard-0", 0, 0)
    assert place["lag"] == _shards(station)[0]["sequence"] > 0
    assert [item["edges"] for item in _shards(station)] == [2, 1]


def test_requests_a_second_are_of_the_last_two_heartbeats(station: Station, shards: list[RedisServer]) -> None:
    """Null at first; then by the time that control has measured, whatever was counted before."""
    beat(shards, "web-1.0", requests=1_000_000)
    (first,) = eventually(lambda: _edges(station)["items"], "it is heard")
    assert first["requests_s"] is None
    began_s = time.monotonic()
    eventually(lambda: time.monotonic() - began_s > 1.0, "a second has passed")
    beat(shards, "web-1.0", requests=1_000_300)
    (second,) = eventually(lambda: (found := _edges(station)["items"])[0]["requests_s"] and found, "it is heard again")
    assert 50 < second["requests_s"] < 300


@pytest.mark.parametrize("started_ms", [2**63, 10**17, -(10**17), -1])
def test_worker_with_an_odd_clock_is_shown(station: Station, shards: list[RedisServer], started_ms: int) -> None:
    """A year that no calendar has is none; the other workers are listed as ever."""
    beat(shards, "web-1.0", started_ms=started_ms)
    beat(shards, "web-2.0", **EDGE)
    first, second = eventually(
        lambda: len((found := _edges(station))["items"]) == 2 and found["items"], "both are heard"
    )
    assert first["started_at"] is None
    assert second["started_at"] == "2023-11-14T22:13:20Z"


def test_many_workers_are_listed_while_others_work(migrated_url: str) -> None:
    """What runs on the same loop has its turn again and again: shards give a projector a second."""
    edges = Edges()
    for shard_id in ("a", "b", "c", "d"):
        for number in range(EDGES_MAX):
            edges.of(shard_id).take(str(number), Heartbeat(edge_id=str(number), build="test", epoch=1, sequence=1))

    async def run(database: Database) -> float:
        longest_s, listing = 0.0, asyncio.create_task(Registry(database, edges).workers())
        while not listing.done():
            began_s = time.monotonic()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.monotonic() - began_s)
        assert len(listing.result().items) == EDGES_MAX
        return longest_s

    assert with_database(migrated_url, run) < 0.4


def test_edge_of_another_build_is_named(station: Station, shards: list[RedisServer]) -> None:
    """It lives, and nothing else can be said of it."""
    with redis.Redis.from_url(shards[0].url) as client:
        client.set(keys.edge_key("newer-1.0"), b"\xff{}", px=60_000)
    page = eventually(lambda: (found := _edges(station))["unread"] and found, "it is heard")
    assert (page["items"], page["unread"]) == ([], ["newer-1.0"])
    assert "newer-1.0 live too" in run_command(station.database_url, "edges").stderr


def test_workers_of_an_edge_are_listed(station: Station, shards: list[RedisServer], tmp_path: Path) -> None:
    """A real edge: each worker reports to each shard, follows what is written, and says what it was asked."""
    code = station.create("https://a.example/")["code"]
    with running_edge(tmp_path / "edge", [server.url for server in shards], workers=2) as edge:
        for _ in range(20):
            assert edge.get(f"/{code}", host="go.example").status == 302

        def followed() -> Any:
            items = _edges(station)["items"]
            places = [place for item in items for place in item["shards"]]
            is_there = len(places) == 4 and all(place["lag"] == 0 for place in places)
            # The cache is counted once a second, requests at each heartbeat.
            has_counted = sum(item["requests"] for item in items) >= 20 and sum(item["links"] for item in items) >= 1
            return items if is_there and has_counted else None

        items = eventually(followed, "both workers have followed both shards and counted what they did")
    assert [item["id"] for item in items] == ["test.0", "test.1"]
    assert all(item["is_current"] and item["build"] and item["memory_bytes"] > 1_000_000 for item in items)
    assert all(item["started_at"] <= item["seen_at"] for item in items)
    assert sum(item["hits"] for item in items) >= 18
    assert all([place["id"] for place in item["shards"]] == ["shard-0", "shard-1"] for item in items)


def test_shards_that_nobody_has_heard_are_named(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer]
) -> None:
    """A worker that only such a shard knows may be missing."""
    station = station_factory(database_url, shards)
    station.wait_trusted()
    shards[1].kill()
    assert eventually(lambda: _edges(station)["unheard_shards"], "its edges are not known") == ["shard-1"]


def test_lists_by_command(station: Station, shards: list[RedisServer]) -> None:
    """A row for each; what is away is said on stderr, and the rest is shown."""
    beat(shards, "web-1.0", sequence=10**9, **EDGE)
    beat(shards, "web-2.0", epoch=0)
    shown = run_command(station.database_url, "shard", "list")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"shard-0 +│ complete", shown.stdout)
    edges = run_command(station.database_url, "edges")
    assert (edges.returncode, edges.stderr) == (0, "")
    assert "75.00%" in edges.stdout
    assert "2 of 7, 1 only at the old owner" in edges.stdout
    assert "0 (old)" in edges.stdout
    shards[1].kill()
    shown = run_command(station.database_url, "shard", "list")
    assert re.search(r"shard-1 +│ unreachable", shown.stdout)
    assert "cannot be reached" in shown.stderr
    assert "shard-1 know may be missing" in shown.stderr
    assert "shard-1 know may be missing" in run_command(station.database_url, "edges").stderr


def test_lists_without_a_topology_say_what_to_do(migrated_url: str) -> None:
    """The first command of an installation is another one."""
    for arguments in (("shard", "list"), ("edges",), ("shard", "remove", "shard-0")):
        result = run_command(migrated_url, *arguments)
        assert (result.returncode, result.stdout) == (1, "")
        assert "run `pointsman topology set" in result.stderr


def _passwords(servers: list[RedisServer], credentials: str) -> list[Shard]:
    return [
        Shard(id=f"shard-{index}", url=server.url.replace("redis://", f"redis://{credentials}"))
        for index, server in enumerate(servers)
    ]
