"""What the shards and the edges say of themselves, gathered when somebody asks.

Every shard is asked at the same time and has LOOK_TIMEOUT_S to answer; one that does not is reported as such, so the
whole is never later than that. Reads `shards` and `outbox`.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from control.db import Database
from control.errors import Error
from control.shards import store
from control.shards.addresses import redacted
from control.shards.connection import ShardConnection, connect
from control.shards.current import placement_of
from control.shards.edges import Edges, Worker
from control.shards.store import Held
from control.shards.view import EdgeShardView, EdgeView, ShardState, ShardView, instant, instant_of_other
from edge._fast import Ring
from wire import FormatError, fence, keys
from wire.fence import Fence
from wire.topology import Shard, Topology

# Shards answer in a millisecond. People and programs that look wait for the slowest, so it is not given long.
LOOK_TIMEOUT_S: Final = 0.8
# Ten thousand workers of many shards take seconds; a projector on the same loop must not wait that long.
WORKERS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one shard has said; without a run id nothing, and `reason` is why."""

    run_id: str = ""
    fence: Fence | None = None
    keys: int | None = None
    memory_bytes: int | None = None
    latency_ms: float | None = None
    sequence: int | None = None
    click_frames: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found at one time. Without a topology there are no shards."""

    topology: Topology | None = None
    shares: list[float] = field(default_factory=list)
    second_shares: list[float] = field(default_factory=list)
    held: dict[str, Held] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Live edge workers by id; `unread` are others, whose heartbeats are of another build. A worker that only the
    `unheard_shards` know may be missing."""

    items: list[EdgeView]
    unread: list[str]
    unheard_shards: list[str]


