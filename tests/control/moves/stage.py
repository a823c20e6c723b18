"""A move in this process: the database, the shards with their keepers, an edge that says what it is told, and a driver
that can be made to fail at any of its effects."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
import redis.asyncio
import structlog

from control import migrations
from control.background import Background
from control.bell import Bell
from control.db import Connection, Database, open_database
from control.domains import service as domains
from control.moves import barrier, driver, store
from control.moves.driver import Drive, Options, Tools
from control.moves.model import Move, MoveRequest
from control.moves.plan import Speed
from control.moves.service import Moves
from control.moves.steps import STEPS, Phase, WorkName
from control.moves.work import Done, Job, Pace, Progress, Result, Stopped, Work
from control.projection import recovery
from control.projection import tasks as projection_tasks
from control.projection.keeper import Tools as KeeperTools
from control.projection.rebuild import rebuild
from control.projection.shard_writer import connect_writer
from control.projection.tasks import Housekeeper
from control.shards import service as shards
from control.shards import store as shard_store
from control.shards.current import CurrentPlacement
from control.shards.edges import Edges
from tests.control.station import SHORT_URL, shard_list
from tests.stack.server import RedisServer
from wire import heartbeat, keys
from wire.heartbeat import Heartbeat
from wire.topology import Topology

DEADLINE_S: Final = 40.0
CRASHES_MAX: Final = 30
_IS_COMPLETE: Final = "SELECT is_complete FROM shards WHERE id = $1"
MOVES: Final = Path(store.__file__).parent
PACE: Final = Pace(links_s=1_000_000, latency_s=1.0)


class Crash(BaseException):
    """The driver's process ends here; nothing on the way may catch it."""


class FaultyDatabase(Database):
    """Ends its user at each of its effects: when a function of control.moves uses the database, before that has had any
    effect (and the next driver comes through), or after all of it. One that only looks, again and again, is let alone
    after a while.
    """

    def __init__(self, database: Database, when: str) -> None:
        super().__init__(database._pool, database._url)
        self.crashes: Counter[str] = Counter()
        self._when = when
        self._visits: Counter[str] = Counter()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A use of the database; also that of a transaction."""
        user = _function_of_moves()
        self._visits[user] += 1
        is_last = self.crashes[user] < CRASHES_MAX and (self._when == "after" or self._visits[user] % 2 == 1)
        self.crashes[user] += is_last
        if is_last and self._when == "before":
            raise Crash
        async with super().connection() as connection:
            yield connection
        if is_last and self._when == "after":
            raise Crash


def _function_of_moves() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and Path(frame.f_code.co_filename).parent != MOVES:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_name


@dataclass
class Labourer:
    """Stands for the works: it is told what to give back, and notes for what it was called."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    results: dict[str, list[Result]] = field(default_factory=dict)
    held: WorkName = "copy"  # the work that has to pass the gate before each page
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    stops: int = 0  # how often a report said that the work is to end
    lost: frozenset[str] = frozenset()  # what the last call was to pass over

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def works(self) -> Mapping[WorkName, Work]:
        """One of each name."""
        return {"copy": self._named("copy"), "verify": self._named("verify"), "remove": self._named("remove")}

    def _named(self, name: str) -> Work:
        async def work(job: Job) -> Result:
            self.calls.append((name, job.cursor))
            self.lost = job.lost
            for page in range(job.cursor.get("page", 0), 3):
                if name == self.held:
                    await self.gate.wait()
                await self._report(job, name, page + 1)
            waiting = self.results.get(name)
            if waiting:
                return waiting.pop(0)
            if name == "verify":
                await _complete(job)
            return Done({"by": name})

        return work

    async def _report(self, job: Job, name: str, page: int) -> None:
        try:
            await job.report({"page": page}, Progress(fraction=page / 3, counts={name: page}))
        except Stopped:
            self.stops += 1
            raise


async def _complete(job: Job) -> None:
    """What verifying does for the shards that are brought in; there are no links here."""
    for shard in job.placement.topology.shards:
        if shard.id in job.joining:
            connection = await connect_writer(shard.id, shard.url)
            async with job.database.transaction() as rows:
                await job.hold(rows)
                await recovery.raise_floor(rows, connection, connection.run_id)
            async with job.database.connection() as rows:
                assert await recovery.complete_joining(rows, connection, connection.run_id)
            await connection.close()


class Edge:
    """An edge worker that heartbeats to every shard, by the newest topology unless it is held back."""

    def __init__(self, database: Database, edge_id: str = "web-1.0") -> None:
        self.edge_id = edge_id
        self.epoch_max: int | None = None
        self.fallbacks = 0
        self.differences = 0
        self._database = database

    async def run(self) -> None:
        """Heartbeat until it is cancelled; a shard that is away gets none."""
        while True:
            async with self._database.connection() as connection:
                topology = await shard_store.current(connection)
            assert topology is not None
            epoch = topology.epoch if self.epoch_max is None else min(topology.epoch, self.epoch_max)
            await asyncio.gather(*(self._beat(shard.url, epoch) for shard in topology.shards))
            await asyncio.sleep(0.1)

    async def _beat(self, url: str, epoch: int) -> None:
        beat = Heartbeat(
            edge_id=self.edge_id,
            build="test",
            epoch=epoch,
            sequence=0,
            fallbacks=self.fallbacks,
            sample_differences=self.differences,
        )
        with suppress(redis.exceptions.RedisError, OSError):
            async with redis.asyncio.Redis.from_url(url, socket_timeout=0.2, socket_connect_timeout=0.2) as client:
                await client.set(keys.edge_key(self.edge_id), heartbeat.encode(beat), px=heartbeat.EXPIRES_MS)


