"""The outbox reaches the shards, whatever fails, doubles or comes late."""

import asyncio

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.errors import Error
from control.projection.model import Write
from control.projection.shard_writer import connect_writer, write_batch
from tests.control.scene import Scene, play
from tests.control.station import held, held_target
from tests.stack.server import RedisServer
from wire import keys, record
from wire.record import LinkRecord, Tombstone


def test_batch_killed_before_its_commit_is_done_again(database_url: str, shards: list[RedisServer]) -> None:
    """The shard has the record, PostgreSQL still the outbox row: it is written once more, under a new number.

    1. a batch writes version 1 to the shard under number n;
    2. its process dies before the commit;
    3. the next batch finds the same row; the shard has version 1, so nothing is written;
    4. its number n+1 is noted, so that losing n+1 from the shard's log redoes what n wrote as well.
    """

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/")
        async with scene.database.dedicated() as connection:
            transaction = connection.transaction()
            await transaction.start()
            (lost,) = (await scene.project_in(connection)).numbered
            assert held_target(shards, "abc") == "https://a.example/"
        async with asyncio.timeout(10):
            # The server rolls back some time after the connection's end; until then the row is skipped as locked.
            while not (batch := await scene.project()).numbered:  # noqa: ASYNC110  the server tells nobody
                await asyncio.sleep(0.01)
        (again,) = batch.numbered
        assert again.number == lost.number + 1
        assert await scene.rows("SELECT seq, version FROM projected") == [(again.number, 1)]
        assert (await scene.project()).taken == 0

    play(database_url, shards, work)


def test_two_projectors_at_once_share_the_work(database_url: str, shards: list[RedisServer]) -> None:
    """No row is done twice, none is left, no number is used twice."""

    async def work(scene: Scene) -> None:
        codes = [f"c{number}" for number in range(60)]
        for code in codes:
            await scene.put(code, f"https://example.com/{code}")
        async with scene.database.transaction() as one, scene.database.transaction() as other:
            results = await asyncio.gather(_take_half(scene, one), _take_half(scene, other))
        assert sum(results) == 60
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]
        assert await scene.rows("SELECT count(*), count(DISTINCT link_id) FROM projected") == [(60, 60)]
        assert all(held_target(shards, code) == f"https://example.com/{code}" for code in codes)

    play(database_url, shards, work)


async def _take_half(scene: Scene, connection: object) -> int:
    return (await scene.project_in(connection)).taken


def test_change_between_the_read_and_the_write_is_not_overwritten(database_url: str, shards: list[RedisServer]) -> None:
    """A batch that read version 1 and was slow to write it loses against version 2, and against its tombstone."""

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/1")
        (slow,) = (await scene.project()).numbered
        shard = scene.writers.get(slow.shard_id)
        assert shard is not None
        for change in (scene.put("abc", "https://a.example/2"), scene.delete("abc")):
            await change
            await scene.project()
            before = held(shards, "abc")
            await write_batch(shard, slow.writes, 0)
            assert held(shards, "abc") == before
        assert isinstance(before, Tombstone)

    play(database_url, shards, work)


def test_deleted_and_created_anew_before_projection_is_the_new_link(
    database_url: str, shards: list[RedisServer]
) -> None:
    """Three outbox rows, one state."""

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/old")
        await scene.delete("abc")
        await scene.put("abc", "https://a.example/new")
        result = await scene.project()
        assert (result.taken, result.set_aside) == (3, 0)
        found = held(shards, "abc")
        assert isinstance(found, LinkRecord)
        assert (found.target, found.version) == (b"https://a.example/new", 3)
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]

    play(database_url, shards, work)


