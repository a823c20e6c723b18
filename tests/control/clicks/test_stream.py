"""The consumer group: what dead consumers had is taken over, nothing stays behind, and what waits is measured."""

import asyncio

import redis

from control.clicks import stream
from control.clicks.tasks import LagWatch
from tests.control.clicks.depot import CLAIM_IDLE_MS, Depot, Segment, plain_sum, play, send, some_frames, waiting
from tests.stack.server import RedisServer
from wire import keys

FRAMES = some_frames(11, 40)
READ = ("XREADGROUP", "GROUP", "control", "dead", "COUNT", 1000, "STREAMS", "pm:clicks", ">")


async def _group(depot: Depot) -> None:
    await (await stream.connect_stream(depot.shards[0])).close()


def test_frames_of_a_dead_consumer_are_claimed(database_url: str, shards: list[RedisServer]) -> None:
    """It read more than one claim takes and was never heard of again; what came later is not held up by that."""

    async def work(depot: Depot) -> None:
        await _group(depot)
        send(shards[0], *FRAMES[:30])
        depot.command(shards[0], *READ)
        send(shards[0], *FRAMES[30:])
        depot.start(0, count=2)
        await depot.wait_empty(shards[0])
        assert await depot.totals() == plain_sum(FRAMES)
        assert "pointsman_click_claimed_total 0" not in depot.metrics.clicks.claimed.lines()

    play(database_url, shards, work)


def test_frames_that_no_consumer_has_are_found(database_url: str, shards: list[RedisServer]) -> None:
    """Somebody removed a consumer with what it had: Redis gives that to nobody any more."""

    async def work(depot: Depot) -> None:
        await _group(depot)
        send(shards[0], *FRAMES)
        depot.command(shards[0], *READ)
        depot.command(shards[0], "XGROUP", "DELCONSUMER", "pm:clicks", "control", "dead")
        depot.start(0)
        await depot.wait_empty(shards[0])
        assert await depot.totals() == plain_sum(FRAMES)

    play(database_url, shards, work)


def test_removal_that_was_cut_in_half_is_finished(database_url: str, shards: list[RedisServer]) -> None:
    """The entries are gone, and a dead consumer still has their ids: they hold nothing up."""

    async def work(depot: Depot) -> None:
        await _group(depot)
        ids = send(shards[0], *FRAMES)
        depot.command(shards[0], *READ)
        depot.command(shards[0], "XDEL", "pm:clicks", *ids[:30])
        depot.command(shards[0], "XGROUP", "CREATECONSUMER", "pm:clicks", "control", "me")
        depot.command(shards[0], "XACK", "pm:clicks", "control", *ids[31:])
        connection = await stream.connect_stream(depot.shards[0])
        assert await stream.claim_lost(connection, b"me") == []
        depot.command(shards[0], "XACK", "pm:clicks", "control", ids[30])
        assert [entry.id for entry in await stream.claim_lost(connection, b"me")] == ids[30:]
        await connection.close()

    play(database_url, shards, work)


def test_consumers_at_work_are_not_robbed(database_url: str, shards: list[RedisServer]) -> None:
    """Looking for lost entries takes none that a consumer has."""

    async def work(depot: Depot) -> None:
        await _group(depot)
        send(shards[0], *FRAMES[:5])
        depot.command(shards[0], *READ)
        send(shards[0], *FRAMES[5:])
        connection = await stream.connect_stream(depot.shards[0])
        assert await stream.claim_lost(connection, b"other") == []
        assert (await stream.claim(connection, b"other", 60_000, b"0-0"))[1] == []
        await connection.close()

    play(database_url, shards, work)


