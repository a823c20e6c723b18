"""A control plane under test: its process, its database and its shards."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import httpx
import redis

from control import migrations
from control.auth import service as auth
from control.db import Database, open_database
from control.dev.ports import free_ports
from control.dev.probe import answers_http
from control.dev.program import Program
from control.shards import service as shards
from tests.stack.server import RedisServer, Server
from wire import fence, keys, record
from wire.fence import Fence
from wire.record import LinkRecord, Tombstone
from wire.topology import Shard

SHORT_URL: Final = "http://go.example"
DEADLINE_S: Final = 20.0
_T = TypeVar("_T")


def with_database(url: str, work: Callable[[Database], Awaitable[_T]]) -> _T:
    """Run a coroutine with a database that is closed afterwards."""

    async def run() -> _T:
        database = await open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def fetch(url: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows of a query."""

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(run())


def eventually(check: Callable[[], Any], what: str) -> Any:
    """The first true answer of `check`, asked again and again: another process gives no signal here."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"never came true: {what}"


def prepare(url: str, servers: list[RedisServer]) -> str:
    """Migrate the database, put the shards in force, and return an API key."""

    async def run(database: Database) -> str:
        await migrations.migrate(database)
        if servers:
            await shards.set_topology(database, shard_list(servers))
        _, secret = await auth.create(database, "test")
        return secret

    return with_database(url, run)


def shard_list(servers: list[RedisServer]) -> list[Shard]:
    """The servers as shards of a topology."""
    return [Shard(id=f"shard-{index}", url=server.url) for index, server in enumerate(servers)]


def held(servers: list[RedisServer], code: str) -> LinkRecord | Tombstone | None:
    """What the shards hold for a code of the first domain."""
    for server in servers:
        with suppress(redis.ConnectionError, redis.TimeoutError), redis.Redis.from_url(server.url) as client:
            data: Any = client.get(keys.link_key(1, code))
            if data is not None:
                return record.decode(data)
    return None


def held_target(servers: list[RedisServer], code: str) -> str | None:
    """The target that the shards hold for a code."""
    found = held(servers, code)
    return found.target.decode() if isinstance(found, LinkRecord) else None


def fence_of(server: RedisServer) -> Fence | None:
    """The fence of a shard; None if it has none or cannot be asked."""
    with suppress(redis.ConnectionError, redis.TimeoutError), redis.Redis.from_url(server.url) as client:
        data: Any = client.get(keys.FENCE)
        return None if data is None else fence.decode(data)
    return None


def is_trusted(server: RedisServer) -> bool:
    """Whether an edge would believe the shard, its silence about a link included."""
    found = fence_of(server)
    if found is None:
        return False
    with redis.Redis.from_url(server.url) as client:
        return found.state == "complete" and found.run_id == client.info("server")["run_id"]


class Station:
    """`pointsman control` as a process."""

    def __init__(
        self, directory: Path, database_url: str, servers: list[RedisServer], key: str = "", **settings: str
    ) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url
        self.servers = servers
        self.settings = settings
        self.log = directory / f"control-{self.port}.log"
        self.key = key or prepare(database_url, servers)
        self.server = Server(self._program(), self.port, directory)
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=DEADLINE_S
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        self.server.start()

    def wait_trusted(self) -> None:
        """Wait until every shard is complete."""
        eventually(lambda: all(map(is_trusted, self.servers)), "every shard complete")

    def create(self, target: str, **members: Any) -> dict[str, Any]:
        """A new link, on its shard."""
        answer = self.client.post("/api/v1/links?wait=edges", json={"target": target, **members})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def patch(self, code: str, **members: Any) -> dict[str, Any]:
        """Change a link, and wait for its shard."""
        answer = self.client.patch(f"/api/v1/links/{code}?wait=edges", json=members)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def metric(self, name: str) -> float:
        """A metric's value, with its labels as part of the name."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def close(self) -> None:
        """End it."""
        self.client.close()
        self.server.close()

    def _program(self) -> Program:
        return Program(
            name="control",
            command=(sys.executable, "-m", "control", "control"),
            log=self.log,
            is_ready=lambda: answers_http(self.port, "/healthz"),
            environ={
                "POINTSMAN_DATABASE_URL": self.database_url,
                "POINTSMAN_CONTROL_PORT": str(self.port),
                "POINTSMAN_SHORT_URL": SHORT_URL,
                "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
                **self.settings,
            },
        )
