"""?wait=edges answers when every live edge of the link's shard has the change, or says which has not."""

import asyncio
import concurrent.futures
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from control.db import Connection
from control.errors import Error
from control.projection import notes
from control.projection.acknowledgement import WAITS_MAX, Acknowledgements
from control.shards.edges import Edges
from tests.control.rings import NEW, adopt, arm, owners, shards_of
from tests.control.scene import Scene, play
from tests.control.station import DEADLINE_S, Station, eventually
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import heartbeat, keys
from wire.heartbeat import Heartbeat
from wire.topology import Mode

GOOD = {"target": "https://a.example/", "code": "abc"}


def _heartbeat(edge_id: str, sequence: int) -> Heartbeat:
    return Heartbeat(edge_id=edge_id, build="test", epoch=1, sequence=sequence)


def _beat(servers: list[RedisServer], edge_id: str, sequence: int, expires_ms: int = 60_000) -> None:
    data = heartbeat.encode(_heartbeat(edge_id, sequence))
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
        of_shard.live["stuck"] = _heartbeat("stuck", 0)
        of_shard.is_known = True
        acknowledgements = Acknowledgements(scene.database, edges, scene.placement)
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


def test_notes_are_looked_at_once_for_all_who_wait(
    database_url: str, shards: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that is away has many requests wait; the database is asked no more often for that."""
    asked: list[int] = []
    numbers_of = notes.numbers_of

    async def count(connection: Connection, changes: Sequence[tuple[int, int]]) -> Any:
        asked.append(len(changes))
        return await numbers_of(connection, changes)

    monkeypatch.setattr(notes, "numbers_of", count)

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/")
        ((link_id,),) = await scene.rows("SELECT id FROM links")
        acknowledgements = Acknowledgements(scene.database, Edges(), scene.placement)
        waits = [acknowledgements.wait(int(str(link_id)), 1, 0.5) for _ in range(100)]
        assert {result.is_projected for result in await asyncio.gather(*waits)} == {False}
        assert max(asked) == 100
        assert len(asked) <= 10

    play(database_url, shards, work)


MODES: list[tuple[Mode, set[int], set[int]]] = [
    ("armed", {0, 1}, {0, 1}),
    ("armed", {0}, {0}),
    ("armed", {1}, set()),
    ("sampling", {0}, {0}),
    ("cut-over", {0, 1}, {0, 1}),
    ("cut-over", {0}, set()),
    ("soaking", {0}, {0}),
    ("soaking", {1}, set()),
]


@pytest.mark.parametrize(("mode", "noted", "expected"), MODES)
def test_change_counts_as_projected_when_every_owner_that_is_read_has_it(
    database_url: str, shards: list[RedisServer], mode: Mode, noted: set[int], expected: set[int]
) -> None:
    """Judged from notes alone, as of a batch of another control process; 0 is the owner that is read first."""

    async def work(scene: Scene) -> None:
        await scene.set_topology(mode=mode, shards=shards_of(shards, [(1.0, 0.0), (0.0, 1.0)]))
        await scene.put("abc", "https://a.example/")
        for index in sorted(noted):
            await scene.rows(
                "INSERT INTO projected (shard_id, seq, link_id, version) SELECT $1, 7, id, 1 FROM links",
                f"shard-{index}",
            )
        edges = Edges()
        for index in (0, 1):
            edges.of(f"shard-{index}").is_known = True
            edges.of(f"shard-{index}").live[f"edge-{index}"] = _heartbeat(f"edge-{index}", 7)
        acknowledgements = Acknowledgements(scene.database, edges, scene.placement)
        ((link_id,),) = await scene.rows("SELECT id FROM links")
        result = await acknowledgements.wait(int(str(link_id)), 1, 5.0 if expected else 0.2)
        assert result.is_projected == result.is_complete == bool(expected)
        assert result.acknowledged == [f"edge-{index}" for index in sorted(expected)]

    play(database_url, shards, work)


def test_edges_of_both_owners_are_waited_for(
    database_url: str, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """Told by the projector of the same process: by all the numbers of the batch that wrote the link."""
    servers = [*shards, redis_factory()]

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        for number in range(20):
            await scene.put(f"c{number}", "https://a.example/")
        edges = Edges()
        for shard_id in ("shard-0", "shard-1", NEW):
            edges.of(shard_id).is_known = True
        edges.of(NEW).live["behind"] = _heartbeat("behind", 0)
        acknowledgements = Acknowledgements(scene.database, edges, scene.placement)
        links = {str(code): int(str(link_id)) for code, link_id in await scene.rows("SELECT code, id FROM links")}
        waits = {code: asyncio.create_task(acknowledgements.wait(link_id, 1, 1.0)) for code, link_id in links.items()}
        await asyncio.sleep(0)
        acknowledgements.on_projected(await scene.project())
        by_code = await owners(scene)
        for code, wait in waits.items():
            result = await wait
            assert result.is_projected
            assert result.late == (["behind"] if NEW in by_code[code] else [])

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
