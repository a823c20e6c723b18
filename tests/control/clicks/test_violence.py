"""Whatever dies at whatever step of a batch: afterwards each click is counted once (I3).

The faults are real ones: processes are killed, connections are cut, servers come back. The steps are those of
`barrier.STEPS`; the last one is the time between a commit and its acknowledgement.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest

from control import db
from control.clicks import store
from control.errors import Error
from tests.control.clicks import barrier
from tests.control.clicks.depot import OPTIONS, Depot, plain_sum, play, send, some_frames, waiting
from tests.control.conftest import StationFactory
from tests.control.station import DEADLINE_S, eventually, fetch
from tests.stack.server import PostgresServer, RedisServer
from wire.frame import Frame

FRAMES = some_frames(7, 40)
Fault = Callable[[Depot, barrier.Barrier], Awaitable[None]]


async def _cancel(depot: Depot, blocked: barrier.Barrier) -> None:
    await blocked.reached()
    await depot.background.stop()


async def _cut_postgresql(_: Depot, blocked: barrier.Barrier) -> None:
    await blocked.cut()


async def _cut_redis(depot: Depot, blocked: barrier.Barrier) -> None:
    await blocked.reached()
    depot.command(depot.servers[0], "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def _empty_redis(depot: Depot, blocked: barrier.Barrier) -> None:
    await blocked.reached()
    depot.command(depot.servers[0], "FLUSHALL")


async def _settled(depot: Depot, frames: list[Frame]) -> None:
    """Wait until the stream is empty and everything is counted, and see that nothing is counted twice."""
    await depot.wait_empty(depot.servers[0])
    assert await depot.totals() == plain_sum(frames)
    ((stored,),) = await depot.rows("SELECT sum(stored)::bigint FROM click_writers")
    assert stored == sum(plain_sum(frames).values())


@pytest.mark.parametrize("fault", [_cancel, _cut_postgresql, _cut_redis, _empty_redis])
def test_batch_that_is_cut_at_any_step_is_counted_once(
    migrated_url: str, shards: list[RedisServer], fault: Fault
) -> None:
    """The transaction is undone or not; what was not acknowledged is stored again, or found to be stored."""

    async def work(depot: Depot) -> None:
        await barrier.prepare(migrated_url)
        frames = list(FRAMES)
        for step in barrier.STEPS:
            sent, frames = frames[:5], frames[5:]
            async with barrier.barrier(migrated_url, step) as blocked:
                send(shards[0], *sent)
                depot.start(0)
                await fault(depot, blocked)
            await depot.background.stop()
            if fault is _empty_redis:
                send(shards[0], *sent)  # as the edge does
            depot.start(0)
            await _settled(depot, FRAMES[: len(FRAMES) - len(frames)])
            await depot.background.stop()

    play(migrated_url, shards, work)


def test_lost_acknowledgement_is_given_again(migrated_url: str, shards: list[RedisServer]) -> None:
    """The shard stalls between commit and acknowledgement: the entries come again, and are found to be stored."""

    async def work(depot: Depot) -> None:
        await barrier.prepare(migrated_url)
        async with barrier.barrier(migrated_url, "commit") as blocked:
            send(shards[0], *FRAMES)
            depot.start(0)
            await blocked.reached()
            shards[0].pause()
        try:
            await depot.eventually(lambda: depot.rows("SELECT FROM click_totals LIMIT 1"), "the commit")
            await depot.eventually(lambda: _has_failed(depot), "an acknowledgement that got lost")
        finally:
            shards[0].resume()
        await _settled(depot, FRAMES)
        assert 'outcome="duplicate"} 0' not in "\n".join(depot.metrics.clicks.frames.lines())

    async def _has_failed(depot: Depot) -> bool:
        return any(pulse.failures for pulse in depot.background.pulses.values())

    play(migrated_url, shards, work)


@pytest.mark.parametrize("step", ["click_segments", "click_scope_days", "commit", "acknowledgement"])
def test_postgresql_killed_in_the_middle(own_postgres: PostgresServer, shards: list[RedisServer], step: str) -> None:
    """It comes back with the batch or without it, and both are right."""
    url = own_postgres.dsn

    async def work(depot: Depot) -> None:
        await barrier.prepare(url)
        async with barrier.barrier(url, "commit" if step == "acknowledgement" else step) as blocked:
            send(shards[0], *FRAMES)
            depot.start(0)
            await blocked.reached()
            if step == "acknowledgement":
                shards[0].pause()
            else:
                own_postgres.kill()
        if step == "acknowledgement":
            await depot.eventually(lambda: depot.rows("SELECT FROM click_totals LIMIT 1"), "the commit")
            own_postgres.kill()
            shards[0].resume()
        own_postgres.start()
        await depot.eventually(lambda: _can_be_asked(depot), "PostgreSQL")
        await _settled(depot, FRAMES)

    async def _can_be_asked(depot: Depot) -> bool:
        with suppress(Error):
            return bool(await depot.rows("SELECT 1"))
        return False

    play(url, shards, work)


@pytest.mark.slow
def test_control_killed_at_every_step(
    migrated_url: str, shards: list[RedisServer], station_factory: StationFactory
) -> None:
    """SIGKILL; the next process claims what the dead one had, under a name of its own."""
    frames = list(FRAMES)
    asyncio.run(barrier.prepare(migrated_url))
    station = station_factory(migrated_url, shards, POINTSMAN_CLICKS_CLAIM_IDLE_MS="1000")

    async def kill_at(step: str, sent: list[Frame]) -> None:
        async with barrier.barrier(migrated_url, step) as blocked:
            send(shards[0], *sent)
            await blocked.reached()
            station.server.kill()

    for step in barrier.STEPS:
        sent, frames = frames[:5], frames[5:]
        asyncio.run(kill_at(step, sent))
        station.start()
        eventually(lambda: waiting(shards[0]) == 0, "an empty stream")
        done = FRAMES[: len(FRAMES) - len(frames)]
        assert dict(fetch(migrated_url, "SELECT link_id, clicks FROM click_totals")) == plain_sum(done), step


@pytest.mark.slow
def test_control_killed_before_it_acknowledges(
    migrated_url: str, shards: list[RedisServer], station_factory: StationFactory
) -> None:
    """Everything is committed, and nobody was told."""
    asyncio.run(barrier.prepare(migrated_url))
    station = station_factory(migrated_url, shards, POINTSMAN_CLICKS_CLAIM_IDLE_MS="1000")

    async def stall() -> None:
        async with barrier.barrier(migrated_url, "commit") as blocked:
            send(shards[0], *FRAMES)
            await blocked.reached()
            shards[0].kill()

    asyncio.run(stall())
    eventually(lambda: fetch(migrated_url, "SELECT FROM click_totals LIMIT 1"), "the commit")
    station.server.kill()
    shards[0].start()
    assert waiting(shards[0]) == len(FRAMES)
    station.start()
    eventually(lambda: waiting(shards[0]) == 0, "an empty stream")
    assert dict(fetch(migrated_url, "SELECT link_id, clicks FROM click_totals")) == plain_sum(FRAMES)


def test_merge_that_falls_silent_loses_its_turn(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped, or its machine, in the middle of a batch: its session is ended, others go on."""
    monkeypatch.setattr(store, "SILENCE_MS_MAX", 300)

    async def work(depot: Depot) -> None:
        stopped = await asyncpg.connect(migrated_url)
        try:
            await stopped.execute("BEGIN")
            await store.begin_merge(stopped)
            await stopped.execute("INSERT INTO click_salts VALUES (1, 1)")
            async with asyncio.timeout(DEADLINE_S):
                assert (await depot.store(*FRAMES[:3])).stored == 3
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await stopped.execute("COMMIT")
        finally:
            stopped.terminate()
        assert await depot.rows("SELECT FROM click_salts WHERE day = 1") == []

    play(migrated_url, [], work)


