"""A shard whose primary is lost: a replica is promoted, or an empty server takes its place; no change is lost."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis

from control.db import Database
from control.dev import redis as redis_program
from control.dev.ports import free_ports
from control.dev.probe import answers_redis
from control.dev.program import Program
from control.errors import Error
from control.failover import promotion, replacement
from control.failover.promotion import Promotion
from control.failover.replacement import Filling
from control.shards import service
from control.shards import store as shard_store
from tests.control.commands import invoke
from tests.control.conftest import StationFactory
from tests.control.heartbeats import beat
from tests.control.station import Station, eventually, fence_of, fetch, held, held_target, is_trusted, with_database
from tests.edge.stand import running_edge
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import heartbeat, keys
from wire.record import LinkRecord
from wire.topology import Topology

CONFIG = """port {port}
bind 127.0.0.1
dir {directory}
appendonly yes
replicaof 127.0.0.1 {primary}
"""
CODES = [f"c{number}" for number in range(30)]


def follow(replica: RedisServer, primary: RedisServer) -> None:
    """Make it a replica and wait until it has all."""
    with redis.Redis.from_url(replica.url) as client, redis.Redis.from_url(primary.url) as source:
        client.replicaof("127.0.0.1", str(primary.port))
        eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        source.wait(1, 5000)


def declare(station: Station, replica: RedisServer) -> Topology:
    """Name it in the topology as a replica of the first shard."""

    return with_database(station.database_url, lambda base: name_replica(base, replica.url))


def promote(station: Station, url: str = "", is_lost: bool = False) -> Promotion:
    """Promote a replica of the first shard."""
    return with_database(station.database_url, lambda base: promotion.promote(base, "shard-0", url, is_lost))


def refused(station: Station, url: str = "", is_lost: bool = False) -> str:
    """The code with which it is refused; the topology stays as it is."""
    before = with_database(station.database_url, service.get_topology)
    with pytest.raises(Error) as caught:
        promote(station, url, is_lost)
    assert with_database(station.database_url, service.get_topology) == before
    return caught.value.code


@pytest.fixture
def replica(station: Station, shards: list[RedisServer], redis_factory: RedisFactory) -> RedisServer:
    """A replica of the first shard, which the topology names."""
    server = redis_factory()
    declare(station, server)
    follow(server, shards[0])
    return server


@contextmanager
def changing(station: Station) -> Iterator[dict[str, int]]:
    """Changes one link after the other until the end; what was committed last, by code."""
    last: dict[str, int] = dict.fromkeys(CODES, 0)
    is_over = threading.Event()

    def change() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            code = CODES[number % len(CODES)]
            answer = station.client.patch(f"/api/v1/links/{code}", json={"target": f"https://a.example/{number}"})
            assert answer.status_code == 200, answer.text
            last[code] = number

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield last
    finally:
        is_over.set()
        thread.join()


def test_promotion_after_a_kill_under_load_loses_no_change(
    station: Station, shards: list[RedisServer], replica: RedisServer, tmp_path: Path
) -> None:
    """The edge answers all the time; what the replica lacks is written again from the notes, not filled."""
    for code in CODES:
        station.create("https://a.example/0", code=code)
    filled = station.log.read_text().count("shard is being filled")
    seeds = [server.url for server in shards]
    with running_edge(tmp_path / "edge", seeds, origin_url=station.database_url) as edge, changing(station) as last:

        def ask_all(what: str) -> bool:
            answers = {code: edge.get(f"/{code}", host="go.example") for code in CODES}
            assert all(answer.status == 302 for answer in answers.values()), (what, answers)
            return True

        def is_under_way(number: int) -> bool:
            return ask_all("under load") and min(last.values()) > number

        eventually(lambda: is_under_way(3), "links change")
        shards[0].kill()
        ask_all("without a primary")
        reached = max(last.values())
        eventually(lambda: is_under_way(reached), "links change without a primary")
        done = promote(station)
        assert (done.url, done.topology.shards[0].url) == (replica.url, replica.url)
        assert done.topology.shards[0].replicas == ()
        eventually(lambda: ask_all("while promoted") and is_trusted(replica), "the replica is complete")
        reached = max(last.values())
        eventually(lambda: is_under_way(reached), "links change at the new primary")
    now = [replica, shards[1]]
    for code, number in last.items():
        eventually(lambda c=code, n=number: held_target(now, c) == f"https://a.example/{n}", f"{code} is {number}")  # type: ignore[misc]
    assert station.log.read_text().count("shard is being filled") == filled, "recovered from the tail"
    with running_edge(tmp_path / "edge", [replica.url]) as edge:
        for code, number in last.items():
            assert edge.get(f"/{code}", host="go.example").location == f"https://a.example/{number}"


def test_who_waits_for_edges_waits_on_when_the_primary_changes(
    station: Station, shards: list[RedisServer], replica: RedisServer
) -> None:
    """The shard has not left: its edges are heard at its new primary, and a late one is late there, too."""
    shards[1].kill()  # what is created below is of the first shard, or is not projected
    servers = [shards[0]]
    beat(servers, "behind", sequence=0)
    eventually(lambda: station.metric('pointsman_edges_live{shard="shard-0"}') == 1, "the edge is heard")
    before = station.metric("pointsman_projected_total")

    def create(code: str) -> dict[str, object]:
        body = {"target": "https://a.example/", "code": code}
        answer: dict[str, object] = station.client.post("/api/v1/links?wait=edges&wait_ms=8000", json=body).json()[
            "edges"
        ]
        return answer

    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(create, code) for code in CODES[:10]]
        eventually(lambda: station.metric("pointsman_projected_total") > before, "one of them is projected")
        promote(station, replica.url)
        found = [answer.result() for answer in answers]
    late = [one for one in found if one["is_projected"]]
    assert late
    assert all(not one["is_complete"] and one["late"] == ["behind"] for one in late), late


def test_living_primary_is_waited_for_and_fenced(
    station: Station, shards: list[RedisServer], replica: RedisServer
) -> None:
    """A planned switch: the replica has all, and the old primary says that it is of the past."""
    station.create("https://a.example/1", code="one")
    done = promote(station, replica.url)
    assert (done.is_fenced, done.lacked) == (True, 0)
    old = fence_of(shards[0])
    assert old is not None
    assert (old.epoch, old.state) == (done.topology.epoch, "filling")
    eventually(lambda: is_trusted(replica), "the new primary is complete")
    station.servers = [replica, shards[1]]
    station.patch("one", target="https://a.example/2")
    for code in CODES:
        station.create("https://a.example/new", code=code)
    now = [replica, shards[1]]
    assert held_target(now, "one") == "https://a.example/2"
    assert all(held_target(now, code) == "https://a.example/new" for code in CODES)
    assert done.topology == promote_again(station)


def promote_again(station: Station) -> Topology:
    """What is in force, after another try that has nothing to choose."""
    assert refused(station) == "replica_unknown"
    return with_database(station.database_url, service.get_topology)


async def begin_to_move(database: Database) -> None:
    """Put a topology with two rings in force."""
    async with service.placement_locked(database) as connection:
        held = await shard_store.current(connection)
        assert held is not None
        shards = tuple(replace(shard, second_weight=1.0) for shard in held.shards)
        await service.publish(connection, replace(held, epoch=held.epoch + 1, mode="armed", shards=shards))


def test_promotion_is_refused_for_what_is_no_replica(
    station: Station, shards: list[RedisServer], replica: RedisServer, redis_factory: RedisFactory
) -> None:
    """Another shard, an empty server, the primary itself, nothing at all; and a primary of which nobody knows."""
    empty = redis_factory()
    assert refused(station, shards[1].url) == "replica_foreign"
    assert refused(station, empty.url) == "replica_foreign"
    assert refused(station, shards[0].url) == "replica_foreign"
    shards[0].pause()
    try:
        assert refused(station, replica.url) == "primary_silent"
    finally:
        shards[0].resume()
    empty.kill()
    assert refused(station, empty.url) == "shard_unavailable"
    with_database(station.database_url, begin_to_move)
    assert refused(station, replica.url) == "move_under_way"
    with redis.Redis.from_url(replica.url) as client:
        assert client.info("replication")["role"] == "slave"


def test_promotion_over_the_api(
    station: Station, shards: list[RedisServer], replica: RedisServer, redis_factory: RedisFactory
) -> None:
    """What is refused has a code and changes nothing; a replica is named as it is shown, without its password."""
    with redis.Redis.from_url(replica.url) as client:
        client.config_set("requirepass", "s3cret")
    secret = replica.url.replace("redis://", "redis://:s3cret@")
    shown = replica.url.replace("redis://", "redis://:***@")
    with_database(station.database_url, lambda base: name_replica(base, secret))

    def ask(shard_id: str = "shard-0", **body: object) -> httpx.Response:
        return station.client.post(f"/api/v1/shards/{shard_id}/promote", json=body)

    cases: list[tuple[str, dict[str, object], int, str]] = [
        ("shard-9", {}, 404, "shard_unknown"),
        ("shard-0", {"replica": "nonsense"}, 422, "topology_invalid"),
        ("shard-0", {"replica": ""}, 422, "field_value"),
        ("shard-0", {"url": replica.url}, 422, "field_unknown"),
        ("shard-0", {"is_lost": 1}, 422, "field_type"),
        ("shard-1", {}, 404, "replica_unknown"),
        ("shard-0", {"replica": shards[1].url}, 422, "replica_foreign"),
        ("shard-0", {"replica": "redis://127.0.0.1:1"}, 503, "shard_unavailable"),
    ]
    for shard_id, body, status, code in cases:
        answer = ask(shard_id, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    shards[0].pause()
    try:
        answer = ask()
        assert (answer.status_code, answer.json()["code"]) == (409, "primary_silent")
    finally:
        shards[0].resume()
    assert with_database(station.database_url, service.get_topology).epoch == 3, "the replica was named twice"
    answer = ask(replica=shown)
    assert answer.json() == {
        "shard": "shard-0",
        "url": shown,
        "epoch": 4,
        "lacked": 0,
        "is_fenced": True,
        "is_kept": False,
    }
    assert with_database(station.database_url, service.get_topology).shards[0].url == secret
    eventually(lambda: station.client.get("/api/v1/shards").json()["items"][0]["state"] == "complete", "it is complete")
    with_database(station.database_url, begin_to_move)
    assert (ask().status_code, ask().json()["code"]) == (409, "move_under_way")
    assert "s3cret" not in station.log.read_text()


async def name_replica(database: Database, url: str) -> Topology:
    """Name it in the topology as the replica of the first shard."""
    first = (await service.get_topology(database)).shards[0]
    return await service.set_addresses(database, first, replace(first, replicas=(url,)))


def test_promotion_that_cannot_be_published_says_what_is_left(
    station: Station, shards: list[RedisServer], replica: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that does not end: the replica follows nobody any more, and can be promoted again when it has ended."""
    monkeypatch.setattr(service, "LOCK_WAIT_S", 0.2)

    async def run(database: Database) -> str:
        async with database.transaction() as connection:
            await shard_store.lock_placement_shared(connection)
            with pytest.raises(Error) as caught:
                await promotion.promote(database, "shard-0")
        assert caught.value.code == "placement_busy"
        return caught.value.message

    assert "promote it again" in with_database(station.database_url, run)
    assert promote(station).url == replica.url
    eventually(lambda: is_trusted(replica), "the new primary is complete")


