"""The edge workers that live on each shard and on all of them, by their heartbeats (pm:edge:<id>); waiting for them.

The shard itself says when a heartbeat was written or has expired (CLIENT TRACKING on the prefix); looking for them with
SCAN again and again would cost as much as the shard has links. Only a small shard is scanned, once, when the connection
is made; on a large one, every live edge has been heard after the time in which a heartbeat expires.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio.connection as redis_connection
from redis.exceptions import RedisError

from control.background import Pulse
from control.errors import Error
from control.shards.connection import raw_connection
from control.shards.rate import Rate, following
from wire import FormatError, heartbeat, keys
from wire.heartbeat import Heartbeat
from wire.topology import Shard

SCAN_KEYS_MAX: Final = 1_000_000
_SCAN_COUNT: Final = 5000
PING_INTERVAL_S: Final = 1.0
EDGES_MAX: Final = 10_000
NO_SEQUENCE: Final = 2**63  # above every pm:seq


@dataclass(slots=True)
class ShardEdges:
    """The live edge workers of one shard; `is_known` once every one of them has been heard."""

    live: dict[str, Heartbeat] = field(default_factory=dict)
    seen_ms: dict[str, int] = field(default_factory=dict)  # when the heartbeat was heard, by the wall clock
    rates: dict[str, Rate] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)  # live workers of whom nothing is known but that they are there
    is_known: bool = False
    is_gone: bool = False  # the shard has left: nobody hears of its edges any more, and nobody waits for them
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _lowest: int | None = None  # the lowest sequence of a live worker, if it is known
    _probe: tuple[int, float] | None = None  # a batch number, and when it was written
    _lag_s: float = 0.0

    def late(self, number: int) -> list[str]:
        """The live workers that have not applied the batch `number`."""
        return sorted(edge_id for edge_id, beat in self.live.items() if beat.sequence < number)

    def lacks(self, number: int) -> bool:
        """Whether there may be a live worker that has not applied the batch `number`.

        Asked by everybody who waits after each heartbeat: all workers are looked at once, not once for each.
        """
        if self._lowest is None:
            self._lowest = min((beat.sequence for beat in self.live.values()), default=NO_SEQUENCE)
        return not self.is_known or self._lowest < number

    def take(self, edge_id: str, beat: Heartbeat | None, *, is_unread: bool = False) -> None:
        """Note a worker's heartbeat, or that it has none any more, or one that cannot be read."""
        self._lowest = None
        self.unread.discard(edge_id)
        if beat is None:
            self.live.pop(edge_id, None)
            self.seen_ms.pop(edge_id, None)
            self.rates.pop(edge_id, None)
        elif edge_id in self.live or len(self.live) < EDGES_MAX:
            self.live[edge_id] = beat
            self.seen_ms[edge_id] = time.time_ns() // 1_000_000
            self.rates[edge_id] = following(self.rates.get(edge_id), beat, time.monotonic())
        if (is_unread or beat is not None) and edge_id not in self.live and len(self.unread) < EDGES_MAX:
            self.unread.add(edge_id)

    def forget(self) -> None:
        """Nothing is known of the edges any more."""
        self._lowest = None
        self.live.clear()
        self.seen_ms.clear()
        self.rates.clear()
        self.unread.clear()
        self.is_known = False

    def note_change(self, now_s: float) -> None:
        """Wake whoever waits, and see whether the probe has arrived everywhere."""
        self.changed.set()
        self.changed = asyncio.Event()
        self._lowest = None
        if self._probe is not None and not self.late(self._probe[0]):
            self._lag_s = now_s - self._probe[1]
            self._probe = None

    def probe(self, number: int, now_s: float) -> None:
        """Measure how long the edges take to apply this batch; one that is still under way is measured first."""
        if self._probe is None and self.live:
            self._probe = (number, now_s)

    def lag_s(self, now_s: float) -> float:
        """How long the last probe took, or how long the present one has taken already."""
        return self._lag_s if self._probe is None else max(self._lag_s, now_s - self._probe[1])


