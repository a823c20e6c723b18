"""A shard's replicas, asked when its primary cannot be: what is believed of them, and what is not."""

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from edge.replicas import REPLICAS_MAX, Replicas
from tests.edge.load import exchange
from tests.edge.rig import running_rig
from tests.edge.stand import HOST, Edge, Shards, eventually, insert_link, migrate, running_edge, stalled, started_edge
from tests.edge.test_freshness import wait_for_sleep
from tests.edge.test_moves import stopped
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys


@dataclass(frozen=True)
class Pair:
    """One shard with a replica."""

    shards: Shards
    primary: RedisServer
    replica: RedisServer

    def client(self) -> redis.Redis:
        """A connection to the replica."""
        return redis.Redis.from_url(self.replica.url)

    def follow(self) -> None:
        """Wait until the replica has all that the primary has."""
        with self.shards.client(0) as primary, self.client() as client:
            client.replicaof("127.0.0.1", str(self.primary.port))
            eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
            primary.wait(1, 5000)

    def number(self) -> int:
        """Give a number, as control does behind the writes of a batch."""
        with self.shards.client(0) as client:
            return int(client.incr(keys.SEQUENCE))

    def wait_applied(self, number: int) -> None:
        """Wait until the worker has seen the number at the primary."""

        def is_seen() -> bool:
            (beat,) = self.shards.heartbeats()
            return beat is not None and beat.sequence >= number

        eventually(is_seen, f"the worker has seen number {number}")


@pytest.fixture
def pair(redis_factory: RedisFactory) -> Pair:
    """A whole shard and its replica, of which the topology says."""
    primary, replica = redis_factory(), redis_factory()
    shards = Shards([primary])
    described = replace(shards.topology.shards[0], replicas=(replica.url,))
    shards.enforce(replace(shards.topology, epoch=2, shards=(described,)))
    found = Pair(shards, primary, replica)
    found.follow()
    return found


def tier(edge: Edge, name: str) -> int:
    """Answers of a tier."""
    return edge.metric("answers_by_tier_total", f'{{tier="{name}"}}')


def wait_ready(pair: Pair, edge: Edge) -> None:
    """Wait until the worker can ask the replica and knows how far the primary is."""
    eventually(lambda: edge.metric("replicas_usable") == 1, "the replica is connected")
    pair.wait_applied(pair.number())
    with pair.shards.client(0) as primary:
        primary.wait(1, 5000)


def test_replica_answers_for_a_dead_primary(pair: Pair, tmp_path: Path) -> None:
    """Links come from it, again and again, for L1 keeps none; what it lacks is not "not found"."""
    for n in range(3):
        pair.shards.put(f"code{n}", f"https://target.example/{n}")
    pair.shards.delete("gone")
    with running_edge(tmp_path / "edge", [pair.primary.url]) as edge:
        assert edge.get("/other").status == 404
        wait_ready(pair, edge)
        pair.primary.kill()
        eventually(lambda: edge.metric("shards_trusted") == 0, "the primary's end is known")
        for n in range(3):
            for _ in range(2):
                assert edge.get(f"/code{n}").location == f"https://target.example/{n}"
        assert tier(edge, "replica") == 6
        assert [edge.get(path).status for path in ("/absent", "/gone")] == [503, 503]
        assert edge.metric("replica_lookups_total") == 8
        assert edge.metric("replica_refusals_total") == 0
        pair.primary.start()
        pair.shards.set_fence(0, epoch=2)
        eventually(lambda: edge.get("/absent").status == 404, "the primary is believed again")


def test_postgresql_decides_what_the_replica_lacks(pair: Pair, database_url: str, tmp_path: Path) -> None:
    """An absence at a replica is looked up at the origin: found there, or really not found."""
    migrate(database_url)
    insert_link(database_url, "late", "https://origin.example/late")
    pair.shards.put("there", "https://replica.example/")
    with running_edge(tmp_path / "edge", [pair.primary.url], origin_url=database_url) as edge:
        wait_ready(pair, edge)
        pair.primary.kill()
        eventually(lambda: edge.metric("shards_trusted") == 0, "the primary's end is known")
        assert edge.get("/there").location == "https://replica.example/"
        assert edge.get("/late").location == "https://origin.example/late"
        assert edge.get("/nowhere").status == 404
        assert (tier(edge, "replica"), tier(edge, "origin")) == (1, 2)


def test_stalled_primary_holds_nobody_up_for_long(pair: Pair, tmp_path: Path) -> None:
    """The first request waits for the primary's look-up to be given up; then the replica answers."""
    pair.shards.put("one", "https://target.example/1")
    with running_edge(tmp_path / "edge", [pair.primary.url], reply_timeout_ms=100) as edge:
        wait_ready(pair, edge)
        with stalled(pair.primary):
            assert edge.get("/one").location == "https://target.example/1"
            assert tier(edge, "replica") == 1


def test_answers_that_may_be_too_old_are_refused(pair: Pair, tmp_path: Path) -> None:
    """A replica that lost its primary answers promptly; its number says since when it lacks changes."""
    pair.shards.put("one", "https://old.example/")
    with running_edge(tmp_path / "edge", [pair.primary.url], replica_ms=1500) as edge:
        wait_ready(pair, edge)
        with pair.client() as client:
            client.replicaof("no", "one")
        pair.shards.put("one", "https://new.example/", version=2)
        pair.wait_applied(pair.number())
        pair.primary.kill()
        eventually(lambda: edge.get("/one").status == 503, "the replica's word is too old")
        assert edge.metric("replica_refusals_total") > 0


