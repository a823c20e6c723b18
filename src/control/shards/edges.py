"""The edge workers that live on each shard, by their heartbeats (pm:edge:<id>), and waiting for them.

The shard itself says when a heartbeat was written or has expired (CLIENT TRACKING on the prefix); looking for them with
SCAN again and again would cost as much as the shard has links. Only a small shard is scanned, once, when the connection
is made; on a large one, every live edge has been heard after the time in which a heartbeat expires.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio.connection as redis_connection
from redis.exceptions import RedisError

from control.background import Pulse
from control.errors import Error
from control.shards.connection import raw_connection
from wire import FormatError, heartbeat, keys
from wire.heartbeat import Heartbeat
from wire.topology import Shard

SCAN_KEYS_MAX: Final = 1_000_000
_SCAN_COUNT: Final = 5000
PING_INTERVAL_S: Final = 1.0
EDGES_MAX: Final = 10_000


@dataclass(slots=True)
class ShardEdges:
    """The live edge workers of one shard; `is_known` once every one of them has been heard."""

    live: dict[str, Heartbeat] = field(default_factory=dict)
    is_known: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _probe: tuple[int, float] | None = None  # a batch number, and when it was written
    _lag_s: float = 0.0

    def late(self, number: int) -> list[str]:
        """The live workers that have not applied the batch `number`."""
        return sorted(edge_id for edge_id, beat in self.live.items() if beat.sequence < number)

    def note_change(self, now_s: float) -> None:
        """Wake whoever waits, and see whether the probe has arrived everywhere."""
        self.changed.set()
        self.changed = asyncio.Event()
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
    """Which live edges have applied a batch; with `is_known` false there may be more of them."""

    is_known: bool
    acknowledged: list[str]
    late: list[str]


class Edges:
    """The live edge workers, by shard."""

    def __init__(self) -> None:
        self.by_shard: dict[str, ShardEdges] = {}

    def of(self, shard_id: str) -> ShardEdges:
        """What is known of one shard's edges."""
        return self.by_shard.setdefault(shard_id, ShardEdges())

    async def wait(self, shard_id: str, number: int, timeout_s: float) -> Applied:
        """Wait, at most `timeout_s`, until every live edge of the shard has applied the batch."""
        edges = self.of(shard_id)
        try:
            async with asyncio.timeout(timeout_s):
                while not edges.is_known or edges.late(number):
                    await edges.changed.wait()
        except TimeoutError:
            pass  # said in the result
        late = edges.late(number)
        return Applied(edges.is_known, sorted(edges.live.keys() - set(late)), late)


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
            self._edges.live.clear()
            self._edges.is_known = False
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
        self._dirty.update(map(keys.edge_key, self._edges.live) if found is None else found)

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
            self._take(key.removeprefix(keys.EDGE_PREFIX).decode(), data)
        self._edges.note_change(asyncio.get_running_loop().time())

    def _take(self, edge_id: str, data: bytes | None) -> None:
        beat = None if data is None else _decode(data)
        if beat is None:
            self._edges.live.pop(edge_id, None)
        elif edge_id in self._edges.live or len(self._edges.live) < EDGES_MAX:
            self._edges.live[edge_id] = beat


def _decode(data: bytes) -> Heartbeat | None:
    try:
        return heartbeat.decode(data)
    except FormatError:
        return None  # a newer edge's, whose acknowledgements cannot be read


async def _ask(connection: redis_connection.AbstractConnection, *command: Any) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()