@dataclass(kw_only=True)
class Stage:
    """What a test plays with."""

    database: Database
    edges: Edges
    edge: Edge
    labourer: Labourer
    moves: Moves
    woken: asyncio.Event
    background: Background
    ended: list[str] = field(default_factory=list)
    lost_after_s: float = 0.2
    soak_s: float = 0.2

    def tools(self, database: Database | None = None, works: Mapping[WorkName, Work] | None = None) -> Tools:
        """What a driver needs; with another database it is one that can be ended anywhere."""
        return Tools(
            database=database or self.database,
            edges=self.edges,
            works=works or self.labourer.works,
            options=Options(soak_s=self.soak_s, lost_after_s=self.lost_after_s, copy=PACE, remove=PACE),
            log=structlog.get_logger(),
            on_end=self.ended.append,
        )

    async def drive(self, database: Database | None = None) -> None:
        """Drive the move under way to its end, as a process does that has the lock."""
        used = database or self.database
        async with used.transaction() as connection:
            move = await store.take_over(connection)
        if move is not None:
            await Drive(self.tools(used), move, self.woken).run()

    @asynccontextmanager
    async def driving(self) -> AsyncIterator["asyncio.Task[None]"]:
        """A driver in the background."""
        task = asyncio.create_task(self.drive())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def start(self, request: MoveRequest) -> Move:
        """Begin a move."""
        return await self.moves.start(request)

    async def until(self, move_id: int, condition: Callable[[Move], bool], what: str) -> Move:
        """The move as soon as the condition holds: the driver gives no signal."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    move = await self.moves.get(move_id)
                    if condition(move):
                        return move
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"never came true: {what}; it is {move}") from None

    async def until_phase(self, move_id: int, phase: Phase) -> Move:
        """The move as soon as it is in the phase."""
        return await self.until(move_id, lambda move: move.phase == phase, phase)

    async def until_ended(self, move_id: int) -> Move:
        """The move at its end."""
        return await self.until(move_id, lambda move: STEPS[move.phase].is_end, "the move's end")

    async def until_heard(self, edge_id: str) -> None:
        """As soon as a worker is known to live whose heartbeats cannot be read."""
        async with asyncio.timeout(DEADLINE_S):
            while not any(edge_id in edges.unread for edges in self.edges.by_shard.values()):  # noqa: ASYNC110  (no signal)
                await asyncio.sleep(0.02)

    async def until_complete(self, shard_id: str) -> None:
        """As soon as the shard's keeper has filled it."""
        async with asyncio.timeout(DEADLINE_S), self.database.connection() as connection:
            while not await connection.fetchval(_IS_COMPLETE, shard_id):  # noqa: ASYNC110  (no signal)
                await asyncio.sleep(0.02)

    async def topology(self) -> Topology:
        """The topology in force."""
        return await shards.get_topology(self.database)

    async def history(self, move_id: int) -> list[str]:
        """The phases that were entered, and what led there."""
        return [f"{event.event} {event.phase}" for event in await self.moves.events(move_id)]


@asynccontextmanager
async def open_stage(url: str, servers: list[RedisServer]) -> AsyncIterator[Stage]:
    """A stage whose shards are complete; their keepers run."""
    database = await open_database(url)
    log = structlog.get_logger()
    background = Background(log)
    edges = Edges()
    keeping = KeeperTools(database=database, placement=CurrentPlacement(), bell=Bell(), wake=lambda: None, log=log)
    housekeeper = Housekeeper(keeping, background, edges)
    edge = Edge(database)
    woken = asyncio.Event()
    beating: asyncio.Task[None] | None = None
    try:
        await migrations.migrate(database)
        await domains.ensure_default(database, SHORT_URL)
        await shards.set_topology(database, shard_list(servers))
        await rebuild(database, lambda _: None)
        background.start("topology", housekeeper.follow_topology)
        beating = asyncio.create_task(edge.run())
        yield Stage(
            database=database,
            edges=edges,
            edge=edge,
            labourer=Labourer(),
            moves=Moves(database, woken.set, Speed(copy_links_s=20_000, soak_s=60)),
            woken=woken,
            background=background,
        )
    finally:
        if beating is not None:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        await background.stop()
        await database.close()


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Look often, and let the barrier hold for a moment only: here no heartbeat is ever lost."""
    patch.setattr(barrier, "SETTLE_S", 0.2)
    patch.setattr(barrier, "AGREE_S", 0.2)
    patch.setattr(driver, "LOOK_INTERVAL_S", 0.05)
    patch.setattr(driver, "RETRY_FIRST_S", 0.05)
    patch.setattr(projection_tasks, "TOPOLOGY_INTERVAL_S", 0.1)


def play(url: str, servers: list[RedisServer], work: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a test's coroutine on a stage."""

    async def run() -> None:
        async with open_stage(url, servers) as stage:
            await work(stage)

    asyncio.run(run())
