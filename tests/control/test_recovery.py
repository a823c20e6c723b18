"""Shards that were killed, emptied or replaced are repaired exactly, and trusted only then (I4, I5)."""

import asyncio
import os

import pytest
import redis

from control.errors import Error
from control.projection import publication, recovery, store
from control.projection.decision import decide
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from tests.control.conftest import StationFactory
from tests.control.crashes import crash, log_of, log_size
from tests.control.scene import Scene, play
from tests.control.station import Station, eventually, fence_of, fetch, held, held_target, is_trusted
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys
from wire.record import LinkRecord, Tombstone

REVISION = 1  # of the table of domains
CODES = [f"c{number}" for number in range(30)]


def _lifetime(shards: list[RedisServer], code: str) -> int | None:
    found = held(shards, code)
    return found.cache_max_age_s if isinstance(found, LinkRecord) else None


def test_shard_killed_with_a_lost_tail_is_recovered_exactly(station: Station, shards: list[RedisServer]) -> None:
    """Its log ends in the past; what was written after that is written again before it is trusted, and no more."""
    for code in CODES:
        station.create("https://a.example/old", code=code)
    lengths = [log_size(server) for server in shards]
    for code in CODES[:10]:
        station.patch(code, target="https://a.example/new", cache_max_age_s=60)
    station.client.delete(f"/api/v1/links/{CODES[10]}?wait=edges")
    station.create("https://a.example/born", code="born")
    for server, length in zip(shards, lengths, strict=True):
        server.kill()
        os.truncate(log_of(server), length)
    for server in shards:
        server.start()
    station.wait_trusted()

    assert [held_target(shards, code) for code in CODES[:10]] == ["https://a.example/new"] * 10
    assert [_lifetime(shards, code) for code in CODES[:12]] == [60] * 10 + [None] * 2
    assert isinstance(held(shards, CODES[10]), Tombstone)
    assert [held_target(shards, code) for code in CODES[11:]] == ["https://a.example/old"] * 19
    assert held_target(shards, "born") == "https://a.example/born"
    log = station.log.read_text()
    assert log.count("shard came back and is complete") == 2, "recovered from the tail, not filled"
    station.patch(CODES[0], target="https://a.example/after")
    assert held_target(shards, CODES[0]) == "https://a.example/after"


def test_shard_that_lost_nothing_redoes_nothing(station: Station, shards: list[RedisServer]) -> None:
    """A clean restart costs a new fence."""
    station.create("https://a.example/", code="abc")
    ((floors,),) = fetch(station.database_url, "SELECT array_agg(floor_seq ORDER BY id) FROM shards")
    for server in shards:
        server.stop()
        server.start()
    station.wait_trusted()
    assert held_target(shards, "abc") == "https://a.example/"
    assert station.log.read_text().count("links_redone=0") == 2
    assert fetch(station.database_url, "SELECT array_agg(floor_seq ORDER BY id) FROM shards") == [(floors,)]


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHALL SYNC"])
def test_emptied_shard_is_filled_again(station: Station, shards: list[RedisServer], command: str) -> None:
    """The same process, without a fence: nothing of it is final until everything is back."""
    for code in CODES:
        station.create("https://a.example/", code=code, cache_max_age_s=60)
    station.client.delete(f"/api/v1/links/{CODES[0]}?wait=edges")
    with redis.Redis.from_url(shards[0].url) as client:
        client.execute_command(*command.split())
    station.wait_trusted()
    assert [held_target(shards, code) for code in CODES[1:]] == ["https://a.example/"] * 29
    assert [_lifetime(shards, code) for code in CODES[1:]] == [60] * 29
    assert isinstance(held(shards, CODES[0]), Tombstone)


def test_shard_that_lost_all_with_its_disk_is_filled_again(station: Station, shards: list[RedisServer]) -> None:
    """Another process, empty."""
    for code in CODES:
        station.create("https://a.example/", code=code)
    shards[0].kill()
    shards[0].lose_disk()
    shards[0].start()
    station.wait_trusted()
    assert [held_target(shards, code) for code in CODES] == ["https://a.example/"] * 30


def test_shard_restored_from_an_old_copy_is_swept_and_filled(station: Station, shards: list[RedisServer]) -> None:
    """Links that are long gone do not come back with an old copy; one whose notes are gone cannot be redone."""
    station.create("https://a.example/", code="abc")
    shards[0].kill()
    shards[1].kill()
    fetch(station.database_url, "UPDATE shards SET floor_seq = 1000000")
    fetch(station.database_url, "DELETE FROM links WHERE code = 'abc'")
    for server in shards:
        server.start()
    station.wait_trusted()
    assert held(shards, "abc") is None


