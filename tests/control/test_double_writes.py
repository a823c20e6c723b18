"""While there are two rings, a change reaches its owners on both, whichever of them is away."""

import asyncio

import pytest

from control.projection import full, publication, recovery, store
from control.projection.batch import BATCH_ROWS_MAX
from control.projection.decision import decide
from control.projection.rebuild import rebuild
from control.projection.shard_writer import connect_writer
from control.shards.current import placement_of
from tests.control.crashes import crash, log_size
from tests.control.rings import NEW, adopt, arm, owners
from tests.control.scene import Scene, play
from tests.control.station import DEADLINE_S, held_target, is_trusted
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer

CODES = [f"c{number}" for number in range(40)]
OLD, CHANGED = "https://a.example/old", "https://a.example/new"


@pytest.fixture
def servers(shards: list[RedisServer], redis_factory: RedisFactory) -> list[RedisServer]:
    """The two shards and a third server."""
    return [*shards, redis_factory()]


async def _put_all(scene: Scene, target: str) -> None:
    for code in CODES:
        await scene.put(code, target)


async def _assert_written(scene: Scene, servers: list[RedisServer], target: str) -> None:
    """Every owner of every link has it, and has it noted."""
    notes = await scene.rows(
        "SELECT DISTINCT code, shard_id FROM projected p JOIN links l ON l.id = link_id AND l.version = p.version"
    )
    by_code = await owners(scene)
    assert set(notes) == {(code, shard_id) for code, shard_ids in by_code.items() for shard_id in shard_ids}
    for code, shard_ids in by_code.items():
        for shard_id in shard_ids:
            assert held_target([servers[int(shard_id[-1])]], code) == target, (code, shard_id)
    assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]


def test_change_is_written_to_its_owners_on_both_rings(database_url: str, servers: list[RedisServer]) -> None:
    """Under either order of the rings; a link that does not move is written once."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        await _put_all(scene, OLD)
        result = await scene.project()
        by_code = await owners(scene)
        moved = {code for code, ids in by_code.items() if len(ids) == 2}
        assert 0 < len(moved) < len(CODES)
        assert all(by_code[code][1] == NEW for code in moved)
        assert sum(len(batch.writes) for batch in result.numbered) == len(CODES) + len(moved)
        assert len(result.finished) == len(CODES)
        await _assert_written(scene, servers, OLD)

        await arm(scene, servers, "cut-over")
        assert all(ids[0] == NEW for ids in (await owners(scene)).values() if len(ids) == 2)
        await _put_all(scene, CHANGED)
        await scene.project()
        await _assert_written(scene, servers, CHANGED)

    play(database_url, servers[:2], work)


@pytest.mark.parametrize("away", [0, 2], ids=["old owner", "new owner"])
def test_change_waits_for_the_owner_that_is_away(database_url: str, servers: list[RedisServer], away: int) -> None:
    """The other owner has it at once, noted; the row stays until both have it, through a repair of the one."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        servers[away].kill()
        await _put_all(scene, OLD)
        result = await scene.project()
        by_code = await owners(scene)
        lacking = {code for code, ids in by_code.items() if f"shard-{away}" in ids}
        assert 0 < result.parked == len(lacking) < len(CODES)
        assert len(result.finished) == len(CODES) - len(lacking)
        for code in lacking:
            for shard_id in by_code[code]:
                if shard_id != f"shard-{away}":
                    assert held_target([servers[int(shard_id[-1])]], code) == OLD
        waiting = await scene.rows("SELECT DISTINCT waiting_shard FROM outbox")
        assert waiting == [(f"shard-{away}",)]

        servers[away].start()
        await _repair(scene, servers[away], f"shard-{away}")
        await _project_all(scene)
        await _assert_written(scene, servers, OLD)

    play(database_url, servers[:2], work)


async def _repair(scene: Scene, server: RedisServer, shard_id: str) -> None:
    """What the shard's keeper does, whatever it finds."""
    shard = await connect_writer(shard_id, server.url)
    async with scene.database.dedicated() as connection:
        observed = await publication.observe(shard)
        state = (await store.states(connection, [shard_id]))[shard_id]
        need = decide(state, observed, (await scene.topology()).epoch, 1)
        if need == "tail":
            await recovery.redo_tail(connection, shard, observed, lambda: None)
        elif need == "adopt":
            await recovery.begin_fill(connection, shard)
        else:
            await recovery.fill(connection, shard, lambda: None, lambda _: None)
    await shard.close()


async def _project_all(scene: Scene) -> None:
    """Batches, and what keepers of healthy shards do for rows that wait, until nothing is left."""
    async with asyncio.timeout(DEADLINE_S):
        while await scene.rows("SELECT FROM outbox"):
            await scene.wait_connected()
            for shard_id in ("shard-0", "shard-1", NEW):
                async with scene.database.connection() as connection:
                    await recovery.unpark(connection, shard_id, lambda: None)
            await scene.project()


