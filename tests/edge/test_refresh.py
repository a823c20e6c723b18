"""Refreshing: an entry is looked up before its time ends, by nobody's waiting and at nobody's cost."""

import asyncio
from pathlib import Path

import pytest

from edge.breaker import FAILURES_MAX
from edge.clock import monotonic_ms
from tests.edge.rig import running_rig, until
from tests.edge.stand import Shards, eventually, insert_link, migrate, running_edge, stalled
from tests.stack.fixtures import RedisFactory
from wire import keys


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard."""
    return Shards([redis_factory()])


def mget_calls(shards: Shards) -> int:
    """How many MGETs the shard has answered."""
    with shards.client(0) as client:
        return int(client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])


def test_refreshed_link_is_served_from_memory(shards: Shards) -> None:
    """A link that nobody has asked for is in L1 when the first request comes: that is how a snapshot warms."""
    shards.put("warm", "https://example.com/")

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert rig.refresh("warm")
            await rig.idle()
            assert await rig.get("warm") == (302, "https://example.com/")
            assert rig.counters.get("tier_l1") == 1
            assert rig.counters.get("refreshes_started") == 1

    asyncio.run(run())


def test_refresh_lengthens_an_entrys_time(shards: Shards) -> None:
    """A hot entry that is refreshed before its deadline is never missed."""
    shards.put("hot", "https://example.com/")

    async def run() -> None:
        async with running_rig(shards, ttl_ms=1000) as rig:
            assert await rig.get("hot") == (302, "https://example.com/")
            ends_ms = monotonic_ms() + 2200
            while monotonic_ms() < ends_ms:
                assert rig.refresh("hot")
                await rig.idle()
                assert await rig.get("hot") == (302, "https://example.com/")
            assert rig.counters.get("tier_shard") == 1

    asyncio.run(run())


def test_refresh_of_a_key_under_way_starts_nothing(shards: Shards) -> None:
    """Neither beside another refresh nor beside a miss; and a miss joins a refresh."""
    shards.put("cold", "https://example.com/")

    async def run() -> None:
        async with running_rig(shards, reply_timeout_ms=5000, ping_timeout_ms=9000) as rig:
            before = mget_calls(shards)
            with stalled(shards.servers[0]):
                assert [rig.refresh("cold") for _ in range(3)] == [True] * 3
                request = asyncio.create_task(rig.get("cold"))
                await until(lambda: rig.counters.get("flights_joined") == 1)
            assert await request == (302, "https://example.com/")
            assert (mget_calls(shards) - before, rig.counters.get("refreshes_started")) == (1, 1)

    asyncio.run(run())


def test_full_refreshes_are_refused_and_displace_no_miss(shards: Shards) -> None:
    """refreshes_max are under way: the next is False, and as many misses as ever are taken."""
    shards.put("miss", "https://example.com/")

    async def run() -> None:
        settings = {"refreshes_max": 3, "flights_max": 1, "reply_timeout_ms": 5000, "ping_timeout_ms": 9000}
        async with running_rig(shards, **settings) as rig:
            with stalled(shards.servers[0]):
                assert [rig.refresh(f"r{n}") for n in range(5)] == [True, True, True, False, False]
                request = asyncio.create_task(rig.get("miss"))
                await until(lambda: rig.counters.get("connections_opened") == 1)
                await until(lambda: rig.has_counted("misses_under_way", 1))
                assert (await rig.get("other"))[0] == 503
                assert rig.counters.get("refreshes_under_way") == 3
            assert await request == (302, "https://example.com/")
            await rig.idle()
            assert (rig.refresh("r4"), rig.counters.get("refreshes_rejected")) == (True, 2)

    asyncio.run(run())


@pytest.mark.parametrize("is_waited_for", [False, True])
def test_refresh_at_a_doubtful_shard_leaves_the_origin_alone(
    shards: Shards, database_url: str, is_waited_for: bool
) -> None:
    """What L1 has stays; PostgreSQL is asked only if a request has joined meanwhile."""
    migrate(database_url)
    insert_link(database_url, "abc", "https://origin.example/")
    shards.put("abc", "https://shard.example/")
    shards.put("held", "https://held.example/")

    async def run() -> None:
        settings = {"origin_url": database_url, "reply_timeout_ms": 5000, "ping_timeout_ms": 9000}
        async with running_rig(shards, **settings) as rig:
            await until(lambda: rig.counters.get("is_origin_reachable"))
            assert await rig.get("held") == (302, "https://held.example/")
            with shards.client(0) as client:
                client.delete(keys.FENCE)
            with stalled(shards.servers[0]):
                assert (rig.refresh("abc"), rig.refresh("held")) == (True, True)
                if is_waited_for:
                    request = asyncio.create_task(rig.get("abc"))
                    await until(lambda: rig.counters.get("flights_joined") == 1)
            if is_waited_for:
                assert await request == (302, "https://origin.example/")
            await rig.idle()
            assert rig.counters.get("origin_lookups") == int(is_waited_for)
            assert await rig.get("held") == (302, "https://held.example/")
            assert rig.counters.get("tier_l1") == 1

    asyncio.run(run())


def test_refresh_is_refused_while_the_breaker_is_open(shards: Shards) -> None:
    """A slow shard is not asked for what is not needed yet; hits go on."""
    shards.put("hot", "https://example.com/")

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert await rig.get("hot") == (302, "https://example.com/")
            for _ in range(FAILURES_MAX):
                rig.shards[0].breaker.on_failure(monotonic_ms())
            assert not rig.refresh("hot")
            assert await rig.get("hot") == (302, "https://example.com/")
            assert rig.counters.get("tier_l1") == 1

    asyncio.run(run())


def test_refresh_that_a_push_overtakes_is_not_kept(shards: Shards) -> None:
    """A flight that a push has met fills nothing; the next request reads anew."""
    shards.put("abc", "https://one.example/")

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert rig.refresh("abc")
            rig.resolver.on_invalidated(keys.cache_key(1, "abc"))
            assert rig.refresh("abc")
            await rig.idle()
            assert rig.counters.get("refreshes_started") == 2
            assert await rig.get("abc") == (302, "https://one.example/")

    asyncio.run(run())


@pytest.mark.slow
def test_link_in_demand_is_looked_up_before_its_time_ends(shards: Shards, tmp_path: Path) -> None:
    """While it is asked for, every request of it is answered from memory, however short its time is."""
    shards.put("hot", "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], ttl_ms=500) as edge:
        assert edge.get("/hot").status == 302
        eventually(lambda: edge.get("/hot").status == 302 and edge.metric("refreshes_total") >= 4, "it is refreshed")
        assert edge.metric("answers_by_tier_total", '{tier="shard"}') == 1
