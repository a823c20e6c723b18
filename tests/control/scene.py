"""The parts of projection, in this process, so that a test can stop between two of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from control import migrations
from control.background import Background
from control.db import Connection, Database, open_database
from control.domains import service as domains
from control.links.model import LinkPatch, NewLink
from control.links.service import Condition, Links
from control.projection import recovery
from control.projection.batch import BatchResult, project_ready
from control.projection.rebuild import rebuild
from control.projection.recovery import Published
from control.projection.writers import Writers
from control.shards import model as shard_model
from control.shards import service as shards
from tests.control.station import DEADLINE_S, SHORT_URL, shard_list
from tests.stack.server import RedisServer
from wire.topology import Topology

NO_CONDITION = Condition()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A database and complete shards; nothing runs in the background but the writers' connections."""

    database: Database
    links: Links
    writers: Writers
    topology: Topology

    async def put(self, code: str, target: str) -> None:
        """Create the link or change its target; committed, not projected."""
        rows = await self.rows("SELECT 1 FROM links WHERE code = $1 AND deleted_at IS NULL", code)
        if rows:
            await self.links.update(None, code, LinkPatch(target=target), NO_CONDITION)
        else:
            await self.links.create(NewLink(target=target, code=code))

    async def delete(self, code: str) -> None:
        """Delete the link; committed, not projected."""
        await self.links.delete(None, code, NO_CONDITION)

    async def project_in(self, connection: Connection) -> BatchResult:
        """One batch in the caller's transaction."""
        return await project_ready(connection, shard_model.ring_of(self.topology), self.writers)

    async def project(self) -> BatchResult:
        """One batch."""
        async with self.database.transaction() as connection:
            return await self.project_in(connection)

    async def published(self) -> Published:
        """The documents of this scene."""
        async with self.database.connection() as connection:
            return await recovery.read_published(connection, self.topology)

    async def rows(self, query: str, *arguments: object) -> list[tuple[object, ...]]:
        """The rows of a query."""
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def wait_connected(self) -> None:
        """Wait until every shard can be written."""
        async with asyncio.timeout(DEADLINE_S):
            while not all(self.writers.get(shard.id) for shard in self.topology.shards):  # noqa: ASYNC110  (no signal)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_scene(url: str, servers: list[RedisServer]) -> AsyncIterator[Scene]:
    """A scene whose shards are complete."""
    database = await open_database(url)
    background = Background(structlog.get_logger())
    writers = Writers(background)
    try:
        await migrations.migrate(database)
        await domains.ensure_default(database, SHORT_URL)
        topology = await shards.set_topology(database, shard_list(servers))
        await rebuild(database, lambda _: None)
        await writers.follow(topology)
        scene = Scene(database=database, links=Links(database, lambda: None), writers=writers, topology=topology)
        await scene.wait_connected()
        yield scene
    finally:
        await background.stop()
        await writers.close()
        await database.close()


def play(url: str, servers: list[RedisServer], work: Callable[[Scene], Awaitable[None]]) -> None:
    """Run a test's coroutine in a scene."""

    async def run() -> None:
        async with open_scene(url, servers) as scene:
            await work(scene)

    asyncio.run(run())