@dataclass(frozen=True, slots=True)
class Applied:
    """Which live edges have applied batches; with `is_known` false there may be more of them."""

    is_known: bool
    acknowledged: list[str]
    late: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A live edge worker as all shards tell it. `heartbeat` is the latest, `epoch` the highest of any shard's."""

    edge_id: str
    heartbeat: Heartbeat
    epoch: int
    by_shard: Mapping[str, Heartbeat]
    seen_ms: Mapping[str, int]  # by shard, wall clock
    requests_s: float | None = None  # requests a second; None until two heartbeats have been heard

    def sequence(self, shard_id: str) -> int:
        """The highest pm:seq of the shard that the worker has applied; 0 if it has no heartbeat there."""
        beat = self.by_shard.get(shard_id)
        return 0 if beat is None else beat.sequence


class Edges:
    """The live edge workers, by shard."""

    def __init__(self) -> None:
        self.by_shard: dict[str, ShardEdges] = {}

    def of(self, shard_id: str) -> ShardEdges:
        """What is known of one shard's edges."""
        return self.by_shard.setdefault(shard_id, ShardEdges())

    def drop(self, shard_id: str) -> None:
        """The shard has left the topology."""
        edges = self.by_shard.pop(shard_id, None)
        if edges is not None:
            edges.is_gone = True
            edges.note_change(0.0)

    def unknown(self, shard_ids: Iterable[str]) -> list[str]:
        """Those of the shards on which there may be live workers that nobody has heard yet."""
        return [shard_id for shard_id in shard_ids if not self.of(shard_id).is_known]

    def workers(self) -> list[Worker]:
        """Every worker with a heartbeat on any shard, by id."""
        return [worker for worker in map(self.worker, self.edge_ids()) if worker is not None]

    def edge_ids(self) -> list[str]:
        """Their ids."""
        return sorted({edge_id for edges in self.by_shard.values() for edge_id in edges.live})

    def worker(self, edge_id: str) -> Worker | None:
        """One of them, None if it is gone."""
        by_shard = {key: edges.live[edge_id] for key, edges in self.by_shard.items() if edge_id in edges.live}
        if not by_shard:
            return None
        seen_ms = {key: self.by_shard[key].seen_ms.get(edge_id, 0) for key in by_shard}
        return Worker(
            edge_id=edge_id,
            heartbeat=by_shard[max(by_shard, key=seen_ms.__getitem__)],
            epoch=max(beat.epoch for beat in by_shard.values()),
            by_shard=by_shard,
            seen_ms=seen_ms,
            requests_s=self._requests_s(edge_id, seen_ms),
        )

    def _requests_s(self, edge_id: str, seen_ms: Mapping[str, int]) -> float | None:
        """By the shard that was heard last, of those that have told it twice."""
        for shard_id in sorted(seen_ms, key=seen_ms.__getitem__, reverse=True):
            rate = self.by_shard[shard_id].rates.get(edge_id)
            if rate is not None and rate.requests_s is not None:
                return rate.requests_s
        return None

    async def hear_rates(self, timeout_s: float) -> None:
        """Wait, at most `timeout_s`, until every worker has been heard twice on each shard."""
        try:
            async with asyncio.timeout(timeout_s):
                for edges in self.by_shard.values():
                    while any(rate.requests_s is None for rate in edges.rates.values()):
                        await edges.changed.wait()
        except TimeoutError:
            pass  # then that is not known yet

    async def wait(self, numbers: Mapping[str, int], timeout_s: float) -> Applied:
        """Wait, at most `timeout_s`, until every live edge of each of the shards has applied its batch of that number.

        A worker counts at the shards where it has a heartbeat, and at no other: one that is not connected to a shard
        answers nothing that it has from there. A shard that leaves meanwhile is not waited for any more.
        """
        places = [(self.of(shard_id), number) for shard_id, number in numbers.items()]
        try:
            async with asyncio.timeout(timeout_s):
                # From the first one again: while one shard is waited for, a worker may come to another one.
                while behind := next((edges for edges, number in places if _is_awaited(edges, number)), None):
                    await behind.changed.wait()
        except TimeoutError:
            pass  # said in the result
        places = [(edges, number) for edges, number in places if not edges.is_gone]
        late = {edge_id for edges, number in places for edge_id in edges.late(number)}
        live = {edge_id for edges, _ in places for edge_id in edges.live}
        return Applied(all(edges.is_known for edges, _ in places), sorted(live - late), sorted(late))