def test_promoted_server_stays_a_primary_when_it_is_restarted(
    station: Station, shards: list[RedisServer], tmp_path: Path
) -> None:
    """Its configuration made it a replica; were that left there, it would follow the old primary again."""
    (port,) = free_ports(1)
    directory = tmp_path / "configured"
    directory.mkdir()
    path = directory / "redis.conf"
    path.write_text(CONFIG.format(port=port, directory=directory, primary=shards[0].port))
    program = Program(
        name="configured",
        command=(str(redis_program.find_binary()), str(path)),
        log=directory / "log",
        is_ready=lambda: answers_redis(port),
    )
    server = RedisServer(program, port, directory)
    server.start()
    try:
        station.create("https://a.example/1", code="one")
        declare(station, server)
        follow(server, shards[0])
        assert promote(station).is_kept
        eventually(lambda: is_trusted(server), "the new primary is complete")
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.info("replication")["role"] == "master"
        eventually(lambda: is_trusted(server), "it is complete again")
    finally:
        server.close()


def test_rebuilding_over_the_api(station: Station, shards: list[RedisServer], redis_factory: RedisFactory) -> None:
    """Refused while the shard answers, and for what holds something; then the empty server is filled."""
    station.create("https://a.example/1", code="one")
    used, empty = redis_factory(), redis_factory()
    with redis.Redis.from_url(used.url) as client:
        client.set("something", "of others")

    def ask(url: str) -> httpx.Response:
        return station.client.post("/api/v1/shards/shard-0/rebuild", json={"url": url})

    answer = ask(empty.url)
    assert (answer.status_code, answer.json()["code"]) == (409, "shard_answers")
    shards[0].kill()
    for url, status, code in (
        (used.url, 422, "shard_not_empty"),
        ("nonsense", 422, "topology_invalid"),
        ("redis://127.0.0.1:1", 422, "shard_unreachable"),
    ):
        answer = ask(url)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.json()["errors"][0]["pointer"] == "/url"
    answer = ask(empty.url)
    assert (answer.status_code, answer.json()) == (202, {"shard": "shard-0", "url": empty.url, "epoch": 2})
    eventually(lambda: is_trusted(empty), "it is filled")
    assert held_target([empty, shards[1]], "one") == "https://a.example/1"


