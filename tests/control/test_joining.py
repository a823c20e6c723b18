"""Shards that join are adopted and left to their move; shards that leave are told, emptied and forgotten."""

from dataclasses import replace

import pytest
import redis

from control.db import Connection, Database
from control.errors import Error
from control.projection import publication, recovery, shard_writer, store
from control.projection.shard_writer import connect_writer
from control.shards import service
from control.shards import store as shard_store
from control.shards.connection import ShardConnection
from tests.control.rings import NEW, adopt, arm, owners, shards_of
from tests.control.scene import Scene, play
from tests.control.station import Station, eventually, fence_of, fetch, held, held_target, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys, topology
from wire.fence import Fence
from wire.topology import Topology

CODES = [f"c{number}" for number in range(30)]


@pytest.fixture
def servers(shards: list[RedisServer], redis_factory: RedisFactory) -> list[RedisServer]:
    """The two shards and a third server."""
    return [*shards, redis_factory()]


def _run_id(server: RedisServer) -> str:
    with redis.Redis.from_url(server.url) as client:
        return str(client.info("server")["run_id"])


def _has_joined(server: RedisServer, epoch: int = 2) -> bool:
    """Whether the process that runs now is adopted."""
    return fence_of(server) == Fence(epoch=epoch, state="filling", run_id=_run_id(server))


def _arm(station: Station, servers: list[RedisServer]) -> None:
    """Let the third server join the shards of a control plane that runs."""

    async def run(database: Database) -> None:
        async with service.placement_locked(database) as connection:
            held = await shard_store.current(connection)
            assert held is not None
            shards = shards_of(servers, [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0)])
            armed = replace(held, epoch=held.epoch + 1, mode="armed", shards=shards)
            await service.publish(connection, armed, (NEW,))

    with_database(station.database_url, run)


def _copied(station: Station, server: RedisServer, run_id: str) -> tuple[bool, bool]:
    """What a move does after its copy: whether it could raise the floor, and call the shard complete."""

    async def run(database: Database) -> tuple[bool, bool]:
        shard = await connect_writer(NEW, server.url)
        async with database.connection() as connection:
            is_raised = await recovery.raise_floor(connection, shard, run_id)
            is_complete = await recovery.complete_joining(connection, shard, run_id)
        await shard.close()
        return is_raised, is_complete

    return with_database(station.database_url, run)


def test_shard_that_joins_is_killed_and_comes_back_empty(station: Station, servers: list[RedisServer]) -> None:
    """It is adopted anew each time, gets every change of what it will own, and is complete only by its move.

    What it holds from elsewhere, as from another installation, is swept away first.
    """
    with redis.Redis.from_url(servers[2].url) as client:
        client.set(keys.link_key(1, "stranger"), b"nobody knows")
    _arm(station, servers)
    eventually(lambda: _has_joined(servers[2]), "adopted")
    assert held_raw(servers[2], "stranger") is None
    first = _run_id(servers[2])
    for code in CODES:
        station.create("https://a.example/", code=code)
    eventually(lambda: fetch(station.database_url, "SELECT count(*) FROM outbox") == [(0,)], "the outbox empty")
    moved = [code for code in CODES if held(servers[2:], code)]
    assert 0 < len(moved) < len(CODES)
    assert [held_target(servers[:2], code) for code in CODES] == ["https://a.example/"] * len(CODES)

    servers[2].kill()
    servers[2].lose_disk()
    servers[2].start()
    eventually(lambda: _has_joined(servers[2]), "adopted anew")
    assert held(servers[2:], moved[0]) is None, "it is the move that fills it"
    assert _copied(station, servers[2], first) == (False, False)
    assert station.metric(f'pointsman_shard_complete{{shard="{NEW}"}}') == 0

    for code in moved:
        station.patch(code, target="https://b.example/")
    # Nobody reads the new owner yet, so nobody has waited for it.
    eventually(lambda: fetch(station.database_url, "SELECT count(*) FROM outbox") == [(0,)], "the outbox empty")
    assert _copied(station, servers[2], _run_id(servers[2])) == (True, True)
    state = fetch(station.database_url, "SELECT is_complete, is_joining FROM shards WHERE id = $1", NEW)
    assert state == [(True, False)]
    eventually(lambda: station.metric(f'pointsman_shard_complete{{shard="{NEW}"}}') == 1, "complete")
    assert [held_target(servers[2:], code) for code in moved] == ["https://b.example/"] * len(moved)
    assert _copied(station, servers[2], _run_id(servers[2])) == (True, True), "it may be done again"