def test_replica_is_not_asked_by_a_worker_that_slept(pair: Pair, tmp_path: Path) -> None:
    """Its primary need only be heard again (which takes long here, to be seen), and the replica may lack changes."""
    pair.shards.put("one", "https://old.example/")
    settings = {"ping_timeout_ms": 2000, "stale_ms": 1}
    with running_edge(tmp_path / "edge", [pair.primary.url], **settings) as edge:
        wait_ready(pair, edge)
        (worker,) = edge.workers()
        with pair.client() as client:
            client.replicaof("no", "one")
        with socket.create_connection(("127.0.0.1", edge.port)) as waiting, ExitStack() as stack:
            request = f"GET /one HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
            assert b"https://old.example/" in exchange(waiting, request)
            with stopped(worker["pid"]), pair.shards.client(0) as at_shard:
                wait_for_sleep(at_shard, keys.edge_key("test.0"), 2200)
                pair.shards.put("one", "https://new.example/", version=2)
                stack.enter_context(stalled(pair.primary))
                waiting.sendall(request)
            assert b"https://old.example/" not in exchange(waiting, b"")
        eventually(lambda: edge.get("/one").location == "https://new.example/", "the primary answers")


def test_bound_of_zero_asks_no_replica(pair: Pair, tmp_path: Path) -> None:
    """Then none is connected, either."""
    pair.shards.put("one", "https://target.example/1")
    with running_edge(tmp_path / "edge", [pair.primary.url], replica_ms=0) as edge:
        pair.wait_applied(pair.number())
        pair.primary.kill()
        eventually(lambda: edge.metric("shards_trusted") == 0, "the primary's end is known")
        assert edge.get("/one").status == 503
        assert (edge.metric("replicas_usable"), edge.metric("replica_lookups_total")) == (0, 0)


def test_another_process_fence_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    """What was filled by somebody else, or is fenced for a newer topology, is no replica of this primary."""
    pair.shards.put("one", "https://target.example/1")
    with running_edge(tmp_path / "edge", [pair.primary.url]) as edge:
        wait_ready(pair, edge)
        pair.primary.kill()
        eventually(lambda: edge.metric("shards_trusted") == 0, "the primary's end is known")
        with pair.client() as client:
            client.replicaof("no", "one")
            fence = client.get(keys.FENCE)
            assert isinstance(fence, bytes)
            assert edge.get("/one").status == 302
            for foreign in (fence.replace(b'"epoch":2', b'"epoch":3'), fence.replace(b'run_id":"', b'run_id":"x'), b""):
                client.set(keys.FENCE, foreign)
                assert edge.get("/one").status == 503
            client.delete(keys.FENCE)
            assert edge.get("/one").status == 503
            client.set(keys.FENCE, fence)
            client.delete(keys.SEQUENCE)
            assert edge.get("/one").status == 503
        assert edge.metric("replica_refusals_total") == 5


def test_worker_that_never_knew_the_primary_believes_no_replica(pair: Pair, tmp_path: Path) -> None:
    """It could not tell a replica from one that lags by a day."""
    pair.shards.put("one", "https://target.example/1")
    with running_edge(tmp_path / "edge", [pair.primary.url]) as edge:
        assert edge.get("/one").status == 302
    pair.primary.kill()
    with started_edge(tmp_path / "edge", [pair.primary.url], snapshot_bytes=0) as edge:
        eventually(lambda: edge.admits() and edge.metric("replicas_usable") == 1, "it serves, by the stored topology")
        assert edge.get("/one").status == 503


def test_replicas_of_a_topology_are_followed(pair: Pair, redis_factory: RedisFactory, tmp_path: Path) -> None:
    """One that is replaced by another one is let go; the primary's session stays."""
    pair.shards.put("one", "https://target.example/1")
    with running_edge(tmp_path / "edge", [pair.primary.url]) as edge:
        wait_ready(pair, edge)
        connects = edge.metric("shard_connects_total")
        other = Pair(pair.shards, pair.primary, redis_factory())
        other.follow()
        held = pair.shards.topology
        described = replace(held.shards[0], replicas=(other.replica.url,))
        pair.shards.enforce(replace(held, epoch=3, shards=(described,)), [0])
        eventually(lambda: edge.metric("epoch") == 3, "the topology is adopted")
        wait_ready(other, edge)
        pair.replica.kill()
        pair.primary.kill()
        eventually(lambda: edge.metric("shards_trusted") == 0, "the primary's end is known")
        assert edge.get("/one").location == "https://target.example/1"
        assert edge.metric("shard_connects_total") == connects


def test_sessions_of_a_shard_with_many_replicas_are_bounded(pair: Pair) -> None:
    """Each costs every worker a connection, and attempts to connect while it is away."""

    async def run() -> None:
        async with running_rig(pair.shards) as rig, asyncio.TaskGroup() as tasks:
            started: list[asyncio.Task[None]] = []

            def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                started.append(tasks.create_task(work))
                return started[-1]

            replicas = Replicas(
                "many",
                rig.shards[0].progress,
                lambda key, data: None,
                config=rig.config,
                counters=rig.counters,
                edge_id="many",
                spawn=spawn,
            )
            replicas.follow([f"redis://127.0.0.1:{port}" for port in range(1, 30)])
            assert len(started) == REPLICAS_MAX
            replicas.follow(())

    asyncio.run(run())