def test_changes_wait_for_a_shard_that_is_down_and_block_nobody(station: Station, shards: list[RedisServer]) -> None:
    """Links of the other shard are projected; those of the dead one are parked, and go through when it is back."""
    shards[0].kill()
    for code in CODES:
        assert (
            station.client.post("/api/v1/links", json={"target": "https://a.example/", "code": code}).status_code == 201
        )
    unsettled = "SELECT count(*) FROM outbox WHERE waiting_shard IS NULL"
    eventually(lambda: fetch(station.database_url, unsettled) == [(0,)], "every change projected or parked")
    ((waiting,),) = fetch(station.database_url, "SELECT count(*) FROM outbox")
    assert 0 < waiting < len(CODES)
    assert sum(held(shards[1:], code) is not None for code in CODES) == len(CODES) - waiting
    shards[0].start()
    eventually(lambda: fetch(station.database_url, "SELECT count(*) FROM outbox") == [(0,)], "the outbox empty")
    station.wait_trusted()
    assert all(held_target(shards, code) for code in CODES)


def test_shard_at_a_new_address_is_filled_there(
    station: Station, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """Another URL for the same shard: a new epoch, which every shard's fence names."""
    station.create("https://a.example/", code="abc")
    replacement = redis_factory()
    servers = [replacement, shards[1]]
    fetch(
        station.database_url,
        "INSERT INTO topologies (epoch, document) SELECT 2, replace(replace(document, $1, $2), $3, $4) FROM topologies",
        shards[0].url,
        replacement.url,
        '"epoch":1',
        '"epoch":2',
    )
    eventually(lambda: all((fence := fence_of(server)) and fence.epoch == 2 for server in servers), "epoch 2")
    eventually(lambda: all(map(is_trusted, servers)), "both complete")
    assert held_target(servers, "abc") == "https://a.example/"


def test_two_control_planes_take_turns(
    station: Station, station_factory: StationFactory, shards: list[RedisServer]
) -> None:
    """Both project and keep; a shard that both see come back is repaired once and trusted once."""
    second = station_factory(station.database_url, shards, station.key)
    for number, code in enumerate(CODES):
        (station, second)[number % 2].create("https://a.example/", code=code)
    shards[0].kill()
    shards[0].start()
    station.wait_trusted()
    assert [held_target(shards, code) for code in CODES] == ["https://a.example/"] * 30
    logs = station.log.read_text() + second.log.read_text()
    assert logs.count("shard came back and is complete") == 1


def test_recovery_that_is_cut_off_is_taken_up_again(database_url: str, shards: list[RedisServer]) -> None:
    """The tail is queued before the first write: a keeper that dies in between loses nothing.

    1. the shard has lost batch n; the keeper queues its links again and commits;
    2. it dies; pm:seq still says n-1;
    3. the shard dies again;
    4. the next keeper finds no notes above n-1, and the links in the outbox.
    """

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/1")
        (batch,) = (await scene.project()).numbered
        server = shards[int(batch.shard_id[-1])]
        length = log_size(server)
        await scene.put("abc", "https://a.example/2")
        await scene.project()
        crash(server, length)

        shard = await connect_writer(batch.shard_id, server.url)
        with pytest.raises(Error, match=r"does not answer|closed"):
            await _recover(scene, shard, crash=server)
        assert await scene.rows("SELECT waiting_shard FROM outbox") == [(batch.shard_id,)]
        assert not is_trusted(server)

        shard = await connect_writer(batch.shard_id, server.url)
        await _recover(scene, shard)
        assert is_trusted(server)
        assert held_target(shards, "abc") == "https://a.example/2"
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]
        await shard.close()

    play(database_url, shards, work)


async def _recover(scene: Scene, shard: ShardConnection, crash: RedisServer | None = None) -> None:
    """Redo the tail as the keeper does; with `crash`, the shard dies when the links have been queued."""
    observed = await publication.observe(shard)
    async with scene.database.dedicated() as connection:
        state = (await store.states(connection, [shard.shard_id]))[shard.shard_id]
        assert decide(state, observed, 1, REVISION) == "tail"
        if crash is not None:
            crash.kill()
            crash.start()
        await recovery.redo_tail(connection, shard, observed, lambda: None)


