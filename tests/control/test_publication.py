"""Documents and fences are put in place at once, and never an older one over a newer one, whoever slept."""

import asyncio
from dataclasses import replace

import redis

from control.domains import store as domain_store
from control.projection import publication, store
from control.projection.decision import Observed
from control.projection.publication import Published
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from tests.control.rings import arm
from tests.control.scene import Scene, play
from tests.control.station import Station, eventually, fence_of, is_trusted
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import domains, keys, topology
from wire.fence import Fence


def _documents(server: RedisServer) -> tuple[int, int]:
    """The epoch of the topology and the revision of the domains that the shard carries."""
    with redis.Redis.from_url(server.url) as client:
        held, table = client.mget(keys.TOPOLOGY, keys.DOMAINS)
    return topology.decode(held).epoch, domains.decode(table).revision


async def _look(scene: Scene, shard: ShardConnection) -> tuple[Observed, Published, Fence]:
    """All that a publisher has in hand before its last step."""
    observed = await publication.observe(shard)
    async with scene.database.connection() as connection:
        published = await publication.read_published(connection)
    assert observed.fence is not None
    return observed, published, replace(observed.fence, epoch=published.topology.epoch)


async def _publish(scene: Scene, shard: ShardConnection) -> bool:
    observed = await publication.observe(shard)
    async with scene.database.connection() as connection:
        return await publication.publish(connection, shard, observed)


def test_publisher_that_slept_puts_nothing_older_in_place(
    database_url: str, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """It wakes with the documents of before a topology, or of before a domain, which another one has published."""
    servers = [*shards, redis_factory()]

    async def work(scene: Scene) -> None:
        shard = await connect_writer("shard-0", shards[0].url)
        sleeping = await _look(scene, shard)
        await arm(scene, servers)
        assert await _publish(scene, shard)
        assert not await publication.replace(shard, *sleeping)
        epoch, revision = _documents(shards[0])
        assert epoch == 2

        sleeping = await _look(scene, shard)
        async with scene.database.transaction() as connection:
            await domain_store.raise_revision(connection)
        assert await _publish(scene, shard)
        assert not await publication.replace(shard, *sleeping)
        assert _documents(shards[0]) == (2, revision + 1)
        assert is_trusted(shards[0])
        await shard.close()

    play(database_url, shards, work)


def test_emptied_shard_is_fenced_by_nobody_who_saw_it_full(database_url: str, shards: list[RedisServer]) -> None:
    """The fence is gone with the links; it comes back only with a repair."""

    async def work(scene: Scene) -> None:
        shard = await connect_writer("shard-0", shards[0].url)
        sleeping = await _look(scene, shard)
        await shard.execute("FLUSHALL")
        assert not await publication.replace(shard, *sleeping)
        assert fence_of(shards[0]) is None
        await shard.close()

    play(database_url, shards, work)


def test_only_the_shards_own_process_is_fenced(
    database_url: str, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """Neither another process, nor a shard that is none of the topology, nor one whose tail is being redone."""
    stranger = redis_factory()

    async def work(scene: Scene) -> None:
        other_process = await connect_writer("shard-0", stranger.url)
        other_shard = await connect_writer("shard-9", stranger.url)
        assert not await _publish(scene, other_process)
        assert not await _publish(scene, other_shard)
        assert fence_of(stranger) is None
        shard = await connect_writer("shard-0", shards[0].url)
        async with scene.database.transaction() as connection:
            state = await store.state_for_update(connection, "shard-0")
            await store.save_state(connection, replace(state, run_id=None))
        assert not await _publish(scene, shard)
        await asyncio.gather(other_process.close(), other_shard.close(), shard.close())

    play(database_url, shards, work)


def test_document_that_is_not_the_one_in_force_is_replaced(station: Station, shards: list[RedisServer]) -> None:
    """The fence is as it should be, the documents are not: somebody has restored them, or removed one."""
    with redis.Redis.from_url(shards[0].url) as client:
        held, table = client.mget(keys.TOPOLOGY, keys.DOMAINS)
        older = topology.encode(replace(topology.decode(held), epoch=7))
        for key, value in ((keys.TOPOLOGY, older), (keys.DOMAINS, b""), (keys.TOPOLOGY, b"2{")):
            client.set(key, value)
            eventually(lambda: client.mget(keys.TOPOLOGY, keys.DOMAINS) == [held, table], "the documents in force")
    assert is_trusted(shards[0])
    eventually(lambda: station.metric('pointsman_shard_complete{shard="shard-0"}') == 1, "the keeper has nothing to do")