def test_merge_that_falls_silent_inside_a_statement_loses_its_turn(
    migrated_url: str, shards: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL waits for the end of a COPY for ever; whoever waits for the lock in vain ends that session."""
    monkeypatch.setattr(store, "LOCK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(store, "COPY_TIMEOUT_S", 0.5)
    is_awake = asyncio.Event()

    async def rows() -> AsyncIterator[bytes]:
        await is_awake.wait()
        yield b""

    async def work(depot: Depot) -> None:
        stopped = await asyncpg.connect(migrated_url)
        try:
            await stopped.execute("BEGIN")
            await store.begin_merge(stopped)
            copying = asyncio.create_task(stopped.copy_to_table("click_rows", source=rows(), format="binary"))
            send(shards[0], *FRAMES)
            depot.start(0)
            await _settled(depot, FRAMES)
            is_awake.set()
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await copying
        finally:
            stopped.terminate()

    play(migrated_url, shards, work)


def test_raw_rows_may_take_longer_than_a_statement(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a batch are one COPY; on a slow disk it would end too early each time, and the batch with it."""
    monkeypatch.setattr(db, "COMMAND_TIMEOUT_S", 1.0)

    async def work(depot: Depot) -> None:
        async with barrier.barrier(migrated_url, "click_rows") as blocked:
            storing = asyncio.create_task(depot.store(*FRAMES[:3]))
            (pid,) = await blocked.reached()
            await depot.eventually(lambda: _waits_longer(depot, pid, "1.5 s"), "a COPY that takes longer")
        assert (await storing).stored == 3

    async def _waits_longer(depot: Depot, pid: int, interval: str) -> bool:
        query = "SELECT FROM pg_stat_activity WHERE pid = $1 AND query_start < clock_timestamp() - $2::text::interval"
        return bool(await depot.rows(query, pid, interval) or await _is_over(depot, pid))

    async def _is_over(depot: Depot, pid: int) -> bool:
        return not await depot.rows("SELECT FROM pg_stat_activity WHERE pid = $1", pid)

    play(migrated_url, [], work, replace(OPTIONS, keeps_rows=True))