def test_changes_wait_for_a_shard_that_joins_until_it_is_back(station: Station, servers: list[RedisServer]) -> None:
    """Down while links change: the old owners have them at once, the new one when it is adopted again."""
    _arm(station, servers)
    eventually(lambda: _has_joined(servers[2]), "adopted")
    servers[2].kill()
    for code in CODES:
        station.client.post("/api/v1/links", json={"target": "https://a.example/", "code": code})
    unsettled = "SELECT count(*) FROM outbox WHERE waiting_shard IS DISTINCT FROM $1"
    eventually(lambda: fetch(station.database_url, unsettled, NEW) == [(0,)], "every change projected or parked")
    assert [held_target(servers[:2], code) for code in CODES] == ["https://a.example/"] * len(CODES)
    servers[2].start()
    eventually(lambda: fetch(station.database_url, "SELECT count(*) FROM outbox") == [(0,)], "the outbox empty")
    assert any(held(servers[2:], code) for code in CODES)


def test_shard_emptied_after_its_copy_is_not_called_complete(database_url: str, servers: list[RedisServer]) -> None:
    """The same process, adopted anew: the floor that the move has raised is gone with what it had copied."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        shard = await adopt(scene, servers[2])
        async with scene.database.dedicated() as connection:
            assert not await recovery.complete_joining(connection, shard, shard.run_id), "nothing was copied yet"
            assert await recovery.raise_floor(connection, shard, shard.run_id)
            await shard.execute("FLUSHALL")
            assert not await recovery.complete_joining(connection, shard, shard.run_id)
            await recovery.begin_fill(connection, shard)
            assert not await recovery.complete_joining(connection, shard, shard.run_id)
            assert await recovery.raise_floor(connection, shard, shard.run_id)
            assert await recovery.complete_joining(connection, shard, shard.run_id)
        assert fence_of(servers[2]) == Fence(epoch=2, state="complete", run_id=shard.run_id)
        await shard.close()

    play(database_url, servers[:2], work)


def test_floor_of_a_shard_that_was_replaced_is_left_alone(database_url: str, servers: list[RedisServer]) -> None:
    """The copy went to a process that PostgreSQL does not name any more."""

    async def work(scene: Scene) -> None:
        shard = await connect_writer("shard-0", servers[0].url)
        before = await scene.rows("SELECT * FROM shards ORDER BY id")
        async with scene.database.connection() as connection:
            assert not await recovery.raise_floor(connection, shard, "another")
            assert await scene.rows("SELECT * FROM shards ORDER BY id") == before
            assert await recovery.raise_floor(connection, shard, shard.run_id)
        ((floor, number),) = await scene.rows(
            "SELECT floor_seq, $1::bigint FROM shards WHERE id = 'shard-0'",
            int(await shard.execute("GET", keys.SEQUENCE)),
        )
        assert floor == number
        await shard.close()

    play(database_url, servers[:2], work)


async def _leave(scene: Scene, servers: list[RedisServer]) -> Topology:
    """A topology without the third shard."""
    return await scene.set_topology(mode="steady", shards=shards_of(servers[:2], [(1.0, 0.0), (1.0, 0.0)]))


async def _sweep(shard: ShardConnection, fence: bytes) -> int:
    """Remove every link, as who knows this fence; returns how many there were."""
    found = await shard.execute("KEYS", keys.LINK_PREFIX + b"*")
    return await shard_writer.remove(shard, fence, found)


def test_shard_that_leaves_is_told_and_emptied_and_forgotten(database_url: str, servers: list[RedisServer]) -> None:
    """It keeps what tells edges where the others are; PostgreSQL keeps nothing of it, and no row waits for it."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        shard = await adopt(scene, servers[2])
        for code in CODES:
            await scene.put(code, "https://a.example/")
        await scene.project()
        moved = [code for code, ids in (await owners(scene)).items() if NEW in ids]
        async with scene.database.connection() as connection:
            with pytest.raises(Error, match="cannot be retired"):
                await recovery.retire(connection, shard, await scene.topology())
        await scene.rows("INSERT INTO outbox (link_id, version, waiting_shard) VALUES (1, 1, $1)", NEW)

        steady = await _leave(scene, servers)
        async with scene.database.connection() as connection:
            fence = await recovery.retire(connection, shard, steady)
            assert fence is not None
            assert await _sweep(shard, fence) == len(moved)
            assert await recovery.retire(connection, shard, steady) == fence, "it may be done again"
            assert await _sweep(shard, fence) == 0
            await _forget(connection)
            assert not await store.forget_shard(connection, NEW)
        assert fence_of(servers[2]) == Fence(epoch=3, state="filling", run_id=shard.run_id)
        assert topology.decode(await shard.execute("GET", keys.TOPOLOGY)) == steady
        assert await scene.rows("SELECT id FROM shards ORDER BY id") == [("shard-0",), ("shard-1",)]
        assert await scene.rows("SELECT count(*) FROM projected WHERE shard_id = $1", NEW) == [(0,)]
        assert await scene.rows("SELECT count(*) FROM outbox WHERE waiting_shard IS NOT NULL") == [(0,)]
        assert [held_target(servers[:2], code) for code in CODES] == ["https://a.example/"] * len(CODES)
        await shard.close()

    play(database_url, servers[:2], work)