def test_own_entries_come_first_after_a_failure(database_url: str, shards: list[RedisServer]) -> None:
    """Under its own name a consumer need not wait until they may be claimed."""

    async def work(depot: Depot) -> None:
        await _group(depot)
        ids = send(shards[0], *FRAMES[:5])
        connection = await stream.connect_stream(depot.shards[0])
        read = await stream.read_new(connection, b"me", 1)
        assert [entry.id for entry in read] == ids
        depot.command(shards[0], "XDEL", "pm:clicks", ids[0])
        again = await stream.read_own(connection, b"me", b"0")
        assert [(entry.id, entry.fields is None) for entry in again] == [(one, one == ids[0]) for one in ids]
        await stream.finish(connection, [entry.id for entry in again], [], [])
        assert await stream.read_own(connection, b"me", b"0") == []
        await connection.close()

    play(database_url, shards, work)


def test_dead_consumers_are_forgotten_unless_they_hold_something(database_url: str, shards: list[RedisServer]) -> None:
    """Every process has a name of its own: without this the group would keep them all."""

    async def work(depot: Depot) -> None:
        await _group(depot)
        send(shards[0], *FRAMES[:2])
        depot.command(shards[0], *READ)
        for number in range(5):
            depot.command(shards[0], "XGROUP", "CREATECONSUMER", "pm:clicks", "control", f"idle-{number}")
        connection = await stream.connect_stream(depot.shards[0])
        assert await stream.retire_dead(connection, b"idle-0", forget_ms=60_000) == 0
        await asyncio.sleep(0.005)  # idle for more than forget_ms, by the shard's clock
        assert await stream.retire_dead(connection, b"idle-0", forget_ms=1) == 4
        with redis.Redis.from_url(shards[0].url) as client:
            names = {one["name"] for one in client.xinfo_consumers(keys.CLICKS, keys.CLICKS_GROUP)}  # type: ignore[union-attr]
        assert names == {b"dead", b"idle-0"}
        await connection.close()

    play(database_url, shards, work)


def test_full_shard_is_emptied_before_it_takes_acknowledgements(database_url: str, shards: list[RedisServer]) -> None:
    """Redis refuses to write when its memory is full; the stream must get shorter all the same."""
    segment = Segment()
    frames = [segment.cut(range(1, 200)) for _ in range(20)]

    async def work(depot: Depot) -> None:
        await _group(depot)
        send(shards[0], *frames)
        depot.command(shards[0], "CONFIG", "SET", "maxmemory", 1)
        depot.start(0)
        await depot.wait_empty(shards[0])
        depot.command(shards[0], "CONFIG", "SET", "maxmemory", 0)
        send(shards[0], *frames)
        await depot.wait_empty(shards[0])
        assert await depot.totals() == plain_sum(frames)

    play(database_url, shards, work)


def test_lag_is_measured_while_nobody_consumes(database_url: str, shards: list[RedisServer]) -> None:
    """In entries, bytes and seconds, and what consumers have; zero once everything is stored."""

    async def work(depot: Depot) -> None:
        connection = await stream.connect_stream(depot.shards[0])
        assert await stream.measure(connection) == stream.Lag()
        send(shards[0], *FRAMES[:10])
        assert (await stream.measure(connection)).pending == 0
        depot.command(shards[0], *READ)
        send(shards[0], *FRAMES[10:])
        first = await stream.measure(connection)
        assert (first.frames, first.pending) == (40, 10)
        assert first.bytes > sum(len(one.body) for one in FRAMES) / 20  # they are compressed
        later = await depot.eventually(lambda: _older(connection, first.oldest_ms), "an older oldest entry")
        assert later.frames == 40
        await connection.close()
        depot.background.start("lag", LagWatch(depot.shards[0], depot.metrics).run)
        await depot.eventually(lambda: _shown(depot, 40), "the lag among the metrics")
        depot.start(0)
        await depot.eventually(lambda: _shown(depot, 0), "no lag")
        assert waiting(shards[0]) == 0

    async def _older(connection: stream.ShardConnection, oldest_ms: int) -> stream.Lag | None:
        lag = await stream.measure(connection)
        return lag if lag.oldest_ms > oldest_ms else None

    async def _shown(depot: Depot, frames: int) -> bool:
        return f'pointsman_click_lag_frames{{shard="shard-0"}} {frames}' in depot.metrics.clicks.lag_frames.lines()

    assert CLAIM_IDLE_MS == 1000
    play(database_url, shards, work)
