"""Removing what shards do not own any more, after a move and after an abort."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest
import redis

from control.db import Connection
from control.moves import misplaced, throttle
from control.moves.carry import copy
from control.moves.clean import remove
from control.moves.connections import connect_mover
from control.moves.verify import verify
from control.moves.work import Cursor, Pace, Stopped, Waits
from tests.control.moves.ground import Ground, add_one, play, raise_fence, records
from tests.control.station import fence_of
from tests.stack.server import RedisServer
from wire import keys
from wire.topology import Shard, Topology

CODES = [f"c{number}" for number in range(1500)]
SMALL = Pace(links_s=4000, latency_s=5.0)


pytestmark = pytest.mark.usefixtures("small_pages")


def remove_one(servers: Sequence[RedisServer]) -> tuple[Topology, Topology]:
    """The first server leaves the others."""
    shards = tuple(Shard(id=f"shard-{number}", url=server.url) for number, server in enumerate(servers))
    before = Topology(epoch=1, shards=shards, virtual_nodes=16)
    return before, replace(before, shards=shards[1:])


def test_the_old_owners_keep_nothing_of_what_has_moved(database_url: str, three: list[RedisServer]) -> None:
    """Keys without a row go with the others; the others stay, and so does what is no link's."""
    others = {"l": b"1", "links:1": b"1", "pm:other": b"1"}

    async def work(ground: Ground) -> None:
        await _moved(ground)
        with redis.Redis.from_url(three[0].url) as client:
            client.mset({keys.link_key(1, f"x{number}"): b"nobody's" for number in range(100)})
            client.mset(others)
        assert await _misplaced(ground) > 100
        done = await ground.finish(remove)
        assert done.detail["removed"] == ground.progress[-1].counts["removed"] > 100
        assert await _misplaced(ground) == 0
        assert ground.progress[-1].fraction == 1.0
        with redis.Redis.from_url(three[0].url) as client:
            assert client.delete(*others) == len(others)
            client.delete(*(keys.link_key(1, f"x{number}") for number in range(100)))
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_it_goes_on_wherever_it_was_cut_off(database_url: str, three: list[RedisServer]) -> None:
    """From the cursor that was reported last."""

    async def work(ground: Ground) -> None:
        async def end(number: int, _: Cursor) -> None:
            if number == 3:
                raise Stopped

        await _moved(ground)
        before = await _misplaced(ground)
        done = await ground.finish(remove, end, pace=SMALL)
        assert ground.calls > 2
        assert done.detail["removed"] <= before
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_fence_of_a_later_topology_stops_it(database_url: str, three: list[RedisServer]) -> None:
    """At once, in the script: what a later move may have put there is not removed."""
    raised: list[int] = []

    async def work(ground: Ground) -> None:
        async def raise_fences(number: int, _: Cursor) -> None:
            if number == 2:
                await ground.background.stop()  # the keepers would lower it again
                for server in three:
                    raise_fence(server)
                raised.append(sum(len(records(server)) for server in three))

        await _moved(ground)
        waits = await ground.work(remove, raise_fences, pace=SMALL)
        assert isinstance(waits, Waits)
        assert "fence" in waits.reason
        assert raised == [sum(len(records(server)) for server in three)]
        assert min(waits.leftovers.values()) > 0

    play(database_url, three, add_one(three), CODES, work)


def test_a_shard_that_is_down_keeps_no_other_waiting(database_url: str, three: list[RedisServer]) -> None:
    """What it still holds is said, and removed when it is back."""

    async def work(ground: Ground) -> None:
        await _moved(ground)
        three[0].stop()
        waits = await ground.work(remove)
        assert isinstance(waits, Waits)
        assert list(waits.leftovers) == ["shard-0"]
        assert waits.leftovers["shard-0"] > 0
        placement = await ground.placement()
        assert await _misplaced_at(three[1], placement.index_of("shard-1"), ground) == 0
        three[0].start()
        await ground.finish(remove)
        assert await _misplaced(ground) == 0
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_shard_that_was_restarted_is_looked_through_anew(database_url: str, three: list[RedisServer]) -> None:
    """Its log may lack the last removals."""
    reports = count()

    async def work(ground: Ground) -> None:
        async def restart(_: int, __: Cursor) -> None:
            if next(reports) == 3:
                three[0].kill()
                three[0].start()

        await _moved(ground)
        await ground.finish(remove, restart, pace=SMALL)
        assert ground.calls > 1
        assert await _misplaced(ground) == 0
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_shard_that_leaves_is_emptied_and_retired(database_url: str, three: list[RedisServer]) -> None:
    """It says that it is not complete, before the first link goes, and where the others are."""

    async def work(ground: Ground) -> None:
        seen: list[tuple[str, int]] = []

        async def look(_: int, __: Cursor) -> None:
            found = fence_of(three[0])
            assert found is not None
            seen.append((found.state, found.epoch))

        leaving = ground.before.shards[:1]
        await _moved(ground)
        assert len(records(three[0])) > 100
        await ground.finish(remove, look, pace=SMALL, leaving=leaving)
        assert records(three[0]) == {}
        assert set(seen) == {("filling", ground.topology.epoch)}
        with redis.Redis.from_url(three[0].url) as client:
            assert client.exists(keys.TOPOLOGY, keys.DOMAINS, keys.FENCE) == 3
        assert await ground.rows("SELECT id FROM shards ORDER BY id") == [("shard-1",), ("shard-2",)]
        assert await ground.rows("SELECT 1 FROM projected WHERE shard_id = 'shard-0'") == []
        await ground.assert_placed()

    play(database_url, three, remove_one(three), CODES, work)


