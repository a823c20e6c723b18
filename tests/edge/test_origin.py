"""The bulkhead before PostgreSQL: a bounded queue, a bounded wait, and nobody else touched."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import pytest

from edge._counters import BLOCK_BYTES, Counters
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.origin import Lookup, Origin
from tests.edge.stand import Edge, Shards, eventually, insert_link, migrate, running_edge
from tests.edge.test_miss import read_all, waiting_clients
from tests.stack.fixtures import RedisFactory
from tests.stack.server import PostgresServer


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two shards, of which the first one decides nothing."""
    made = Shards([redis_factory() for _ in range(2)])
    made.set_fence(0, state="filling")
    return made


@pytest.fixture
def origin_url(database_url: str) -> str:
    """A database with the schema."""
    migrate(database_url)
    return database_url


@contextmanager
def locked_links(url: str) -> Iterator[Callable[[], None]]:
    """Nobody can read a link, until the end or until what this gives is called."""
    loop = asyncio.new_event_loop()
    with ExitStack() as stack:
        stack.callback(loop.close)
        connection = loop.run_until_complete(asyncpg.connect(url))
        stack.callback(lambda: loop.run_until_complete(connection.close()))
        loop.run_until_complete(connection.execute("BEGIN; LOCK TABLE links IN ACCESS EXCLUSIVE MODE"))
        yield stack.close


def waits_in_postgresql(edge: Edge, count: int) -> None:
    """Wait until so many look-ups were handed to the origin."""
    eventually(lambda: edge.metric("origin_lookups_total") == count, f"{count} look-ups at the origin")


def test_full_queue_rejects_at_once_and_touches_nobody_else(shards: Shards, origin_url: str, tmp_path: Path) -> None:
    """One look-up is read, two wait, the fourth is 503; the other shard's links and L1 go on; the three are served."""
    codes = [shards.code_of(0, prefix) for prefix in ("a", "b", "c", "d")]
    for code in codes:
        insert_link(origin_url, code, f"https://origin.example/{code}")
    other, hot = shards.code_of(1, "other"), shards.code_of(1, "hot")
    for code in (other, hot):
        shards.put(code, "https://shard.example/")
    settings = {"origin_connections": 1, "origin_queue_max": 2, "origin_timeout_ms": 60_000}
    with running_edge(tmp_path / "edge", [shards.servers[1].url], origin_url=origin_url, **settings) as edge:
        eventually(lambda: edge.workers()[0]["is_origin_reachable"], "PostgreSQL is connected")
        assert edge.get(f"/{hot}").status == 302
        with locked_links(origin_url) as release, waiting_clients(edge, codes[:1]) as first:
            waits_in_postgresql(edge, 1)
            with waiting_clients(edge, codes[1:3]) as rest:
                waits_in_postgresql(edge, 3)
                refused = edge.get(f"/{codes[3]}")
                assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
                assert edge.metric("origin_rejections_total") == 1
                assert (edge.get(f"/{other}").status, edge.get(f"/{hot}").status) == (302, 302)
                assert edge.metric("answers_by_tier_total", '{tier="l1"}') == 1
                release()
                answers = [read_all(client) for client in (*first, *rest)]
        assert all(answer.startswith(b"HTTP/1.1 302") for answer in answers)
        assert edge.metric("origin_lookup_seconds_count") == 3


def test_wait_in_the_queue_counts(shards: Shards, origin_url: str, tmp_path: Path) -> None:
    """Look-ups behind one that hangs end with it, and not one timeout after the other."""
    codes = [shards.code_of(0, f"q{n}-") for n in range(8)]
    settings = {"origin_connections": 1, "origin_timeout_ms": 2000}
    with running_edge(tmp_path / "edge", [shards.servers[1].url], origin_url=origin_url, **settings) as edge:
        eventually(lambda: edge.workers()[0]["is_origin_reachable"], "PostgreSQL is connected")
        with locked_links(origin_url), waiting_clients(edge, codes[:1]) as first:
            waits_in_postgresql(edge, 1)
            started_ms = monotonic_ms()
            with waiting_clients(edge, codes[1:]) as rest:
                assert all(read_all(client).startswith(b"HTTP/1.1 503") for client in (*first, *rest))
            assert monotonic_ms() - started_ms < 3500
        eventually(lambda: edge.get(f"/{codes[0]}").status == 404, "PostgreSQL is asked again")


def test_overdue_lookup_fails_once_and_frees_its_place() -> None:
    """Time is a parameter: at the deadline, not before; and what comes after it finds room."""

    async def run() -> None:
        config = EdgeConfig(seeds=(), origin_url="postgresql://unused", origin_queue_max=1, origin_timeout_ms=1000)
        counters = Counters(bytearray(BLOCK_BYTES), 0)
        origin = Origin(config, counters)
        ended: list[str] = []

        def ask(name: str) -> bool:
            return origin.lookup(Lookup(b"1:a", lambda _record: ended.append("?"), lambda: ended.append(name)))

        before_ms = monotonic_ms()
        assert (ask("first"), ask("second")) == (True, False)
        after_ms = monotonic_ms()
        origin.sweep(before_ms + 999)
        assert ended == []
        origin.sweep(after_ms + 1001)
        origin.sweep(after_ms + 5000)
        assert (ended, counters.get("origin_timeouts"), counters.get("origin_rejections")) == (["first"], 1, 1)
        assert ask("third")

    asyncio.run(run())


def test_lost_postgresql_is_noticed_without_a_request(
    shards: Shards, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    """Its connections say so; look-ups then fail at once, and it is used again when it is back."""
    migrate(own_postgres.dsn)
    code = shards.code_of(0)
    insert_link(own_postgres.dsn, code, "https://origin.example/")
    with running_edge(tmp_path / "edge", [shards.servers[1].url], origin_url=own_postgres.dsn) as edge:
        eventually(lambda: edge.workers()[0]["is_origin_reachable"], "PostgreSQL is connected")
        own_postgres.kill()
        eventually(lambda: not edge.workers()[0]["is_origin_reachable"], "the loss is noticed")
        asked = edge.metric("origin_lookups_total")
        assert (edge.get(f"/{code}").status, edge.metric("origin_lookups_total")) == (503, asked)
        own_postgres.start()
        eventually(lambda: edge.get(f"/{code}").location == "https://origin.example/", "it is used again")