def test_old_process_takes_no_change_while_the_new_one_is_told_again(
    database_url: str, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """The shard's address leads to another process, and the old one is alive behind the projector's connection.

    1. the keeper reaches the new process, queues again what it lacks, and commits;
    2. a projector still has a connection to the old process; a change that it wrote there would be noted as written;
    3. the keeper adopts the new process, which never got that change.
    """

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/1")
        (batch,) = (await scene.project()).numbered
        old, new = shards[int(batch.shard_id[-1])], redis_factory()
        shard = await connect_writer(batch.shard_id, new.url)
        with redis.Redis.from_url(old.url) as client:
            await shard.pipeline(
                [("SET", keys.FENCE, client.get(keys.FENCE)), ("SET", keys.SEQUENCE, batch.number - 1)]
            )
        with pytest.raises(Error, match=r"does not answer|closed"):
            await _recover(scene, shard, crash=new)
        await scene.put("abc", "https://a.example/2")
        result = await scene.project()
        assert (result.numbered, result.parked) == ([], 1)
        assert held_target([old], "abc") == "https://a.example/1"

    play(database_url, shards, work)


def test_tail_whose_notes_were_purged_meanwhile_is_not_redone(database_url: str, shards: list[RedisServer]) -> None:
    """The floor has risen above the recovered number since the keeper decided: nothing is changed, a fill follows."""

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/1")
        (batch,) = (await scene.project()).numbered
        shard = await connect_writer(batch.shard_id, shards[int(batch.shard_id[-1])].url)
        observed = await publication.observe(shard)
        await scene.rows("UPDATE shards SET floor_seq = 1000, run_id = 'another'")
        before = await scene.rows("SELECT * FROM shards, projected ORDER BY id")
        async with scene.database.dedicated() as connection:
            with pytest.raises(Error, match="too late for its notes"):
                await recovery.redo_tail(connection, shard, observed, lambda: None)
            state = (await store.states(connection, [shard.shard_id]))[shard.shard_id]
        assert await scene.rows("SELECT * FROM shards, projected ORDER BY id") == before
        assert decide(state, observed, 1, REVISION) == "full"
        await shard.close()

    play(database_url, shards, work)


def test_filling_shard_is_written_and_trusted_for_what_it_has(database_url: str, shards: list[RedisServer]) -> None:
    """While it is filled its fence does not say complete; a change made meanwhile is there, and stays."""

    async def work(scene: Scene) -> None:
        await scene.put("abc", "https://a.example/1")
        (batch,) = (await scene.project()).numbered
        server = shards[int(batch.shard_id[-1])]
        shard = await connect_writer(batch.shard_id, server.url)
        await shard.execute("FLUSHALL")
        async with scene.database.dedicated() as connection:
            await recovery.begin_fill(connection, shard)
            found = fence_of(server)
            assert found is not None
            assert (found.state, found.run_id) == ("filling", shard.run_id)
            await scene.put("abc", "https://a.example/2")
            await scene.project()
            assert held_target(shards, "abc") == "https://a.example/2"
            await recovery.finish_fill(connection, shard)
        assert is_trusted(server)
        await shard.close()

    play(database_url, shards, work)


def test_shard_flushed_while_it_is_filled_is_not_called_complete(database_url: str, shards: list[RedisServer]) -> None:
    """The fence is replaced only if it is still the one that the filling has set."""

    async def work(scene: Scene) -> None:
        shard = await connect_writer("shard-0", shards[0].url)
        async with scene.database.dedicated() as connection:
            await recovery.begin_fill(connection, shard)
            await shard.execute("FLUSHALL")
            with pytest.raises(Error, match="fence"):
                await recovery.finish_fill(connection, shard)
        assert fence_of(shards[0]) is None

    play(database_url, shards, work)


def test_connection_never_comes_back_as_another_process(shards: list[RedisServer]) -> None:
    """After a restart the old connection is closed for good: what was known of that process is void."""

    async def run() -> None:
        shard = await connect_writer("shard-0", shards[0].url)
        run_id = shard.run_id
        shards[0].kill()
        shards[0].start()
        for _ in range(2):
            with pytest.raises(Error, match="shard-0"):
                await shard.execute("GET", keys.SEQUENCE)
        assert not shard.is_open
        again = await connect_writer("shard-0", shards[0].url)
        assert again.run_id != run_id
        await again.close()

    asyncio.run(run())
