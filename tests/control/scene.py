"""The parts of projection, in this process, so that a test can stop between two of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from control import migrations
from control.background import Background
from control.db import Connection, Database, open_database
from control.domains import service as domains
from control.links.model import LinkPatch, NewLink
from control.links.service import Condition, Links
from control.projection.batch import BatchResult, project_ready
from control.projection.rebuild import rebuild
from control.projection.writers import Writers
from control.shards import service as shards
from control.shards import store as shard_store
from control.shards.current import CurrentPlacement
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
    placement: CurrentPlacement

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
        await shard_store.lock_placement_shared(connection)
        placement = await self.placement.get(connection)
        assert placement is not None
        await self.writers.follow(placement.topology)
        return await project_ready(connection, placement, self.writers)

    async def project(self) -> BatchResult:
        """One batch."""
        async with self.database.transaction() as connection:
            return await self.project_in(connection)

    async def rows(self, query: str, *arguments: object) -> list[tuple[object, ...]]:
        """The rows of a query."""
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def topology(self) -> Topology:
        """The topology in force."""
        return await shards.get_topology(self.database)

    async def set_topology(self, joining: tuple[str, ...] = (), **changes: Any) -> Topology:
        """Put the topology with these changes in force, and wait until every shard of it can be written."""
        async with shards.placement_locked(self.database) as connection:
            held = await shard_store.current(connection)
            assert held is not None
            await shards.publish(connection, replace(held, epoch=held.epoch + 1, **changes), joining)
        await self.wait_connected()
        return await self.topology()

    async def wait_connected(self) -> None:
        """Wait until every shard can be written."""
        topology = await self.topology()
        await self.writers.follow(topology)
        async with asyncio.timeout(DEADLINE_S):
            while not all(self.writers.get(shard.id) for shard in topology.shards):  # noqa: ASYNC110  (no signal)
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
        await shards.set_topology(database, shard_list(servers))
        await rebuild(database, lambda _: None)
        links = Links(database, lambda: None)
        scene = Scene(database=database, links=links, writers=writers, placement=CurrentPlacement())
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
