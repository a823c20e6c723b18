"""A worker that slept (SIGSTOP) tells nobody who came later what it had read before: I4, beyond what L1 holds."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from edge._connection import Tier
from edge._fast import xxh64
from edge._front import Answer
from edge.clock import monotonic_ms
from tests.edge.load import exchange
from tests.edge.rig import Rig, running_rig, until
from tests.edge.stand import HOST, Edge, Shards, eventually, insert_link, migrate, running_edge, stalled
from tests.edge.test_freshness import wait_for_sleep
from tests.edge.test_moves import stopped
from tests.stack.fixtures import RedisFactory
from wire import keys

GET = f"GET /%s HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
# A busy machine is no silent shard.
PATIENT = {"ping_timeout_ms": 9000, "reply_timeout_ms": 5000}
IMPATIENT = {"ping_timeout_ms": 2500, "reply_timeout_ms": 5000, "ping_interval_ms": 50}
# Look-ups of the edge that wait for a lock.
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'links'::regclass"


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard."""
    return Shards([redis_factory()])


@contextmanager
def client_of(edge: Edge) -> Iterator[Callable[[str], None]]:
    """A connection that sends requests and reads no answer; it is known to the edge."""
    with socket.create_connection(("127.0.0.1", edge.port)) as client:
        exchange(client, (GET % "").encode())
        yield lambda code: client.sendall((GET % code).encode())


def mget_calls(client: redis.Redis) -> int:
    """How many look-ups the shard has answered."""
    return int(client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])


def test_request_joins_no_lookup_from_before_the_sleep(shards: Shards, tmp_path: Path) -> None:
    """1. A look-up is under way; the worker sleeps. 2. A client asks for anything. 3. The shard answers the look-up.
    4. The link changes. 5. Another client asks for it. 6. The worker wakes, and sees 2 and 5 before 3."""
    shards.put("abc", "https://old.example/")
    settings = PATIENT | {"reply_timeout_ms": 2500}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge, shards.client(0) as at_shard:
        (worker,) = edge.workers()
        with (
            client_of(edge) as first,
            client_of(edge) as any_other,
            socket.create_connection(("127.0.0.1", edge.port)) as late,
        ):
            exchange(late, (GET % "").encode())
            calls = mget_calls(at_shard)
            with stalled(shards.servers[0]) as go_on:
                first("abc")
                eventually(lambda: edge.metric("flights", '{kind="miss"}') == 1, "the look-up is under way")
                with stopped(worker["pid"]):
                    any_other("nothing")
                    go_on()
                    eventually(lambda: mget_calls(at_shard) > calls, "the shard has answered")
                    wait_for_sleep(at_shard, keys.edge_key("test.0"), 2700)
                    shards.put("abc", "https://new.example/", version=2)
                    late.sendall((GET % "abc").encode())
                assert b"https://old.example/" not in exchange(late, b"")
        assert edge.get("/abc").location == "https://new.example/"


class Asking:
    """A request that waits for the resolver."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes | None, Tier]] = []

    def answer(self, answer: Answer, tier: Tier) -> None:
        """Called by the resolver."""
        self.answers.append((answer.target, tier))


def test_what_postgresql_said_before_the_sleep_is_not_kept(shards: Shards, database_url: str) -> None:
    """1. PostgreSQL is asked; the worker sleeps. 2. PostgreSQL answers. 3. The link changes. 4. The worker wakes: who
    asked before is told what was true then, and nobody after him."""
    key = keys.cache_key(1, "abc")
    migrate(database_url)
    insert_link(database_url, "abc", "https://old.example/")
    shards.set_fence(0, "filling")

    async def run() -> None:
        settings = PATIENT | {"origin_timeout_ms": 9000, "origin_connections": 1}
        async with running_rig(shards, origin_url=database_url, **settings) as rig:
            assert (await rig.get("nothing"))[0] == 404
            with elsewhere(database_url) as ask:
                ask("BEGIN")
                ask("LOCK TABLE links IN ACCESS EXCLUSIVE MODE")
                asking = Asking()
                rig.resolver.resolve(key, xxh64(key), asking)
                await until(lambda: ask(WAITING) == 1)
                # In one turn of the loop: the worker stands still.
                asked_ms = monotonic_ms()
                ask("COMMIT")
                eventually(lambda: ask(WAITING) == 0, "PostgreSQL has answered")
                eventually(lambda: monotonic_ms() - asked_ms > rig.config.origin_ttl_ms, "its answer is old")
            await until(lambda: asking.answers)
            assert asking.answers == [(b"https://old.example/", "origin")]
            assert rig.front.find(key) is None

    asyncio.run(run())


@contextmanager
def elsewhere(database_url: str) -> Iterator[Callable[[str], Any]]:
    """A session with PostgreSQL in a thread of its own: whoever asks for a value stands still until it is there."""
    with ThreadPoolExecutor(1) as thread:
        runner = thread.submit(asyncio.Runner).result()
        connection = thread.submit(runner.run, asyncpg.connect(database_url)).result()
        yield lambda statement: thread.submit(runner.run, connection.fetchval(statement)).result()
        thread.submit(runner.run, connection.close()).result()
        thread.submit(runner.close).result()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no shard that stays silent."""
    monkeypatch.setattr("edge.parking.PARK_MS", 5000)
    monkeypatch.setattr("edge.standing.EXPLAIN_MS", 5000)


def asked_after_a_sleep(shards: Shards, rig: Rig, meanwhile: Callable[[], None]) -> Asking:
    """All of it in one turn of the loop: nothing is heard, and no timer runs."""
    key = keys.cache_key(1, "abc")
    meanwhile()
    shards.put("abc", "https://new.example/", version=2)
    eventually(lambda: not rig.shards[0].is_usable, "the worker has stood still for long enough")
    asking = Asking()
    rig.resolver.resolve(key, xxh64(key), asking)
    return asking


@pytest.mark.usefixtures("patience")
def test_request_waits_until_its_shard_is_heard_again(shards: Shards) -> None:
    """It gets what the shard says: no old answer of L1, and PostgreSQL gets no herd, because a worker stood still."""
    shards.put("abc", "https://old.example/")

    async def run() -> None:
        async with running_rig(shards, **IMPATIENT) as rig:
            assert await rig.get("abc") == (302, "https://old.example/")
            asking = asked_after_a_sleep(shards, rig, lambda: None)
            await until(lambda: asking.answers)
            assert asking.answers == [(b"https://new.example/", "shard")]
            assert rig.counters.get("flights_parked") == 1

    asyncio.run(run())


@pytest.mark.usefixtures("patience")
def test_request_waits_for_the_topology_that_was_slept_through(shards: Shards) -> None:
    """The shard is heard again, and its fence names a newer topology: that is waited for, too."""
    shards.put("abc", "https://old.example/")

    async def run() -> None:
        async with running_rig(shards, **IMPATIENT) as rig:
            assert await rig.get("abc") == (302, "https://old.example/")
            asking = asked_after_a_sleep(shards, rig, lambda: shards.set_fence(0, epoch=2))
            await until(lambda: rig.counters.get("trust_refusals") > 2)
            assert asking.answers == []
            rig.shards[0].hold(2)
            await until(lambda: asking.answers)
            assert asking.answers == [(b"https://new.example/", "shard")]

    asyncio.run(run())
