"""A worker that slept (SIGSTOP) tells nobody who came later what it had read before: I4, beyond what L1 holds."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis

from tests.edge.load import exchange
from tests.edge.stand import HOST, Edge, Shards, eventually, execute, insert_link, migrate, running_edge, stalled
from tests.edge.test_freshness import wait_for_sleep
from tests.edge.test_moves import stopped
from tests.stack.fixtures import RedisFactory
from wire import keys

GET = f"GET /%s HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
# A busy machine is no silent shard.
PATIENT = {"ping_timeout_ms": 9000, "reply_timeout_ms": 5000}


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
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **PATIENT) as edge, shards.client(0) as at_shard:
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
                for _ in range(2):  # whoever answers what came later has sent what came before
                    assert edge.get("/").status == 404
                with stopped(worker["pid"]):
                    any_other("nothing")
                    go_on()
                    eventually(lambda: mget_calls(at_shard) > calls, "the shard has answered")
                    wait_for_sleep(at_shard, keys.edge_key("test.0"), 1200)
                    shards.put("abc", "https://new.example/", version=2)
                    late.sendall((GET % "abc").encode())
                assert b"https://old.example/" not in exchange(late, b"")
        assert edge.get("/abc").location == "https://new.example/"


def test_what_postgresql_said_before_the_sleep_is_not_kept(shards: Shards, database_url: str, tmp_path: Path) -> None:
    """1. PostgreSQL is asked; the worker sleeps. 2. PostgreSQL answers. 3. The link changes. 4. The worker wakes."""
    migrate(database_url)
    insert_link(database_url, "abc", "https://old.example/")
    shards.set_fence(0, "filling")
    patient = PATIENT | {"origin_timeout_ms": 9000, "origin_connections": 1}
    seeds = [shards.servers[0].url]
    with (
        running_edge(tmp_path / "edge", seeds, origin_url=database_url, **patient) as edge,
        shards.client(0) as at_shard,
    ):
        eventually(lambda: edge.get("/nothing").status == 404, "PostgreSQL is asked")
        (worker,) = edge.workers()
        with client_of(edge) as first, socket.create_connection(("127.0.0.1", edge.port)) as late, ExitStack() as stack:
            exchange(late, (GET % "").encode())
            lock = stack.enter_context(locked(database_url))
            first("abc")
            eventually(lambda: states_of_edges(database_url) == {"Lock"}, "the look-up waits")
            with stopped(worker["pid"]):
                lock()
                eventually(lambda: states_of_edges(database_url) == {"Client"}, "PostgreSQL has answered")
                wait_for_sleep(at_shard, keys.edge_key("test.0"), 1200)
                execute(database_url, "UPDATE links SET target = 'https://new.example/', version = 2")
                late.sendall((GET % "abc").encode())
            assert b"https://new.example/" in exchange(late, b"")


@contextmanager
def locked(database_url: str) -> Iterator[Callable[[], None]]:
    """Nobody reads links, until the end or before when what this gives is called."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        connection = runner.run(asyncpg.connect(database_url))
        stack.callback(lambda: runner.run(connection.close()))
        runner.run(connection.execute("BEGIN; LOCK TABLE links IN ACCESS EXCLUSIVE MODE"))
        yield stack.close


def states_of_edges(database_url: str) -> set[str]:
    """What the edge's sessions in this database wait for."""
    query = (
        "SELECT wait_event_type FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'pointsman-edge'"
    )

    async def run() -> set[str]:
        connection = await asyncpg.connect(database_url)
        try:
            return {row[0] for row in await connection.fetch(query)}
        finally:
            await connection.close()

    return asyncio.run(run())