def test_tail_that_is_lost_while_both_rings_are_written_is_redone(
    database_url: str, servers: list[RedisServer]
) -> None:
    """An old owner's log ends in the past, and the new owner of some of its links is down meanwhile.

    1. links are written to both owners; the old one loses its tail with a crash, and the new one dies;
    2. the keeper of the old one writes again what it lost there; the notes say that the other owner was written;
    3. the old one is trusted again, though the new one is not there.
    """

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        await _put_all(scene, OLD)
        await scene.project()
        length = log_size(servers[0])
        await _put_all(scene, CHANGED)
        await scene.project()
        crash(servers[0], length)
        servers[2].kill()
        by_code = await owners(scene)
        lost = {code for code, ids in by_code.items() if "shard-0" in ids}
        assert any(NEW in by_code[code] for code in lost)
        assert all(held_target([servers[0]], code) == OLD for code in lost)
        await _repair(scene, servers[0], "shard-0")
        assert is_trusted(servers[0])
        assert all(held_target([servers[0]], code) == CHANGED for code in lost)
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]

    play(database_url, servers[:2], work)


def test_change_waits_for_both_owners_by_turns(database_url: str, servers: list[RedisServer]) -> None:
    """Both are down; the repair of the first one leaves its row to the second one, which no note says was written."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        servers[0].kill()
        servers[2].kill()
        await _put_all(scene, OLD)
        await scene.project()
        by_code = await owners(scene)
        shared = {code for code, ids in by_code.items() if ids == ("shard-0", NEW)}
        assert shared
        servers[0].start()
        await _repair(scene, servers[0], "shard-0")
        assert is_trusted(servers[0])
        assert all(held_target([servers[0]], code) == OLD for code in shared)
        waiting = {code for code, ids in by_code.items() if NEW in ids}
        assert await scene.rows("SELECT waiting_shard, count(*) FROM outbox GROUP BY 1") == [
            (NEW, len(waiting) + len(shared))
        ]
        servers[2].start()
        await _repair(scene, servers[2], NEW)
        await _project_all(scene)
        await _assert_written(scene, servers, OLD)

    play(database_url, servers[:2], work)


def test_change_that_lacks_both_owners_waits_for_each(database_url: str, servers: list[RedisServer]) -> None:
    """The old one is dead, and the new one cannot be written for a moment: it must not be read without the change.

    1. a batch finds the old owner dead, and the new one locked by its keeper, which takes a number there;
    2. the new one can be written again; edges are told to read it, because the old one is proven dead.
    """

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await (await adopt(scene, servers[2])).close()
        await _put_all(scene, OLD)
        await scene.project()
        servers[0].kill()
        for turn in range(3):
            await _put_all(scene, f"{CHANGED}/{turn}")
            async with scene.database.transaction() as keeper:
                await store.lock_batches(keeper, NEW)
                await scene.project()
        by_code = await owners(scene)
        shared = {code for code, ids in by_code.items() if ids == ("shard-0", NEW)}
        assert shared
        assert await scene.rows("SELECT count(*) FROM outbox WHERE waiting_shard = 'shard-0'") == [
            (3 * sum("shard-0" in ids for ids in by_code.values()),)
        ]
        lacking = len([code for code, ids in by_code.items() if ids == ("shard-1", NEW)])
        assert await scene.rows("SELECT count(*) FROM outbox WHERE waiting_shard = $1", NEW) == [
            (3 * lacking + len(shared),)
        ], "once a link, however often it changes"
        async with scene.database.connection() as connection:
            await recovery.unpark(connection, NEW, lambda: None)
        await scene.project()
        assert {held_target([servers[2]], code) for code in shared} == {f"{CHANGED}/2"}
        servers[0].start()
        await _repair(scene, servers[0], "shard-0")
        await _project_all(scene)
        await _assert_written(scene, servers, f"{CHANGED}/2")

    play(database_url, servers[:2], work)


def test_fill_and_rebuild_write_the_owners_on_both_rings(database_url: str, servers: list[RedisServer]) -> None:
    """An empty shard gets the links of both rings; the shard that joins is written and not called complete."""

    async def work(scene: Scene) -> None:
        await _put_all(scene, OLD)
        topology = await arm(scene, servers)
        await rebuild(scene.database, lambda _: None)
        state = "SELECT is_complete, is_joining FROM shards WHERE id = $1"
        assert await scene.rows(state, NEW) == [(False, True)]
        assert await scene.rows(state, "shard-0") == [(True, False)]
        by_code = await owners(scene)
        assert all(held_target([servers[2]], code) == OLD for code, ids in by_code.items() if NEW in ids)

        shard = await connect_writer("shard-1", servers[1].url)
        await shard.execute("FLUSHALL")
        async with scene.database.connection() as connection:
            await full.project(connection, await placement_of(topology), [shard], lambda _: None)
        await shard.close()
        assert all((held_target([servers[1]], code) == OLD) == ("shard-1" in ids) for code, ids in by_code.items())

    play(database_url, servers[:2], work)


def test_rows_of_a_large_backlog_for_both_rings_all_arrive(database_url: str, servers: list[RedisServer]) -> None:
    """More rows than a batch takes, half of them parked on the way."""

    async def work(scene: Scene) -> None:
        await arm(scene, servers)
        await scene.rows(
            "INSERT INTO outbox (link_id, version) SELECT 1, 1 FROM generate_series(1, $1::int)", BATCH_ROWS_MAX + 10
        )
        await _put_all(scene, OLD)  # the new shard is not adopted yet: what it owns waits
        while (await scene.project()).taken:
            pass
        assert await scene.rows("SELECT DISTINCT waiting_shard FROM outbox") == [(NEW,)]
        await (await adopt(scene, servers[2])).close()
        await _project_all(scene)
        await _assert_written(scene, servers, OLD)

    play(database_url, servers[:2], work)