def test_nobody_who_slept_empties_a_shard_that_came_back(database_url: str, servers: list[RedisServer]) -> None:
    """The shard left, was retired and joined again; who knows it from before removes nothing."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        shard = await adopt(scene, servers[2])
        steady = await _leave(scene, servers)
        async with scene.database.connection() as connection:
            fence = await recovery.retire(connection, shard, steady)
            assert fence is not None
            await _forget(connection)
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        for code in CODES:
            await scene.put(code, "https://a.example/")
        await scene.project()
        with pytest.raises(Error, match="changed by somebody else"):
            await _sweep(shard, fence)
        shard = await connect_writer(NEW, servers[2].url)
        async with scene.database.connection() as connection:
            with pytest.raises(Error, match="cannot be retired"):
                await recovery.retire(connection, shard, steady)
        moved = [code for code, ids in (await owners(scene)).items() if NEW in ids]
        assert moved
        assert all(held_target(servers[2:], code) for code in moved)
        await shard.close()

    play(database_url, servers[:2], work)


def test_shard_that_is_gone_for_good_is_forgotten(database_url: str, servers: list[RedisServer]) -> None:
    """Nobody can be told; its rows go all the same, and what waited for it is projected to the others."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        servers[2].kill()
        for code in CODES:
            await scene.put(code, "https://a.example/")
        assert (await scene.project()).parked > 0
        steady = await _leave(scene, servers)
        async with scene.database.connection() as connection:
            assert await recovery.retire(connection, None, steady) is None
            await _forget(connection)
        assert (await scene.project()).parked == 0
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]
        assert await scene.rows("SELECT count(*) FROM shards") == [(2,)]

    play(database_url, servers[:2], work)


def test_shard_is_not_forgotten_while_changes_wait_for_it(database_url: str, servers: list[RedisServer]) -> None:
    """Some of them are in the hands of a process that stands still; without the shard they would wait for ever."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        await _leave(scene, servers)
        await scene.put("code", "https://a.example/")
        await scene.rows("UPDATE outbox SET waiting_shard = $1", NEW)
        async with scene.database.connection() as connection:
            async with scene.database.transaction() as stopped:
                await stopped.execute("SELECT FROM outbox FOR UPDATE")
                with pytest.raises(Error, match="are in the hands of another process"):
                    await _forget(connection)
            await _forget(connection)
        await scene.project()
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]
        assert await scene.rows("SELECT count(*) FROM shards") == [(2,)]

    play(database_url, servers[:2], work)


def test_keeper_of_a_shard_that_was_forgotten_does_nothing(database_url: str, servers: list[RedisServer]) -> None:
    """One that slept and goes on to repair: there is no state any more, and it is told so."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        shard = await adopt(scene, servers[2])
        await _leave(scene, servers)
        async with scene.database.dedicated() as connection:
            await _forget(connection)
            observed = await publication.observe(shard)
            with pytest.raises(Error, match="forgotten"):
                await recovery.begin_fill(connection, shard)
            assert not await publication.publish(connection, shard, observed)
        await shard.close()

    play(database_url, servers[:2], work)


async def _forget(connection: Connection) -> None:
    while await store.forget_shard(connection, NEW):
        pass


def held_raw(server: RedisServer, code: str) -> bytes | None:
    """The bytes of a link's key."""
    with redis.Redis.from_url(server.url) as client:
        data: bytes | None = client.get(keys.link_key(1, code))
        return data