def test_row_that_cannot_be_projected_is_set_aside_and_blocks_nobody(
    database_url: str, shards: list[RedisServer]
) -> None:
    """It keeps its reason, is tried again later, and goes through once it can."""

    async def work(scene: Scene) -> None:
        await scene.put("poison", "https://a.example/")
        await scene.rows("ALTER TABLE links DROP CONSTRAINT links_recordable")
        await scene.rows("UPDATE links SET not_before = '1900-01-01' WHERE code = 'poison'")
        await scene.put("good", "https://a.example/")
        result = await scene.project()
        assert (result.taken, result.set_aside) == (2, 1)
        assert held_target(shards, "good") == "https://a.example/"
        ((reason, attempts, is_later),) = await scene.rows("SELECT reason, attempts, retry_at > now() FROM outbox")
        assert ("instant" in str(reason), attempts, is_later) == (True, 1, True)
        assert (await scene.project()).taken == 0

        await scene.rows("UPDATE links SET not_before = NULL WHERE code = 'poison'")
        await scene.rows("UPDATE outbox SET retry_at = NULL")
        await scene.project()
        assert held_target(shards, "poison") == "https://a.example/"
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]

    play(database_url, shards, work)


def test_stalled_shard_holds_up_the_others_once(database_url: str, shards: list[RedisServer]) -> None:
    """Its rows are parked; the other shard's rows go through, and the next batch does not wait any more."""

    async def work(scene: Scene) -> None:
        codes = [f"c{number}" for number in range(40)]
        shards[0].pause()
        try:
            for round_number in range(2):
                for code in codes:
                    await scene.put(code, f"https://a.example/{round_number}")
                result = await scene.project()
                assert 0 < result.parked < len(codes)
                assert [numbered.shard_id for numbered in result.numbered] == ["shard-1"]
                assert scene.writers.get("shard-0") is None
        finally:
            shards[0].resume()
        parked = await scene.rows("SELECT DISTINCT waiting_shard FROM outbox")
        assert parked == [("shard-0",)]

    play(database_url, shards, work)


def test_batch_planned_for_an_older_topology_writes_nothing(database_url: str, shards: list[RedisServer]) -> None:
    """Its shard has the fence of a later epoch: the link may have moved away and been removed there meanwhile."""

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/")
        (batch,) = (await scene.project()).numbered
        server = shards[int(batch.shard_id[-1])]
        with redis.Redis.from_url(server.url) as client:
            client.delete(keys.link_key(1, "abc"))
        for epoch, is_written in ((0, False), (1, True)):
            shard = await connect_writer(batch.shard_id, server.url)
            if is_written:
                await write_batch(shard, batch.writes, 0, epoch)
            else:
                with pytest.raises(Error, match="later epoch"):
                    await write_batch(shard, batch.writes, 0, epoch)
            assert (held([server], "abc") is not None) == is_written
            await shard.close()

    play(database_url, shards, work)


VERSIONS = st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VERSIONS)
def test_any_order_of_writes_ends_with_the_highest_version(
    shards: list[RedisServer], writes: list[tuple[int, bool]]
) -> None:
    """Against the obvious oracle: a later version wins, of equal ones the first."""

    async def run() -> None:
        shard = await connect_writer("shard-0", shards[0].url)
        try:
            await shard.execute("FLUSHALL")
            for number, (version, is_tombstone) in enumerate(writes):
                link_id = number + 1
                item = Tombstone(link_id=link_id, version=version) if is_tombstone else _link(link_id, version)
                data = record.encode(item)
                await write_batch(shard, [Write(keys.link_key(1, "abc"), data, link_id, version)], 0)
        finally:
            await shard.close()

    asyncio.run(run())
    highest = max(version for version, _ in writes)
    first = next(number for number, (version, _) in enumerate(writes) if version == highest)
    found = held(shards, "abc")
    assert found is not None
    assert (found.version, found.link_id, isinstance(found, Tombstone)) == (highest, first + 1, writes[first][1])
    with redis.Redis.from_url(shards[0].url) as client:
        ttl_ms = client.pttl(keys.link_key(1, "abc"))
    assert (ttl_ms > 0) == writes[first][1], "only tombstones pass away"


def _link(link_id: int, version: int) -> LinkRecord:
    return LinkRecord(link_id=link_id, version=version, status=302, target=b"https://a.example/")


def test_batch_numbers_never_fall_below_their_base(shards: list[RedisServer]) -> None:
    """A shard that has lost numbers from its log goes on above the highest that was ever used."""

    async def run() -> list[int]:
        shard = await connect_writer("shard-0", shards[0].url)
        try:
            return [await write_batch(shard, [], base) for base in (0, 0, 7, 7, 3, 100)]
        finally:
            await shard.close()

    assert asyncio.run(run()) == [1, 2, 8, 9, 10, 101]
