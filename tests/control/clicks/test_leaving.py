"""Consumers follow the shards that there are; the stream of one that has left is emptied first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from control.bell import Bell
from control.clicks import tasks
from control.clicks.retention import Keep
from control.clicks.stream import Lag
from control.clicks.tasks import Consumers, LagWatch, Member
from control.metrics import Metrics
from control.shards import service as shards
from control.shards import store as shard_store
from tests.control.clicks.depot import Depot, Segment, play, send
from tests.control.station import shard_list
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire.topology import Shard, Topology

KEEP = Keep(raw=1, links=1, scopes=1, unknown=1, segments=1, dead=1, writers=1)
TASKS = ("clicks shard-0", "click lag shard-0")
LEFT = ("clicks shard-1", "click lag shard-1")


@asynccontextmanager
async def _consumers(depot: Depot) -> AsyncIterator[Bell]:
    """Consumers that follow the topology; rings when there is another one."""
    bell = Bell()
    consumers = Consumers(depot.tools, depot.background, KEEP, bell)
    depot.background.start("click topology", consumers.follow_topology)
    try:
        yield bell
    finally:
        await depot.background.stop_one("click topology")


async def _set(depot: Depot, bell: Bell, members: list[Shard]) -> None:
    async with shards.placement_locked(depot.database) as connection:
        epoch = await shard_store.current_epoch(connection)
        await shards.publish(connection, Topology(epoch=epoch + 1, shards=tuple(members)))
    bell.ring()


def test_stream_of_a_shard_that_left_is_drained(
    database_url: str, redis_factory: RedisFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What edges sent there before they knew is stored; consumers of the shards that stay are not touched."""
    monkeypatch.setattr(tasks, "DRAIN_S", 0.5)
    servers: list[RedisServer] = [redis_factory(), redis_factory(), redis_factory()]
    members = shard_list(servers)

    async def work(depot: Depot) -> None:
        async with _consumers(depot) as bell:
            await depot.eventually(lambda: _has(depot, TASKS + LEFT), "both consumed")
            before = [depot.background.pulses[name] for name in TASKS]
            await _set(depot, bell, [members[0], members[2]])
            await depot.eventually(lambda: _has(depot, ("clicks shard-2",)), "the new one consumed")
            segment = Segment()
            send(servers[1], segment.cut([0]))
            send(servers[2], segment.cut([0]))
            await depot.wait_empty(servers[1], servers[2])
            await depot.eventually(lambda: _has_not(depot, LEFT), "the old one left alone")
            assert [depot.background.pulses[name] for name in TASKS] == before

            await _set(depot, bell, list(members))
            await depot.eventually(lambda: _has(depot, LEFT), "consumed when it is back")

    play(database_url, servers[:2], work)


async def _has(depot: Depot, names: tuple[str, ...]) -> bool:
    return all(name in depot.background.pulses for name in names)


async def _has_not(depot: Depot, names: tuple[str, ...]) -> bool:
    return not any(name in depot.background.pulses for name in names)


def test_shard_that_left_is_given_up_when_it_is_empty_or_away_for_long() -> None:
    """Not before edges have heard of it, and not while entries are in it."""
    member = Member(Shard(id="shard-0", url="redis://10.0.0.1"), LagWatch(Shard(id="a", url=""), Metrics()))
    assert not member.is_drained(1e9), "it has not left"
    member.left_s = 1000.0
    soon, later, late = (1000.0 + s for s in (tasks.DRAIN_S - 1, tasks.DRAIN_S + 1, tasks.DRAIN_MAX_S))
    member.watch.last = (1010.0, Lag())
    assert not member.is_drained(soon)
    assert member.is_drained(later)
    member.watch.last = (1010.0, Lag(frames=1))
    assert not member.is_drained(later)
    member.watch.last = (999.0, Lag())
    assert not member.is_drained(later), "it was empty before it left"
    assert member.is_drained(late), "nobody has reached it since"
    member.watch.last = (late - 1, Lag(frames=1))
    assert not member.is_drained(late), "it is still being emptied"


def test_shard_at_another_address_is_consumed_there(database_url: str, redis_factory: RedisFactory) -> None:
    """The same id, another process."""
    servers = [redis_factory(), redis_factory()]

    async def work(depot: Depot) -> None:
        async with _consumers(depot) as bell:
            await depot.eventually(lambda: _has(depot, TASKS), "consumed")
            await _set(depot, bell, [Shard(id="shard-0", url=servers[1].url)])
            send(servers[1], Segment().cut([0]))
            await depot.wait_empty(servers[1])

    play(database_url, servers[:1], work)