def _is_awaited(edges: ShardEdges, number: int) -> bool:
    return not edges.is_gone and edges.lacks(number)


class EdgeWatch:
    """Keeps the edges of one shard up to date."""

    def __init__(self, shard: Shard, edges: ShardEdges) -> None:
        self._shard = shard
        self._edges = edges
        self._dirty: set[bytes] = set()

    async def run(self, pulse: Pulse) -> None:
        """Watch over one connection until it breaks; called again by Background."""
        connection = raw_connection(self._shard.url, protocol=3)
        try:
            await self._watch(connection, pulse)
        except (RedisError, OSError, TimeoutError) as error:
            raise Error("shard_unavailable", f"shard {self._shard.id} cannot be watched: {error}") from error
        finally:
            self._edges.forget()
            await connection.disconnect(nowait=True)

    async def _watch(self, connection: redis_connection.AbstractConnection, pulse: Pulse) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]
        # The way in which redis-py's own client-side caching hears of invalidations; there is no public one.
        connection._parser.set_invalidation_push_handler(self._on_push)  # type: ignore[attr-defined]
        await _ask(connection, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", keys.EDGE_PREFIX)
        loop = asyncio.get_running_loop()
        known_at = loop.time() + heartbeat.EXPIRES_MS / 1000
        if await _ask(connection, "DBSIZE") <= SCAN_KEYS_MAX:
            await self._scan(connection)
            known_at = loop.time()
        while True:
            await self._read_dirty(connection)
            if not self._edges.is_known and loop.time() >= known_at:
                self._edges.is_known = True
                self._edges.note_change(loop.time())
            pulse.beat()
            if not self._dirty:  # a push may have come in among the replies
                await self._next_push(connection)

    async def _next_push(self, connection: redis_connection.AbstractConnection) -> None:
        await connection.read_response(timeout=PING_INTERVAL_S, push_request=True, disconnect_on_error=False)
        if not self._dirty:  # it returns the same, None, after a push and when the time is over
            await _ask(connection, "PING")

    async def _on_push(self, push: Any) -> None:
        """Called by redis-py while it reads; `push` is the kind and the keys, or None for all keys after a flush."""
        found = push[1]
        self._dirty.update(map(keys.edge_key, (*self._edges.live, *self._edges.unread)) if found is None else found)

    async def _scan(self, connection: redis_connection.AbstractConnection) -> None:
        cursor = b"0"
        while True:
            cursor, found = await _ask(
                connection, "SCAN", cursor, "MATCH", keys.EDGE_PREFIX + b"*", "COUNT", _SCAN_COUNT
            )
            self._dirty.update(found)
            if int(cursor) == 0:
                return

    async def _read_dirty(self, connection: redis_connection.AbstractConnection) -> None:
        dirty, self._dirty = sorted(self._dirty), set()
        if not dirty:
            return
        for key, data in zip(dirty, await _ask(connection, "MGET", *dirty), strict=True):
            name = key.removeprefix(keys.EDGE_PREFIX)
            if not name.isascii():
                continue  # no edge of ours has such an id
            edge_id = name.decode()
            beat = None if data is None else _decode(data)
            self._edges.take(edge_id, beat, is_unread=data is not None and beat is None)
        self._edges.note_change(asyncio.get_running_loop().time())


def _decode(data: bytes) -> Heartbeat | None:
    try:
        return heartbeat.decode(data)
    except FormatError:
        return None  # of an edge of another build, whose acknowledgements cannot be read


async def _ask(connection: redis_connection.AbstractConnection, *command: Any) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()
