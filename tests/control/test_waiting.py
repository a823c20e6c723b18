"""?wait=edges answers when every live edge of the link's shard has the change, or says which has not."""

import asyncio
import concurrent.futures

import pytest
import redis

from control.errors import Error
from control.projection.acknowledgement import WAITS_MAX, Acknowledgements
from control.shards.edges import Edges
from tests.control.scene import Scene, play
from tests.control.station import DEADLINE_S, Station, eventually
from tests.stack.server import RedisServer
from wire import heartbeat, keys
from wire.heartbeat import Heartbeat

GOOD = {"target": "https://a.example/", "code": "abc"}


def _beat(servers: list[RedisServer], edge_id: str, sequence: int, expires_ms: int = 60_000) -> None:
    data = heartbeat.encode(Heartbeat(edge_id=edge_id, build="test", epoch=1, sequence=sequence))
    for server in servers:
        with redis.Redis.from_url(server.url) as client:
            client.set(keys.edge_key(edge_id), data, px=expires_ms)


def test_answer_comes_when_the_last_edge_has_acknowledged(station: Station, shards: list[RedisServer]) -> None:
    """One edge is ahead, one behind; the answer waits for the one behind."""
    _beat(shards, "ahead", 10**9)
    _beat(shards, "behind", 0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(station.client.post, "/api/v1/links?wait=edges&wait_ms=20000", json=GOOD)
        eventually(lambda: station.metric("pointsman_projected_total") == 1, "the link projected")
        assert not answer.done()
        _beat(shards, "behind", 10**9)
        edges = answer.result().json()["edges"]
    assert edges == {"is_complete": True, "is_projected": True, "acknowledged": ["ahead", "behind"], "late": []}


def test_edge_that_is_late_is_named(station: Station, shards: list[RedisServer]) -> None:
    """The change is made all the same."""
    _beat(shards, "ahead", 10**9)
    _beat(shards, "behind", 0)
    edges = station.client.post("/api/v1/links?wait=edges&wait_ms=200", json=GOOD).json()["edges"]
    assert edges == {"is_complete": False, "is_projected": True, "acknowledged": ["ahead"], "late": ["behind"]}
    answer = station.client.delete("/api/v1/links/abc?wait=edges&wait_ms=200")
    assert (answer.status_code, answer.json()["edges"]["late"]) == (200, ["behind"])


def test_edge_that_is_gone_is_not_waited_for(station: Station, shards: list[RedisServer]) -> None:
    """Its heartbeat expires while the request waits."""
    _beat(shards, "gone", 0, expires_ms=1)
    edges = station.client.post("/api/v1/links?wait=edges&wait_ms=20000", json=GOOD).json()["edges"]
    assert edges == {"is_complete": True, "is_projected": True, "acknowledged": [], "late": []}


def test_change_that_cannot_be_projected_in_time_says_so(station: Station, shards: list[RedisServer]) -> None:
    """The shards are down: the link is stored, and the answer tells that no edge has it."""
    for server in shards:
        server.kill()
    answer = station.client.post("/api/v1/links?wait=edges&wait_ms=300", json=GOOD)
    assert answer.status_code == 201
    assert answer.json()["edges"] == {"is_complete": False, "is_projected": False, "acknowledged": [], "late": []}


def test_number_of_those_that_wait_is_bounded(database_url: str, shards: list[RedisServer]) -> None:
    """An edge that never acknowledges: who waits for it counts until its time is over, then others may wait."""

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/")
        (batch,) = (await scene.project()).numbered
        (write,) = batch.writes
        edges = Edges()
        of_shard = edges.of(batch.shard_id)
        of_shard.live["stuck"] = Heartbeat(edge_id="stuck", build="test", epoch=1, sequence=0)
        of_shard.is_known = True
        acknowledgements = Acknowledgements(scene.database, edges)
        waits = [asyncio.create_task(acknowledgements.wait(write.link_id, 1, DEADLINE_S)) for _ in range(WAITS_MAX)]
        await asyncio.sleep(0)  # each of them has begun
        with pytest.raises(Error, match="the change itself is made") as caught:
            await acknowledgements.wait(write.link_id, 1, DEADLINE_S)
        assert caught.value.code == "too_many_waiting"
        # Past the look at the notes all of them wait for the edge, and still count.
        async with asyncio.timeout(DEADLINE_S):
            while acknowledgements._waiting:  # noqa: ASYNC110  (no signal)
                await asyncio.sleep(0.01)
        with pytest.raises(Error, match="the change itself is made"):
            await acknowledgements.wait(write.link_id, 1, DEADLINE_S)
        of_shard.live.clear()
        of_shard.note_change(0.0)
        assert all(result.is_complete for result in await asyncio.gather(*waits))
        assert (await acknowledgements.wait(write.link_id, 1, DEADLINE_S)).is_complete

    play(database_url, shards, work)


def test_lag_of_the_edges_is_measured_without_changes(station: Station, shards: list[RedisServer]) -> None:
    """A probe that no edge acknowledges makes the lag grow; acknowledged, it stops."""
    _beat(shards, "edge", 0)
    lag = 'pointsman_edges_lag_seconds{shard="shard-0"}'
    eventually(lambda: station.metric('pointsman_edges_live{shard="shard-0"}') == 1, "the edge is seen")
    eventually(lambda: station.metric(lag) > 0.1, "the lag grows")
    _beat(shards, "edge", 10**9)
    settled = eventually(lambda: station.metric(lag), "the lag is measured")
    assert settled == station.metric(lag)


def test_wait_is_bounded(station: Station) -> None:
    """Only so long, and for nothing else than edges."""
    for query in ("wait=shards", "wait=edges&wait_ms=0", "wait=edges&wait_ms=30001"):
        assert station.client.post(f"/api/v1/links?{query}", json=GOOD).json()["code"] == "query_invalid"
    assert station.client.get("/api/v1/links/abc").status_code == 404


def test_a_shard_that_hangs_is_not_believed(station: Station, shards: list[RedisServer]) -> None:
    """Over a connection that is still there nothing is heard of its edges: it is asked, and begun anew."""
    failures = 'pointsman_task_failures{task="edges shard-1"}'
    assert station.metric(failures) == 0
    shards[1].pause()
    try:
        eventually(lambda: station.metric(failures) > 0, "the silence is noticed")
    finally:
        shards[1].resume()
    eventually(lambda: station.metric(failures) == 0, "it is watched again")
