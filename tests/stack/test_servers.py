"""The servers that all other tests rest on."""

import asyncio
import os
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.stack.fixtures import RedisFactory
from tests.stack.server import PostgresServer, RedisServer, children

LONG_S = 20


def _fetchval(dsn: str, query: str) -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def _client(server: RedisServer) -> Redis:
    return Redis.from_url(server.url, socket_timeout=0.2, retry=None)


def test_a_database_is_empty_and_of_this_test_alone(database_url: str) -> None:
    """A test starts from an empty database."""
    assert _fetchval(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_postgres_keeps_what_it_committed_when_killed(own_postgres: PostgresServer) -> None:
    """A killed cluster starts again with its data, on its port."""
    _fetchval(own_postgres.dsn, "CREATE TABLE t AS SELECT 42 AS n")
    own_postgres.kill()
    with pytest.raises(ConnectionRefusedError):
        _fetchval(own_postgres.dsn, "SELECT 1")
    own_postgres.start()
    assert _fetchval(own_postgres.dsn, "SELECT n FROM t") == 42


def test_postgres_wants_its_password(own_postgres: PostgresServer) -> None:
    """Other users of the machine do not get in."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        _fetchval(own_postgres.dsn.replace(":pointsman@", ":guess@"), "SELECT 1")


def test_redis_keeps_its_port_and_data_over_a_stop(redis_factory: RedisFactory) -> None:
    """A shard that is stopped and started has its keys, and another run id."""
    server = redis_factory()
    _client(server).set("k", "v")
    first_run = _client(server).info("server")["run_id"]
    server.stop()
    with pytest.raises(RedisConnectionError):
        _client(server).ping()
    server.start()
    assert _client(server).get("k") == b"v"
    assert _client(server).info("server")["run_id"] != first_run


def test_a_paused_redis_is_silent_until_it_is_resumed(redis_factory: RedisFactory) -> None:
    """A paused shard takes connections and answers nothing."""
    server = redis_factory()
    server.pause()
    with pytest.raises(RedisTimeoutError):
        _client(server).ping()
    server.resume()
    assert _client(server).ping()


def test_servers_end_when_the_tests_are_killed(tmp_path: Path) -> None:
    """A SIGKILL of pytest leaves no server behind, not the one that runs as another user either."""
    script = tmp_path / "test_forever.py"
    script.write_text(
        textwrap.dedent(
            """
            def test_forever(postgres, redis_factory, capfd):
                with capfd.disabled():
                    print(f"\\nPIDS {postgres.pid} {redis_factory().pid}", flush=True)
                input()
            """
        )
    )
    command = (sys.executable, "-m", "pytest", "-sq", "-p", "no:xdist", "-p", "tests.stack.fixtures", str(script))
    pytest_process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert pytest_process.stdout is not None
    pids = next(line.split()[1:] for line in pytest_process.stdout if line.startswith("PIDS"))
    everybody = [*map(int, pids), *children(int(pids[0]))]
    handles = [os.pidfd_open(pid) for pid in everybody]
    pytest_process.kill()
    pytest_process.communicate()
    for handle in handles:
        assert select.select([handle], [], [], LONG_S)[0] == [handle]
        os.close(handle)