def test_replica_is_promoted_when_the_primary_died_while_it_was_adopted(
    station: Station, shards: list[RedisServer], replica: RedisServer, redis_factory: RedisFactory
) -> None:
    """Nobody is called the shard's process then, so one that the topology names is known by not being another's."""
    station.create("https://a.example/1", code="one")
    shards[0].kill()
    fetch(station.database_url, "UPDATE shards SET run_id = NULL WHERE id = 'shard-0'")
    assert refused(station, redis_factory().url) == "replica_foreign"
    assert refused(station, shards[1].url) == "replica_foreign"
    other = redis_factory()
    with_database(station.database_url, lambda base: name_replica(base, other.url))
    follow(other, shards[1])
    assert refused(station) == "replica_foreign", "named, but another shard's"
    with_database(station.database_url, lambda base: name_replica(base, replica.url))
    assert promote(station).url == replica.url
    eventually(lambda: is_trusted(replica), "the new primary is complete")
    assert held_target([replica, shards[1]], "one") == "https://a.example/1"


def rebuild(station: Station, url: str, is_lost: bool = False) -> list[Filling]:
    """Put a server in the place of the first shard and follow it until it is complete."""
    seen: list[Filling] = []

    async def run(database: Database) -> None:
        await replacement.replace_lost(database, "shard-0", url, is_lost=is_lost)
        async with asyncio.timeout(20):
            await replacement.follow_filling(database, "shard-0", seen.append)

    with_database(station.database_url, run)
    return seen


