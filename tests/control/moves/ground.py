"""Shards under a move, as its works find them: the topology of a phase in force, keepers and the projector at work."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import redis
import structlog

from control import migrations
from control.background import Background
from control.bell import Bell
from control.db import Connection, Database, open_database
from control.domains import service as domains
from control.errors import Error
from control.links.model import LinkPatch, NewLink, stored_hash
from control.links.service import Condition, Links
from control.moves import documents
from control.moves.documents import union
from control.moves.steps import STEPS, Phase
from control.moves.work import Cursor, Done, Job, Pace, Progress, Result, Stopped, Waits, Work
from control.projection.keeper import Tools
from control.projection.tasks import Housekeeper, Projector
from control.projection.writers import Writers
from control.shards import service as shard_service
from control.shards import store as shard_store
from control.shards.current import CurrentPlacement, Placement, placement_of
from control.shards.edges import Edges
from tests.control.station import DEADLINE_S, SHORT_URL, fence_of, is_trusted
from tests.stack.server import RedisServer
from wire import fence, keys, record
from wire.record import LinkRecord
from wire.topology import Shard, Topology

FAST: Final = Pace(links_s=1_000_000, latency_s=5.0)
TARGET: Final = "https://example.com/"
VIRTUAL_NODES: Final = 16

OnReport = Callable[[int, Cursor], Awaitable[None]]  # the number of the report, from 0


@dataclass(kw_only=True)
class Ground:
    """What a test changes and looks at."""

    database: Database
    links: Links
    projector: Projector
    background: Background
    before: Topology
    after: Topology
    servers: dict[str, RedisServer]
    cursor: Cursor = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    calls: int = 0
    topology: Topology = field(init=False)

    async def enter(self, phase: Phase) -> None:
        """Put the phase's topology in force, and wait until the shards have it."""
        async with shard_service.placement_locked(self.database) as connection:
            held = await shard_store.current(connection)
            epoch = 1 if held is None else held.epoch + 1
            document = STEPS[phase].document
            self.topology = documents.build(document, self.before, self.after, epoch, held or self.before)
            joining = documents.joining(self.before, self.after)
            await shard_service.publish(connection, self.topology, joining)
        self.cursor = {}
        await self.wait_fenced()

    async def wait_fenced(self) -> None:
        """Wait until every shard of the topology carries its fence, and is complete unless it joins."""
        before = {shard.id for shard in self.before.shards}
        async with asyncio.timeout(DEADLINE_S):
            for shard in self.topology.shards:
                while not await self._is_fenced(shard, must_be_complete=shard.id in before):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # keepers give no signal

    async def _is_fenced(self, shard: Shard, *, must_be_complete: bool) -> bool:
        server = self.servers[shard.id]
        found = fence_of(server)
        if found is None or found.epoch != self.topology.epoch or found.run_id != run_id_of(server):
            return False
        rows = await self.rows("SELECT run_id FROM shards WHERE id = $1", shard.id)
        return rows == [(found.run_id,)] and (not must_be_complete or is_trusted(server))

    async def work(self, work: Work, on_report: OnReport | None = None, **changes: Any) -> Result:
        """Call the work once, with the cursor that was reported last."""
        self.calls += 1
        numbers = itertools.count()

        async def report(cursor: Cursor, progress: Progress) -> None:
            if on_report is not None:
                await on_report(next(numbers), cursor)
            self.cursor = cursor
            self.progress.append(progress)

        async def hold(_: Connection) -> None:
            pass

        job = Job(
            move_id=1,
            database=self.database,
            placement=await self.placement(),
            arcs=documents.arcs(self.before, self.after),
            joining=documents.joining(self.before, self.after),
            leaving=(),
            lost=frozenset(),
            pace=FAST,
            cursor=self.cursor,
            report=report,
            hold=hold,
        )
        return await work(replace(job, **changes))

    async def finish(self, work: Work, on_report: OnReport | None = None, **changes: Any) -> Done:
        """Call the work again and again until it is done, as the driver does."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    result = await self.work(work, on_report, **changes)
                except Stopped:
                    continue
                except Error as error:
                    if error.code != "shard_unavailable":
                        raise
                else:
                    if isinstance(result, Done):
                        return result
                    assert isinstance(result, Waits), result
                await asyncio.sleep(0.05)

    async def placement(self) -> Placement:
        """The placement in force."""
        return await placement_of(self.topology)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def load(self, codes: Iterable[str]) -> None:
        """Links that are in the table, and in no outbox."""
        rows = [(1, code, stored_hash(1, code), TARGET + code) for code in codes]
        async with self.database.connection() as connection:
            await connection.copy_records_to_table(
                "links", records=rows, columns=["domain_id", "code", "key_hash", "target"]
            )

    async def put(self, code: str, target: str) -> None:
        """Create the link or change its target."""
        if await self.rows("SELECT 1 FROM links WHERE code = $1 AND deleted_at IS NULL", code):
            await self.links.update(None, code, LinkPatch(target=target), Condition())
        else:
            await self.links.create(NewLink(target=target, code=code))

    async def delete(self, code: str) -> None:
        """Delete the link."""
        await self.links.delete(None, code, Condition())

    async def wait_projected(self) -> None:
        """Wait until the outbox is empty."""
        async with asyncio.timeout(DEADLINE_S):
            while await self.rows("SELECT 1 FROM outbox LIMIT 1"):
                self.projector.wake()
                await asyncio.sleep(0.01)

    async def expected(self) -> dict[str, dict[bytes, bytes]]:
        """What each shard has to hold of links that are alive: key and target."""
        placement = await self.placement()
        held: dict[str, dict[bytes, bytes]] = {shard.id: {} for shard in self.topology.shards}
        for code, target in await self.rows("SELECT code, target FROM links WHERE deleted_at IS NULL"):
            for shard_id in placement.owner_ids(stored_hash(1, code) + 2**63):
                held[shard_id][keys.link_key(1, code)] = target.encode()
        return held

    def held(self, shard_id: str) -> dict[bytes, bytes]:
        """What it holds of them."""
        return {key: found.target for key, found in records(self.servers[shard_id]).items() if found}

    async def assert_placed(self) -> None:
        """Every shard holds just the links that it has to hold."""
        for shard_id, links in (await self.expected()).items():
            assert self.held(shard_id) == links, shard_id

    async def assert_held(self) -> None:
        """Every shard holds the links that it has to hold, and perhaps others that are not its own any more."""
        for shard_id, links in (await self.expected()).items():
            held = self.held(shard_id)
            assert {key: held.get(key) for key in links} == links, shard_id


def records(server: RedisServer) -> dict[bytes, LinkRecord | None]:
    """All link keys of a shard; None for a tombstone."""
    with redis.Redis.from_url(server.url) as client:
        found: list[bytes] = sorted(client.scan_iter(b"l:*", count=1000))
        values: Any = client.mget(found) if found else []
    decoded = {key: record.decode(value) for key, value in zip(found, values, strict=True) if value is not None}
    return {key: value if isinstance(value, LinkRecord) else None for key, value in decoded.items()}


def raise_fence(server: RedisServer) -> None:
    """As if a later topology had come into force."""
    held = fence_of(server)
    assert held is not None
    with redis.Redis.from_url(server.url) as client:
        client.set(keys.FENCE, fence.encode(replace(held, epoch=held.epoch + 1)))


def run_id_of(server: RedisServer) -> str:
    """The process that answers now."""
    with redis.Redis.from_url(server.url) as client:
        info: Any = client.info("server")
        return str(info["run_id"])


def add_one(servers: Sequence[RedisServer], virtual_nodes: int = VIRTUAL_NODES) -> tuple[Topology, Topology]:
    """The last server joins the others."""
    shards = tuple(Shard(id=f"shard-{number}", url=server.url) for number, server in enumerate(servers))
    before = Topology(epoch=1, shards=shards[:-1], virtual_nodes=virtual_nodes)
    return before, replace(before, shards=shards)


@asynccontextmanager
async def open_ground(
    url: str, servers: Sequence[RedisServer], topologies: tuple[Topology, Topology], codes: Iterable[str]
) -> AsyncIterator[Ground]:
    """A move's shards before it begins: those that are there are complete."""
    before, after = topologies
    database = await open_database(url)
    background = Background(structlog.get_logger())
    writers = Writers(background)
    placement, bell, log = CurrentPlacement(), Bell(), structlog.get_logger()
    projector = Projector(database, writers, placement, bell, lambda _: None)
    tools = Tools(database=database, placement=placement, bell=bell, wake=projector.wake, log=log)
    housekeeper = Housekeeper(tools, background, Edges())
    ground = Ground(
        database=database,
        links=Links(database, projector.wake),
        projector=projector,
        background=background,
        before=before,
        after=after,
        servers={shard.id: server for shard, server in zip(union(before, after), servers, strict=True)},
    )
    try:
        await migrations.migrate(database)
        await domains.ensure_default(database, SHORT_URL)
        await ground.load(codes)
        background.start("projector", projector.run)
        background.start("listener", projector.listen)
        background.start("topology", housekeeper.follow_topology)
        await ground.enter("planned")
        yield ground
    finally:
        await background.stop()
        await writers.close()
        await database.close()


def play(
    url: str,
    servers: Sequence[RedisServer],
    topologies: tuple[Topology, Topology],
    codes: Iterable[str],
    work: Callable[[Ground], Awaitable[None]],
) -> None:
    """Run a test's coroutine on a ground."""

    async def run() -> None:
        async with open_ground(url, servers, topologies, codes) as ground:
            await work(ground)

    asyncio.run(run())
