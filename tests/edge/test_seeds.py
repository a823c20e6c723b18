"""The seeds: asked for a newer topology when a worker's shards are all gone, and left alone otherwise."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import redis

from edge._cache import Cache
from edge._counters import BLOCK_BYTES, Counters
from edge._front import Front
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.membership import Membership
from edge.origin import Origin
from edge.resolver import Resolver
from edge.seeds import GONE_MS, Seeds
from edge.shards import LATE_MS, Listener, Shard
from tests.edge.rig import rings_of
from tests.edge.stand import Shards, eventually, running_edge
from tests.edge.test_moves import clients_at
from tests.stack.fixtures import RedisFactory
from wire import topology

SWEEP_MS = 50


@pytest.fixture
def stand(redis_factory: RedisFactory) -> Shards:
    """Three servers: the first is the only shard; the second, which nobody asks for links, may be a seed."""
    shards = Shards([redis_factory() for _ in range(3)])
    enforce(shards, 2, 0)
    return shards


def enforce(stand: Shards, epoch: int, number: int, at: tuple[int, ...] = ()) -> None:
    """Have a topology of this one shard, told at it or elsewhere."""
    shards = (topology.Shard(id=f"shard-{number}", url=stand.servers[number].url),)
    stand.enforce(topology.Topology(epoch=epoch, virtual_nodes=64, shards=shards), numbers=at or (number,))


def calls(client: redis.Redis, command: str) -> int:
    """How often a server was told this."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_edge_that_was_cut_off_finds_its_shards_at_a_seed(stand: Shards, tmp_path: Path) -> None:
    """What a seed has of links is not answered, its older topology not taken; a newer one is, without a restart."""
    stand.put_at(0, "abc", "https://old.example/")
    stand.put_at(1, "abc", "https://stranger.example/")
    stand.put_at(2, "abc", "https://new.example/")
    urls = [server.url for server in stand.servers[:2]]
    with running_edge(tmp_path / "edge", urls, stale_ms=1) as edge:
        assert edge.get("/abc").location == "https://old.example/"
        eventually(lambda: clients_at(stand, 1) == 0, "the seed is left alone")
        with stand.client(1) as seed:
            pings = calls(seed, "ping")
            stand.servers[0].kill()
            eventually(lambda: calls(seed, "ping") > pings, "the seed is asked")
            pings, reads = calls(seed, "ping"), calls(seed, "mget")
            eventually(lambda: calls(seed, "ping") > pings + 5, "it is listened to")
            assert calls(seed, "mget") == reads  # its fence is not ahead, so there is nothing to read again
        assert (edge.get("/abc").status, edge.metric("epoch")) == (503, 2)
        enforce(stand, 3, 2, at=(1, 2))
        eventually(lambda: edge.get("/abc").location == "https://new.example/", "the new shard is found")
        eventually(lambda: clients_at(stand, 1) == 0, "the seed is left alone again")


def test_shard_that_was_emptied_is_no_reason_to_stay(stand: Shards, tmp_path: Path) -> None:
    """Another Redis stands where the shard was: it answers, but it says nothing of the topology."""
    stand.put_at(2, "abc", "https://new.example/")
    with running_edge(tmp_path / "edge", [server.url for server in stand.servers[:2]]) as edge:
        with stand.client(0) as client:
            client.flushall()
        enforce(stand, 3, 2, at=(1, 2))
        eventually(lambda: edge.metric("epoch") == 3, "the new topology is found")
        eventually(lambda: edge.get("/abc").location == "https://new.example/", "the new shard answers")


class Alone:
    """A worker's seeds over time as the test says; its shards are never there."""

    def __init__(self) -> None:
        config = EdgeConfig(seeds=("redis://a", "redis://b"))
        counters = Counters(bytearray(BLOCK_BYTES), 0)
        resolver = Resolver(config, counters, Origin(config, counters))
        self.asked: list[str] = []
        self.front = Front(counters, Cache(4096), Cache(4096), resolver.resolve, resolver.refresh, config)
        resolver.bind(self.front)
        self._config = config
        self._listener = Listener(lambda _key, _data: None, resolver.on_invalidated)
        self.members = Membership(
            self.front, resolver, config, listener=self._listener, edge_id="alone", spawn=self._spawn
        )
        self.seeds = Seeds(config.seeds, "alone", self._make, self._spawn)
        self.now_ms = monotonic_ms()
        self.seeds.sweep(self.now_ms, self.members)
        self.seeds.end_start(is_found=True)

    def pass_ms(self, passed_ms: int, step_ms: int = SWEEP_MS) -> None:
        """Sweep for so long."""
        for _ in range(0, passed_ms, step_ms):
            self.now_ms += step_ms
            self.seeds.sweep(self.now_ms, self.members)

    def _make(self, url: str) -> Shard:
        self.asked.append(url)
        return Shard(url, url, None, front=self.front, config=self._config, listener=self._listener)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        work.close()
        return asyncio.create_task(asyncio.sleep(0))


def alone_for(*steps: tuple[int, int]) -> list[str]:
    """Which seeds were asked after so much time in such steps."""

    async def run() -> list[str]:
        worker = Alone()
        for passed_ms, step_ms in steps:
            worker.pass_ms(passed_ms, step_ms)
        return worker.asked

    return asyncio.run(run())


def test_seeds_are_asked_after_a_time_and_once() -> None:
    """Each has one session, that is made again as a shard's is."""
    assert alone_for((GONE_MS - LATE_MS - SWEEP_MS, SWEEP_MS)) == []
    assert alone_for((10 * GONE_MS, SWEEP_MS)) == ["redis://a", "redis://b"]


def test_worker_that_stood_still_blames_nobody() -> None:
    """An hour in which nothing could be heard is not an hour without shards."""
    assert alone_for((3_600_000, 3_600_000), (1000, SWEEP_MS)) == []


def test_seed_that_is_a_shard_is_asked_only_as_that() -> None:
    """Its session is tried all the time."""

    async def run() -> list[str]:
        worker = Alone()
        shards = (topology.Shard(id="a", url="redis://a"),)
        described = topology.Topology(epoch=1, virtual_nodes=1, shards=shards)
        worker.members.adopt(described, rings_of(described))
        worker.pass_ms(2 * GONE_MS)
        return worker.asked

    assert asyncio.run(run()) == ["redis://b"]
