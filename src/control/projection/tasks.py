"""The projector and its company: what runs in the background of every control process."""

import asyncio
from collections.abc import Callable
from typing import Final

import asyncpg

from control.background import Background, Pulse
from control.bell import Bell, heard
from control.db import Connection, Database
from control.projection import notes, store
from control.projection.batch import BATCH_ROWS_MAX, BatchResult, project_ready
from control.projection.former import Former
from control.projection.keeper import Keeper, Tools
from control.projection.writers import Writers
from control.shards import store as shard_store
from control.shards.current import CurrentPlacement
from control.shards.edges import Edges, EdgeWatch
from wire.topology import Shard, Topology

CHANNEL: Final = "pointsman_outbox"
# The fallbacks for a notification that got lost with its connection.
POLL_INTERVAL_S: Final = 1.0
TOPOLOGY_INTERVAL_S: Final = 1.0
HOUSEKEEPING_INTERVAL_S: Final = 5.0
PROJECTED_KEEP_S: Final = 900.0
RETRY_ROWS_MAX: Final = 100

OnBatch = Callable[[BatchResult], None]


class Projector:
    """Brings outbox rows to the shards, woken by `wake` (this process's commits) and by NOTIFY (everybody's).

    `bell` is rung when there is a new topology.
    """

    def __init__(
        self, database: Database, writers: Writers, placement: CurrentPlacement, bell: Bell, on_batch: OnBatch
    ) -> None:
        self._database = database
        self._writers = writers
        self._placement = placement
        self._bell = bell
        self._on_batch = on_batch
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be something in the outbox."""
        self._woken.set()

    async def listen(self, pulse: Pulse) -> None:
        """Turn notifications into `wake` and rings of the bell, on a connection of its own."""
        async with self._database.dedicated() as connection:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, lambda *_: self.wake())
            await connection.add_listener(shard_store.CHANNEL, lambda *_: self._on_topology())
            pulse.beat()
            await lost.wait()
            raise asyncpg.ConnectionDoesNotExistError("the connection that listens to the outbox was lost")

    def _on_topology(self) -> None:
        self._bell.ring()
        self.wake()  # a batch, though it may be empty, makes connections to shards that are new

    async def run(self, pulse: Pulse) -> None:
        """Project batch after batch, on a connection of its own."""
        async with self._database.dedicated() as connection:
            # A commit lost with PostgreSQL's memory brings the outbox rows back, and they are projected once more.
            await connection.execute("SET synchronous_commit = off")
            await store.end_when_stopped(connection)
            while True:
                # Cleared before the outbox is read: what is committed after the read sets it again.
                self._woken.clear()
                is_drained = await self._project(connection)
                pulse.beat()
                if is_drained:
                    await heard(self._woken, POLL_INTERVAL_S)

    async def _project(self, connection: Connection) -> bool:
        """One batch; whether the outbox had no more than that."""
        async with connection.transaction():
            await shard_store.lock_placement_shared(connection)
            placement = await self._placement.get(connection)
            if placement is None:
                return True
            await self._writers.follow(placement.topology)
            result = await project_ready(connection, placement, self._writers)
        self._on_batch(result)
        return result.taken < BATCH_ROWS_MAX


class Housekeeper:
    """Starts a keeper for each shard of the topology, and removes what has had its time."""

    def __init__(self, tools: Tools, background: Background, edges: Edges) -> None:
        self._tools = tools
        self._database = tools.database
        self._background = background
        self._edges = edges
        self._urls: dict[str, str] = {}
        self.keepers: dict[str, Keeper] = {}

    async def follow_topology(self, pulse: Pulse) -> None:
        """Have one keeper for each shard of the topology in force; what does not change goes on untouched."""
        while True:
            changed = self._tools.bell.listen()
            async with self._database.connection() as connection:
                topology = await shard_store.current(connection)
            if topology is not None:
                await self._follow(topology)
            pulse.beat()
            await heard(changed, TOPOLOGY_INTERVAL_S)

    async def _follow(self, topology: Topology) -> None:
        wanted = {shard.id: shard.url for shard in topology.shards}
        for shard_id in [shard_id for shard_id, url in self._urls.items() if wanted.get(shard_id) != url]:
            url, run_id = await self._leave(shard_id)
            if shard_id not in wanted:
                self._edges.drop(shard_id)
            # One with another address has not left: who waits for its edges waits for those at the new address.
            elif run_id:
                former = Former(shard_id, url, run_id, self._database)
                self._background.start(f"former {shard_id}", former.run)
        for shard in topology.shards:
            if shard.id not in self._urls:
                self._keep(shard)

    def _keep(self, shard: Shard) -> None:
        edges = self._edges.of(shard.id)
        keeper = self.keepers[shard.id] = Keeper(shard, edges, self._tools)
        self._urls[shard.id] = shard.url
        self._background.start(f"keeper {shard.id}", keeper.run)
        self._background.start(f"edges {shard.id}", EdgeWatch(shard, edges).run)

    async def _leave(self, shard_id: str) -> tuple[str, str]:
        """End what is done for a shard at its address; returns that, and the run id of the process that was there."""
        url = self._urls.pop(shard_id)
        run_id = self.keepers.pop(shard_id).run_id
        await self._background.stop_one(f"keeper {shard_id}")
        await self._background.stop_one(f"edges {shard_id}")
        await self._background.stop_one(f"former {shard_id}")
        return url, run_id

    async def tidy(self, pulse: Pulse) -> None:
        """Give rows that were set aside another try; forget old notes about batches."""
        while True:
            async with self._database.transaction() as connection:
                if await store.retry_set_aside(connection, RETRY_ROWS_MAX):
                    self._tools.wake()
            for shard_id in list(self.keepers):
                while await self._purge(shard_id) >= notes.NOTES_MAX:
                    pulse.beat()
            pulse.beat()
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)

    async def _purge(self, shard_id: str) -> int:
        async with self._database.transaction() as connection:
            if await store.try_state_for_update(connection, shard_id) is None:
                return 0  # it is being repaired, which may take minutes and need the notes
            return await notes.purge(connection, shard_id, PROJECTED_KEEP_S)
