"""Moves by whole control processes, with links in them, killed and stopped on the way."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from control.db import Database
from control.moves.model import Move, MoveRequest
from control.moves.plan import Speed
from control.moves.service import Moves
from control.shards import service as shard_service
from edge._fast import Ring, xxh64
from tests.control.conftest import StationFactory
from tests.control.station import Station, eventually, fetch, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys, record
from wire.record import LinkRecord
from wire.topology import Topology

CODES = [f"code{number}" for number in range(300)]
# So slow that there is time to do something to it: three seconds of copying for a third of the links.
SLOWLY = {"POINTSMAN_MOVES_SOAK_S": "1", "POINTSMAN_MOVES_COPY_LINKS_S": "40"}
QUICKLY = {"POINTSMAN_MOVES_SOAK_S": "1"}


@pytest.fixture
def target(redis_factory: RedisFactory) -> RedisServer:
    """The server that is brought in."""
    return redis_factory()


def _ask(station: Station, work: Callable[[Moves], Awaitable[Any]]) -> Any:
    async def run(database: Database) -> Any:
        return await work(Moves(database, lambda: None, Speed(copy_links_s=1, soak_s=1)))

    return with_database(station.database_url, run)


def _topology(station: Station) -> Topology:
    return with_database(station.database_url, shard_service.get_topology)


def _phase(station: Station, move_id: int) -> Move:
    move: Move = _ask(station, lambda moves: moves.get(move_id))
    return move


def _begin(station: Station, request: MoveRequest) -> int:
    move: Move = _ask(station, lambda moves: moves.start(request))
    return move.id


def _until(station: Station, move_id: int, *phases: str) -> Move:
    """The move as soon as it is in one of the phases."""

    def look() -> Move | None:
        move = _phase(station, move_id)
        return move if move.phase in phases else None

    found: Move = eventually(look, f"move {move_id} is {phases}")
    return found


def _until_copied(station: Station, move_id: int) -> None:
    """As soon as something has been copied, and not all."""
    eventually(lambda: 0 < _phase(station, move_id).work.get("fraction", 0) < 1, "a part is copied")
    assert _phase(station, move_id).phase == "copying"


def _fill(station: Station) -> None:
    for code in CODES:
        station.client.post("/api/v1/links", json={"target": f"https://a.example/{code}", "code": code})
    station.client.post("/api/v1/links?wait=edges", json={"target": "https://a.example/last", "code": "last"})


def _held(servers: dict[str, RedisServer]) -> dict[str, set[str]]:
    """The codes whose links each shard holds; each with its own target."""
    found = {}
    for shard_id, server in servers.items():
        with redis.Redis.from_url(server.url) as client:
            codes = {key.decode().rpartition(":")[2]: client.get(key) for key in client.scan_iter(b"l:*")}
        for code, data in codes.items():
            link = record.decode(data)
            assert isinstance(link, LinkRecord)
            assert link.target.decode().rpartition("/")[2] == code
        found[shard_id] = set(codes)
    return found


def _owned(topology: Topology) -> dict[str, set[str]]:
    ring = Ring(topology.members, topology.virtual_nodes)
    found: dict[str, set[str]] = {shard.id: set() for shard in topology.shards}
    for code in [*CODES, "last"]:
        found[topology.shards[ring.shard(xxh64(keys.cache_key(1, code)))].id].add(code)
    return found


def _assert_moved(station: Station, servers: dict[str, RedisServer]) -> None:
    """Each shard of the topology holds its own links and no others; what has left holds none."""
    expected = {shard_id: set[str]() for shard_id in servers} | _owned(_topology(station))
    assert _held(servers) == expected


def test_links_move_to_a_new_shard(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """All that the ring gives it, and they are gone from where they were."""
    station = station_factory(database_url, shards, **QUICKLY)
    station.wait_trusted()
    _fill(station)
    move_id = _begin(station, MoveRequest(kind="add", shard_id="shard-2", url=target.url))
    assert _until(station, move_id, "done", "aborted").phase == "done"
    _assert_moved(station, {"shard-0": shards[0], "shard-1": shards[1], "shard-2": target})
    assert station.metric('pointsman_moves_ended_total{phase="done"}') == 1
    assert station.metric("pointsman_move_under_way") == 0


def test_shard_is_replaced_and_retired(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """Its links go to its successor, and it tells where the others are."""
    station = station_factory(database_url, shards, **QUICKLY)
    station.wait_trusted()
    _fill(station)
    request = MoveRequest(kind="replace", shard_id="shard-0", new_id="shard-9", url=target.url)
    move_id = _begin(station, request)
    assert _until(station, move_id, "done", "aborted").phase == "done"
    _assert_moved(station, {"shard-0": shards[0], "shard-1": shards[1], "shard-9": target})
    with redis.Redis.from_url(shards[0].url) as client:
        assert client.get(keys.TOPOLOGY) is not None


def test_dead_shard_is_replaced(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """Its links are in PostgreSQL; the operator says that it will not come back."""
    station = station_factory(database_url, shards, **QUICKLY)
    station.wait_trusted()
    _fill(station)
    shards[0].kill()
    for code in CODES[:50]:  # half of them wait for the dead shard
        station.client.patch(f"/api/v1/links/{code}", json={"target": f"https://b.example/{code}"})
    move_id = _begin(station, MoveRequest(kind="replace", shard_id="shard-0", new_id="shard-9", url=target.url))
    eventually(lambda: "shard-0 does not answer" in (_phase(station, move_id).waits_for or ""), "the wait for shard-0")
    _ask(station, lambda moves: moves.declare_lost(move_id, "shard-0"))
    ended = _until(station, move_id, "done", "aborted")
    assert (ended.phase, ended.waits_for) == ("done", None)
    _assert_moved(station, {"shard-1": shards[1], "shard-9": target})
    eventually(lambda: fetch(database_url, "SELECT count(*) FROM outbox") == [(0,)], "nothing waits for the dead shard")
    assert fetch(database_url, "SELECT id FROM shards ORDER BY id") == [("shard-1",), ("shard-9",)]
    assert fetch(database_url, "SELECT DISTINCT shard_id FROM projected ORDER BY 1") == [("shard-1",), ("shard-9",)]


@pytest.mark.slow
def test_killed_control_goes_on_where_it_was(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """SIGKILL in the middle of copying; the next process goes on from the cursor."""
    station = station_factory(database_url, shards, **SLOWLY)
    station.wait_trusted()
    _fill(station)
    move_id = _begin(station, MoveRequest(kind="add", shard_id="shard-2", url=target.url))
    _until_copied(station, move_id)
    station.server.kill()
    before = _phase(station, move_id)
    station.server.start()
    assert _until(station, move_id, "verifying", "aborted").phase == "verifying"
    after = _phase(station, move_id)
    assert after.driver > before.driver
    assert _until(station, move_id, "done").phase == "done"
    _assert_moved(station, {"shard-0": shards[0], "shard-1": shards[1], "shard-2": target})


@pytest.mark.slow
def test_target_that_dies_while_it_is_copied_to_can_be_given_up(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """The wait is seen, and the abort ends while the target is dead; the old shards hold what they held."""
    station = station_factory(database_url, shards, **SLOWLY)
    station.wait_trusted()
    _fill(station)
    move_id = _begin(station, MoveRequest(kind="add", shard_id="shard-2", url=target.url))
    _until_copied(station, move_id)
    target.kill()
    eventually(lambda: "shard-2" in (_phase(station, move_id).waits_for or ""), "the wait for shard-2")
    _ask(station, lambda moves: moves.abort(move_id))
    ended = _until(station, move_id, "aborted")
    assert ended.lost == ("shard-2",)
    assert ended.work["leftovers"]["shard-2"] > 0
    assert station.metric("pointsman_move_leftovers") == ended.work["leftovers"]["shard-2"]
    _assert_moved(station, {"shard-0": shards[0], "shard-1": shards[1]})
    target.start()
    again = _begin(station, MoveRequest(kind="add", shard_id="shard-2", url=target.url))
    _until(station, again, "copying")
    assert station.metric("pointsman_move_leftovers") == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_stopped_control_is_superseded(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """SIGSTOP in the middle of copying: another process takes the move over, and the first changes nothing later."""
    first = station_factory(database_url, shards, **SLOWLY)
    first.wait_trusted()
    _fill(first)
    move_id = _begin(first, MoveRequest(kind="add", shard_id="shard-2", url=target.url))
    _until_copied(first, move_id)
    first.server.pause()
    try:
        second = station_factory(database_url, shards, first.key, **QUICKLY)
        token = _phase(second, move_id).driver
        eventually(lambda: _phase(second, move_id).driver > token, "another driver")
        _until(second, move_id, "done")
        history = _ask(second, lambda moves: moves.events(move_id))
    finally:
        first.server.resume()
    eventually(lambda: "idle-session timeout" in first.log.read_text(), "the first one has lost its lock")
    assert _ask(second, lambda moves: moves.events(move_id)) == history
    _assert_moved(second, {"shard-0": shards[0], "shard-1": shards[1], "shard-2": target})