def test_shard_that_was_given_up_is_forgotten(database_url: str, three: list[RedisServer]) -> None:
    """It cannot be emptied; changes that wait for it reach their other owners. Only the move's driver forgets it."""

    async def work(ground: Ground) -> None:
        async def superseded(_: Connection) -> None:
            raise Stopped

        await _moved(ground)
        three[0].kill()
        await ground.rows("INSERT INTO outbox (link_id, version, waiting_shard) VALUES (1, 1, 'shard-0')")
        leaving, lost = ground.before.shards[:1], frozenset(("shard-0",))
        with pytest.raises(Stopped):
            await ground.work(remove, hold=superseded, leaving=leaving, lost=lost)
        assert await ground.rows("SELECT count(*) FROM shards") == [(3,)]
        assert await ground.rows("SELECT waiting_shard FROM outbox") == [("shard-0",)]
        await ground.finish(remove, leaving=leaving, lost=lost)
        await ground.wait_projected()
        assert await ground.rows("SELECT id FROM shards ORDER BY id") == [("shard-1",), ("shard-2",)]
        assert await ground.rows("SELECT 1 FROM projected WHERE shard_id = 'shard-0'") == []

    play(database_url, three, remove_one(three), CODES, work)


def test_what_was_copied_is_removed_after_an_abort(database_url: str, three: list[RedisServer]) -> None:
    """From the shard that joined, which is retired, and from nowhere else."""

    async def work(ground: Ground) -> None:
        await ground.enter("copying")
        await ground.finish(copy)
        await ground.enter("compensating")
        await ground.finish(remove, pace=SMALL, leaving=ground.after.shards[2:])
        assert records(three[2]) == {}
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_what_was_copied_is_removed_from_shards_that_stay(database_url: str, three: list[RedisServer]) -> None:
    """An aborted removal of a shard leaves nothing behind on those that were to take its links."""

    async def work(ground: Ground) -> None:
        await ground.enter("copying")
        await ground.finish(copy)
        await ground.enter("compensating")
        assert await _misplaced(ground) > 100
        await ground.finish(remove, pace=SMALL)
        assert await _misplaced(ground) == 0
        await ground.assert_placed()

    play(database_url, three, remove_one(three), CODES, work)


def test_the_rate_is_kept(database_url: str, three: list[RedisServer]) -> None:
    """That of removing, which is set apart from that of copying."""

    async def work(ground: Ground) -> None:
        await _moved(ground)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        done = await ground.finish(remove, pace=Pace(links_s=1000, latency_s=5.0))
        assert loop.time() - begun_s >= done.detail["removed"] / 1000 - throttle.BURST_S

    play(database_url, three, add_one(three), CODES, work)


async def _moved(ground: Ground) -> None:
    """Through all phases up to cleaning."""
    await ground.enter("copying")
    await ground.finish(copy)
    ground.cursor = {}
    await ground.finish(verify)
    await ground.enter("cutting_over")
    await ground.enter("cleaning")
    ground.progress.clear()
    ground.calls = 0


async def _misplaced(ground: Ground) -> int:
    shards = ground.topology.shards
    return sum([await _misplaced_at(ground.servers[s.id], at, ground) for at, s in enumerate(shards)])


async def _misplaced_at(server: RedisServer, index: int, ground: Ground) -> int:
    connection = await connect_mover(Shard(id="any", url=server.url))
    found = await misplaced.misplaced(connection, await ground.placement(), index)
    await connection.close()
    assert len(found.sample) == min(10, found.count)
    assert found.of >= found.count
    return found.count
