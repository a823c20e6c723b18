"""The placement changes under a lock that no batch outlives, and its rings are built once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from control.db import POOL_SIZE_MAX, Database
from control.errors import Error
from control.projection import store as projection_store
from control.shards import service, store
from control.shards.current import placement_of
from tests.control.rings import NEW, adopt, arm, owners, shards_of
from tests.control.scene import Scene, play
from tests.control.station import DEADLINE_S, held, held_target, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire.record import LinkRecord
from wire.topology import Mode, Shard, Topology

CODES = [f"c{number}" for number in range(20)]
URLS = ["redis://10.0.0.1", "redis://10.0.0.2"]


def _topology(mode: Mode, weights: list[tuple[float, float]]) -> Topology:
    shards = tuple(
        Shard(id=f"shard-{index}", url=URLS[index], weight=weight, second_weight=second)
        for index, (weight, second) in enumerate(weights)
    )
    return Topology(epoch=1, mode=mode, shards=shards, virtual_nodes=16)


def test_rings_are_built_once_in_a_move() -> None:
    """Neither a mode nor the swap of the rings builds another one."""

    async def run() -> None:
        armed = await placement_of(_topology("armed", [(1, 2), (1, 1)]))
        sampling = await placement_of(_topology("sampling", [(1, 2), (1, 1)]))
        swapped = await placement_of(_topology("cut-over", [(2, 1), (1, 1)]))
        steady = await placement_of(_topology("steady", [(2, 0), (1, 0)]))
        assert sampling.ring is armed.ring
        assert sampling.second is armed.second
        assert (swapped.ring, swapped.second) == (armed.second, armed.ring)
        assert (steady.ring, steady.second) == (armed.second, None)

    asyncio.run(run())


def test_owners_are_those_of_both_rings() -> None:
    """The one that is read first; just one where they agree or there is no second ring."""

    async def run() -> None:
        placement = await placement_of(_topology("armed", [(1, 0), (0, 1)]))
        same = await placement_of(_topology("armed", [(1, 1), (0, 0)]))
        steady = await placement_of(_topology("steady", [(0, 0), (1, 0)]))
        for key_hash in (0, 1, 2**63, 2**64 - 1):
            assert placement.owners(key_hash) == (0, 1)
            assert placement.owner_ids(key_hash) == ("shard-0", "shard-1")
            assert same.owners(key_hash) == (0,)
            assert steady.owner_ids(key_hash) == ("shard-1",)

    asyncio.run(run())


def test_topology_waits_for_batches_and_batches_for_a_topology(migrated_url: str) -> None:
    """Tried while a batch is in flight, the lock is not there; while it is held, a batch begins after it, and reads the
    epoch that it brought."""

    async def run(database: Database) -> None:
        await service.set_topology(database, [Shard(id="shard-0", url=URLS[0])])
        async with database.transaction() as batch, database.transaction() as change:
            await store.lock_placement_shared(batch)
            assert not await store.try_lock_placement(change)
        async with database.transaction() as batch:
            async with service.placement_locked(database) as change:
                waiting = asyncio.ensure_future(store.lock_placement_shared(batch))
                await service.publish(change, Topology(epoch=2, shards=(Shard(id="shard-0", url=URLS[1]),)))
                assert not waiting.done()
            await waiting
            assert await store.current_epoch(batch) == 2

    with_database(migrated_url, run)


def test_topology_is_refused_when_batches_do_not_end(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed; other batches go on meanwhile."""
    monkeypatch.setattr(service, "LOCK_WAIT_S", 0.3)

    async def run(database: Database) -> None:
        async with database.transaction() as batch:
            await store.lock_placement_shared(batch)
            change = asyncio.create_task(service.set_topology(database, [Shard(id="shard-0", url=URLS[0])]))
            while not change.done():
                async with database.transaction() as other, asyncio.timeout(DEADLINE_S):
                    await store.lock_placement_shared(other)
            with pytest.raises(Error, match="without an end"):
                change.result()
        async with database.connection() as connection:
            assert await store.current_epoch(connection) == 0

    with_database(migrated_url, run)


def test_many_who_wait_for_batches_leave_the_database_to_others(migrated_url: str) -> None:
    """As many as the pool has connections, while a batch does not end: whoever else needs one gets it."""

    async def change(database: Database) -> None:
        async with service.placement_locked(database):
            pass

    async def run(database: Database) -> None:
        async with database.transaction() as batch:
            await store.lock_placement_shared(batch)
            changes = [asyncio.create_task(change(database)) for _ in range(POOL_SIZE_MAX)]
            for _ in range(20):
                async with database.connection() as connection:
                    assert await connection.fetchval("SELECT 1") == 1
            assert not any(task.done() for task in changes)
        await asyncio.gather(*changes)

    with_database(migrated_url, run)