def test_lost_shard_is_rebuilt_on_a_new_server(
    station: Station, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """It is refused for a server that holds something; the empty one is filled, and followed until it is complete."""
    for code in CODES:
        station.create("https://a.example/1", code=code)
    owned = [code for code in CODES if isinstance(held(shards[:1], code), LinkRecord)]
    shards[0].kill()
    used, empty = redis_factory(), redis_factory()
    with redis.Redis.from_url(used.url) as client:
        client.set("something", "of others")
        with pytest.raises(Error, match="holds 1 keys"):
            rebuild(station, used.url)
        client.flushall()
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(Error, match="noeviction"):
            rebuild(station, used.url)
    seen = rebuild(station, empty.url)
    assert seen[-1].is_complete
    assert seen[-1].links == len(owned)
    assert is_trusted(empty)
    assert [held_target([empty], code) for code in owned] == ["https://a.example/1"] * len(owned)
    assert rebuild(station, empty.url)[-1].is_complete, "the same command follows it"


def test_commands_say_what_they_have_done(
    station: Station, shards: list[RedisServer], replica: RedisServer, redis_factory: RedisFactory
) -> None:
    """promote and rebuild, one after the other; what cannot be done is one line and exit code 1."""
    url = station.database_url
    answer = invoke(url, "shard", "promote", "shard-9")
    assert (answer.returncode, "shard_unknown" in answer.stderr) == (1, True)
    answer = invoke(url, "shard", "promote", "shard-0", "--replica", replica.url)
    assert f"{replica.url} is the primary of shard-0 since epoch 3" in answer.stdout
    assert "the old primary is fenced" in answer.stdout
    eventually(lambda: is_trusted(replica), "the new primary is complete")
    replica.kill()
    answer = invoke(url, "shard", "rebuild", "shard-0", "--url", shards[0].url)
    assert "shard_not_empty" in answer.stderr
    empty = redis_factory()
    answer = invoke(url, "shard", "rebuild", "shard-0", "--url", empty.url)
    assert "shard-0 is complete" in answer.stdout, answer.stderr
    assert is_trusted(empty)


def test_edge_that_knows_no_other_shard_leaves_a_primary_that_was_silent(
    station_factory: StationFactory, database_url: str, redis_factory: RedisFactory, tmp_path: Path
) -> None:
    """Stopped, given up, and continued: it takes pushes and pings as ever, and has not heard of any change since."""
    old, new = redis_factory(), redis_factory()
    station = station_factory(database_url, [old])
    station.wait_trusted()
    declare(station, new)
    follow(new, old)
    station.create("https://a.example/1", code="one")
    with running_edge(tmp_path / "edge", [old.url], origin_url=database_url) as edge:
        assert edge.get("/one", host="go.example").location == "https://a.example/1"
        old.pause()
        try:
            promote(station, is_lost=True)
            eventually(lambda: is_trusted(new), "the new primary is complete")
        finally:
            old.resume()
        station.client.patch("/api/v1/links/one", json={"target": "https://a.example/2"})
        changed = "https://a.example/2"
        eventually(lambda: edge.get("/one", host="go.example").location == changed, "the edge has left the old primary")
    found = fence_of(old)
    assert found is not None
    assert (found.epoch, found.state) == (3, "filling")


def test_edge_that_knows_no_other_shard_hears_of_a_promotion_from_the_replica(
    station_factory: StationFactory, database_url: str, redis_factory: RedisFactory, tmp_path: Path
) -> None:
    """The primary, which is dead, is the one shard: nobody else could tell the edge who has its place."""
    old, new = redis_factory(), redis_factory()
    station = station_factory(database_url, [old])
    station.wait_trusted()
    declare(station, new)
    follow(new, old)
    station.create("https://a.example/1", code="one")
    with running_edge(tmp_path / "edge", [old.url], origin_url=database_url) as edge:
        assert edge.get("/one", host="go.example").status == 302
        old.kill()
        epoch = promote(station).topology.epoch

        def epochs() -> set[int]:
            assert edge.get("/one", host="go.example").location == "https://a.example/1"
            with redis.Redis.from_url(new.url) as client:
                found: list[bytes | None] = client.mget(client.keys(keys.EDGE_PREFIX + b"*") or [b"none"])
            return {heartbeat.decode(data).epoch for data in found if data is not None}

        eventually(lambda: epochs() == {epoch}, "the edge has found the new primary")


def test_silent_primary_is_given_up_when_the_operator_says_so(
    station: Station, shards: list[RedisServer], replica: RedisServer
) -> None:
    """What it says later, under its old fence, no edge of the new epoch asks for."""
    station.create("https://a.example/1", code="one")
    shards[0].pause()
    try:
        assert refused(station) == "primary_silent"
        done = promote(station, is_lost=True)
        assert (done.is_fenced, done.url) == (False, replica.url)
        eventually(lambda: is_trusted(replica), "the new primary is complete")
    finally:
        shards[0].resume()