class Registry:
    """Who is there. `edges` is what this process has heard of edges."""

    def __init__(self, database: Database, edges: Edges) -> None:
        self._database = database
        self._edges = edges
        self._looking: asyncio.Task[Look] | None = None

    async def shards(self) -> list[ShardView]:
        """Every shard of the topology in force, in its order."""
        look = await self._look()
        if look.topology is None:
            return []
        return [self._shard(look, index, shard) for index, shard in enumerate(look.topology.shards)]

    async def workers(self) -> Workers:
        """Every live edge worker that is known."""
        look = await self._look()
        shards = () if look.topology is None else look.topology.shards
        found = []
        for number, edge_id in enumerate(self._edges.edge_ids(), start=1):
            if (worker := self._edges.worker(edge_id)) is not None:
                found.append(_edge(look, worker))
            if number % WORKERS_AT_ONCE == 0:
                await asyncio.sleep(0)
        unread = {edge_id for edges in self._edges.by_shard.values() for edge_id in edges.unread}
        return Workers(
            items=found,
            unread=sorted(unread - {edge.id for edge in found}),
            unheard_shards=self._edges.unknown(shard.id for shard in shards),
        )

    async def _look(self) -> Look:
        """One look for all who ask meanwhile: however many there are, a shard gets one connection."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._gather())
        return await asyncio.shield(self._looking)

    async def _gather(self) -> Look:
        async with self._database.connection() as connection:
            topology = await store.current(connection)
            held = await store.held(connection)
        if topology is None:
            return Look()
        answers, placement = await asyncio.gather(ask_all(topology.shards), placement_of(topology))
        return Look(
            topology=topology,
            shares=await _shares(placement.ring),
            second_shares=await _shares(placement.second),
            held=held,
            answers=answers,
        )

    def _shard(self, look: Look, index: int, shard: Shard) -> ShardView:
        answer = look.answers[shard.id]
        held = look.held.get(shard.id, Held())
        edges = self._edges.of(shard.id)
        return ShardView(
            id=shard.id,
            url=redacted(shard.url),
            replicas=[redacted(url) for url in shard.replicas],
            weight=shard.weight,
            second_weight=shard.second_weight,
            share=look.shares[index],
            second_share=look.second_shares[index] if look.second_shares else 0.0,
            place=shard.ring_name,
            state=_state(answer, held),
            reason=answer.reason,
            epoch=None if answer.fence is None else answer.fence.epoch,
            run_id=answer.run_id or None,
            links=answer.keys,
            memory_bytes=answer.memory_bytes,
            latency_ms=answer.latency_ms,
            sequence=answer.sequence,
            lag=held.waiting,
            edges=len(edges.live) if edges.is_known else None,
            click_frames=answer.click_frames,
        )


async def ask_all(shards: Iterable[Shard]) -> dict[str, Answer]:
    """What each shard says of itself, by id; never raises, never takes longer than LOOK_TIMEOUT_S."""
    asked = list(shards)
    answers = await asyncio.gather(*map(_ask, asked))
    return {shard.id: answer for shard, answer in zip(asked, answers, strict=True)}


async def _ask(shard: Shard) -> Answer:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            connection = await connect(shard.id, shard.url)
            try:
                return await _answer(connection)
            finally:
                await connection.close()
    except Error as error:
        return Answer(reason=error.message)
    except TimeoutError:
        return Answer(reason=f"shard {shard.id} does not answer within {LOOK_TIMEOUT_S:g} s")


async def _answer(connection: ShardConnection) -> Answer:
    began_s = time.monotonic()  # uvloop's own clock stands still within a turn and counts milliseconds
    await connection.execute("PING")
    latency_s = time.monotonic() - began_s
    memory, size, found, sequence, frames = await connection.pipeline(
        [("INFO", "memory"), ("DBSIZE",), ("GET", keys.FENCE), ("GET", keys.SEQUENCE), ("XLEN", keys.CLICKS)]
    )
    return Answer(
        run_id=connection.run_id,
        fence=_decoded(found),
        keys=size,
        memory_bytes=_used(memory),
        latency_ms=round(latency_s * 1000, 3),
        sequence=int(sequence) if sequence is not None and sequence.isdigit() else None,
        click_frames=frames,
    )


def _used(info: bytes) -> int | None:
    for line in info.splitlines():
        if line.startswith(b"used_memory:"):
            return int(line.removeprefix(b"used_memory:"))
    return None


def _decoded(data: bytes | None) -> Fence | None:
    try:
        return None if data is None else fence.decode(data)
    except FormatError:
        return None


async def _shares(ring: Ring | None) -> list[float]:
    """By index; a large ring takes a while."""
    return [] if ring is None else await asyncio.to_thread(ring.shares)


def _state(answer: Answer, held: Held) -> ShardState:
    if not answer.run_id:
        return "unreachable"
    if held.is_joining:
        return "joining"
    if answer.fence is None or answer.fence.run_id != answer.run_id:
        return "unadopted"
    return answer.fence.state


def _edge(look: Look, worker: Worker) -> EdgeView:
    beat = worker.heartbeat
    epoch = 0 if look.topology is None else look.topology.epoch
    return EdgeView(
        id=worker.edge_id,
        build=beat.build,
        started_at=instant_of_other(beat.started_ms),
        seen_at=instant(max(worker.seen_ms.values())),
        epoch=worker.epoch,
        is_current=worker.epoch >= epoch,
        requests=beat.requests,
        requests_s=None if worker.requests_s is None else round(worker.requests_s, 1),
        hits=beat.hits,
        hit_ratio=round(beat.hits / beat.requests, 6) if beat.requests else None,
        links=beat.links,
        memory_bytes=beat.memory_bytes,
        lag_us=beat.lag_us,
        samples=beat.samples,
        sample_differences=beat.sample_differences,
        fallbacks=beat.fallbacks,
        shards=[_edge_shard(look, worker, shard_id) for shard_id in sorted(worker.by_shard)],
    )


def _edge_shard(look: Look, worker: Worker, shard_id: str) -> EdgeShardView:
    beat = worker.by_shard[shard_id]
    sequence = look.answers.get(shard_id, Answer()).sequence
    return EdgeShardView(
        id=shard_id,
        epoch=beat.epoch,
        sequence=beat.sequence,
        lag=None if sequence is None else max(0, sequence - beat.sequence),
        lookup_us=beat.lookup_us,
        seen_at=instant(worker.seen_ms[shard_id]),
    )