def test_whoever_stops_with_the_lock_loses_it(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped between the lock and the commit holds up the batches for a bounded time."""
    monkeypatch.setattr(service, "IDLE_MS", 100)

    async def run(database: Database) -> None:
        async def stop_with_the_lock() -> None:
            async with service.placement_locked(database) as change:
                async with database.transaction() as batch, asyncio.timeout(DEADLINE_S):
                    await store.lock_placement_shared(batch)
                await service.publish(change, Topology(epoch=1, shards=(Shard(id="shard-0", url=URLS[0]),)))

        with pytest.raises(Error, match="PostgreSQL") as caught:
            await stop_with_the_lock()
        assert caught.value.code == "database_unavailable"
        async with database.connection() as connection:
            assert await store.current_epoch(connection) == 0

    with_database(migrated_url, run)


def test_projector_that_is_stopped_over_a_change_changes_nothing(
    database_url: str, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """It wakes with a batch of old versions, planned for an old topology.

    1. a projector takes version 2 of some links and is stopped before it writes;
    2. the others go on: version 3 is projected by another one;
    3. a topology with a second ring is wanted; PostgreSQL ends the stopped one's transaction, and it is in force;
    4. what the stopped one held is projected again, to both rings;
    5. it wakes and writes version 2 to the old owners, which have version 3; its commit fails.
    """
    servers = [*shards, redis_factory()]

    async def work(scene: Scene) -> None:
        for code in CODES:
            await scene.put(code, "https://a.example/1")
        await scene.project()
        for code in CODES:
            await scene.put(code, "https://a.example/2")
        with _stopped_projector(database_url) as projector:
            for code in CODES:
                await scene.put(code, "https://a.example/3")
            result = await scene.project()
            assert {row.write.version for row in result.finished} == {3}
            # One try of the lock after the other; PostgreSQL ends the stopped one's transaction by its own clock.
            assert projection_store.IDLE_IN_TRANSACTION_MS / 1000 < service.LOCK_WAIT_S
            await arm(scene, servers)
            await (await adopt(scene, servers[2])).close()
            assert (await scene.project()).taken == len(CODES)
            before = await scene.rows("SELECT shard_id, seq, link_id, version FROM projected ORDER BY 1, 2, 3")
            assert _wake(projector) == "database_unavailable"
            assert await scene.rows("SELECT shard_id, seq, link_id, version FROM projected ORDER BY 1, 2, 3") == before
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]
        for code, shard_ids in (await owners(scene)).items():
            for shard_id in shard_ids:
                found = held([servers[int(shard_id[-1])]], code)
                assert isinstance(found, LinkRecord)
                assert (found.version, found.target) == (3, b"https://a.example/3")

    play(database_url, shards, work)


@contextmanager
def _stopped_projector(url: str) -> "Iterator[subprocess.Popen[str]]":
    """Started, and stopped in the middle of its first batch; killed at the end if it is still there."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.control.stopped_projector", url],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        yield process
    finally:
        process.kill()
        process.communicate()


def _wake(process: "subprocess.Popen[str]") -> str:
    """Let it go on; what it says at its end."""
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=DEADLINE_S)
    return output.strip()


def test_addresses_may_change_and_nothing_else(migrated_url: str) -> None:
    """Weights and places stay; while links move, or are cleaned up after a move, nothing may change."""

    async def run(database: Database) -> None:
        await service.set_topology(database, [Shard(id="shard-0", url=URLS[0]), Shard(id="shard-1", url=URLS[1])])
        held = Topology(
            epoch=2,
            shards=(
                Shard(id="shard-0", url=URLS[0], weight=2.0),
                Shard(id="shard-1", url=URLS[1], place="shard-9"),
            ),
        )
        await _publish(database, held)
        moved = [Shard(id="shard-0", url="redis://10.0.0.3", replicas=("redis://10.0.0.4",)), held.shards[1]]
        following = await service.set_topology(database, moved)
        assert following.epoch == 3
        assert [(shard.weight, shard.ring_name) for shard in following.shards] == [(2.0, "shard-0"), (1.0, "shard-9")]
        assert following.shards[0].replicas == ("redis://10.0.0.4",)
        assert await service.set_topology(database, moved) == following

        for shards in (
            [Shard(id="shard-0", url=URLS[0], weight=3.0), held.shards[1]],
            [held.shards[0], Shard(id="shard-1", url=URLS[1], place="shard-8")],
            [held.shards[0]],
        ):
            await _refused(database, shards, "topology_moves")
        same = [Shard(id="shard-0", url=URLS[0], replicas=(URLS[1],)), held.shards[1]]
        await _refused(database, same, "topology_invalid")

        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO moves (kind, shard_id, phase, before, after, plan) "
                "VALUES ('add', 'shard-2', 'cleaning', '', '', '{}')"
            )
        await _refused(database, list(held.shards), "move_under_way")
        async with database.connection() as connection:
            await connection.execute("UPDATE moves SET ended_at = now()")
        await service.set_topology(database, list(held.shards))
        armed = (Shard(id="shard-0", url=URLS[0], weight=2.0, second_weight=1.0), held.shards[1])
        await _publish(database, Topology(epoch=5, mode="armed", shards=armed))
        await _refused(database, moved, "move_under_way")

    with_database(migrated_url, run)


async def _publish(database: Database, topology: Topology) -> None:
    async with service.placement_locked(database) as connection:
        await service.publish(connection, topology)


async def _refused(database: Database, shards: list[Shard], code: str) -> None:
    before = await service.get_topology(database)
    with pytest.raises(Error) as caught:
        await service.set_topology(database, shards)
    assert caught.value.code == code
    assert await service.get_topology(database) == before


def test_epoch_follows_epoch(migrated_url: str) -> None:
    """A topology that was made for another one than that in force is not published."""

    async def run(database: Database) -> None:
        topology = Topology(epoch=2, shards=(Shard(id="shard-0", url=URLS[0]),))
        with pytest.raises(ValueError, match="cannot follow"):
            await _publish(database, topology)

    with_database(migrated_url, run)


def test_shards_that_join_are_marked(database_url: str, shards: list[RedisServer], redis_factory: RedisFactory) -> None:
    """Only those that are named, and only when they are new."""
    servers = [*shards, redis_factory()]

    async def work(scene: Scene) -> None:
        weights = [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0)]
        await scene.set_topology(("shard-0", NEW), mode="armed", shards=shards_of(servers, weights))
        joining = await scene.rows("SELECT id, is_joining FROM shards ORDER BY id")
        assert joining == [("shard-0", False), ("shard-1", False), (NEW, True)]
        await scene.put("abc", "https://a.example/")
        assert held_target(servers, "abc") is None

    play(database_url, shards, work)
