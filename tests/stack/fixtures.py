"""The fixtures; tests/conftest.py makes them known to every test."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from control.dev import postgres as postgres_program
from control.dev import redis as redis_program
from control.dev.ports import free_ports
from tests.stack.server import PostgresServer, RedisServer

PASSWORD = "pointsman"
RedisFactory = Callable[[], RedisServer]
_database_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One cluster for each pytest process. It is shared: never stop it."""
    yield from _postgres(tmp_path_factory.mktemp("postgres"))


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A cluster of the test's own, to be stopped, killed and started."""
    yield from _postgres(tmp_path / "postgres")


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    name = f"test_{next(_database_numbers)}"
    asyncio.run(_execute(postgres.dsn, f"CREATE DATABASE {name}"))
    yield postgres.dsn_of(name)
    asyncio.run(_execute(postgres.dsn, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def redis_factory(tmp_path: Path) -> Iterator[RedisFactory]:
    """Starts a Redis server at each call."""
    servers: list[RedisServer] = []

    def start() -> RedisServer:
        (port,) = free_ports(1)
        name = f"redis-{len(servers)}"
        directory = tmp_path / name
        program = redis_program.program(name, directory, port, tmp_path / f"{name}.log")
        servers.append(RedisServer(program, port, directory))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def _postgres(directory: Path) -> Iterator[PostgresServer]:
    (port,) = free_ports(1)
    cluster = postgres_program.open_cluster(directory / "data", PASSWORD)
    log = directory / "postgres.log"
    program = postgres_program.program(cluster, port, log, postgres_program.UNSAFE_AND_FAST)
    server = PostgresServer(program, port, directory, cluster.dsn(port, "postgres"))
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(directory)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
