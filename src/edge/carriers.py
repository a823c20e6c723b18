"""The shards that may carry clicks to control: any of the topology will do.

An edge has an order of preference among them that depends on nothing but its id and theirs, so edges spread over the
shards, and each stays with its first as long as that one works.

    ready ──failed──▶ resting ──due──▶ ready      0.2 s at first, twice as long each time, up to 10 s, jittered
    ready ──its stream is full──▶ resting         a quarter of a second
"""

import random
from typing import Final

import structlog

from edge._fast import xxh64
from edge.clickstream import ClickStream, StreamError, connect
from edge.session import redacted
from edge.topology import Store, read_topology
from wire import keys
from wire.topology import Shard, Topology

log = structlog.get_logger("edge.clicks")

REST_MS_MIN: Final = 200
REST_MS_MAX: Final = 10_000
FULL_REST_MS: Final = 250  # a consumer empties a batch of frames in about that time
# A shard that cannot be reached for this long is left: what was sent to it is sent again, to another one.
GONE_MS: Final = 5000
SEED_MS: Final = 1000  # while there is no topology yet
REFRESH_MS: Final = 5000  # workers hear of a new topology by push and put it on disk


class Carrier:
    """One shard: its stream, while there is a connection, and when it may be asked again."""

    def __init__(self, shard_id: str, url: str) -> None:
        self.shard_id = shard_id
        self.url = url
        self.stream: ClickStream | None = None
        self._failures = 0
        self._rest_until_ms = 0
        self._down_since_ms: int | None = None

    def is_ready(self, now_ms: int) -> bool:
        """Whether it may be asked."""
        return now_ms >= self._rest_until_ms

    def is_gone(self, now_ms: int) -> bool:
        """Whether it has been away for so long that nobody waits for it any more."""
        return self._down_since_ms is not None and now_ms - self._down_since_ms >= GONE_MS

    def rest(self, now_ms: int) -> None:
        """Its stream is full."""
        self._rest_until_ms = now_ms + _jittered(FULL_REST_MS)

    def hear(self) -> None:
        """It answers: what was sent to it may still be there."""
        self._down_since_ms = None

    def work(self) -> None:
        """It has taken clicks."""
        if self._failures:
            log.info("shard takes clicks again", shard=self.shard_id)
        self._failures = 0
        self.hear()

    async def fail(self, error: StreamError, now_ms: int) -> None:
        """It does not answer, or takes none; what was sent to it may be there or not."""
        await self.close()
        if not self._failures:
            log.warning(
                "shard takes no clicks, they go elsewhere or wait on disk", shard=self.shard_id, reason=str(error)
            )
        if self._down_since_ms is None:
            self._down_since_ms = now_ms
        self._rest_until_ms = now_ms + _jittered(min(REST_MS_MAX, REST_MS_MIN << min(self._failures, 16)))
        self._failures += 1

    async def close(self) -> None:
        """Close the connection."""
        if self.stream is not None:
            stream, self.stream = self.stream, None
            await stream.close()


class Carriers:
    """All of them, in this edge's order."""

    def __init__(self, edge_id: str, seeds: tuple[str, ...], store: Store, connect_timeout_ms: int) -> None:
        self._edge_id = edge_id
        self._seeds = seeds
        self._store = store
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._topology: Topology | None = None
        self._carriers: dict[str, Carrier] = {}
        self._refresh_ms = 0
        self._refreshes = 0

    def get(self, shard_id: str) -> Carrier | None:
        """The one with this id; None: it has left the topology."""
        return self._carriers.get(shard_id)

    def ready(self, now_ms: int) -> list[Carrier]:
        """Those that may be asked, best first."""
        return [carrier for carrier in self._carriers.values() if carrier.is_ready(now_ms)]

    async def stream(self, carrier: Carrier) -> ClickStream:
        """The carrier's stream; raises StreamError."""
        if carrier.stream is None:
            carrier.stream = await connect(carrier.url, self._connect_timeout_s)
        return carrier.stream

    async def refresh(self, now_ms: int) -> None:
        """Look for a newer topology: on disk, at a shard that is in use, or at a seed if there is none."""
        if now_ms < self._refresh_ms:
            return
        self._refresh_ms = now_ms + _jittered(REFRESH_MS if self._carriers else SEED_MS)
        await self._adopt(self._store.read(keys.TOPOLOGY))
        carrier = next((carrier for carrier in self._carriers.values() if carrier.stream is not None), None)
        if carrier is None:
            await self._adopt(await self._ask_seed())
            return
        try:
            await self._adopt(await (await self.stream(carrier)).topology())
        except StreamError as error:
            await carrier.fail(error, now_ms)

    async def close(self) -> None:
        """Close every connection."""
        for carrier in self._carriers.values():
            await carrier.close()

    async def _ask_seed(self) -> bytes | None:
        url = self._seeds[self._refreshes % len(self._seeds)]
        self._refreshes += 1
        try:
            stream = await connect(url, self._connect_timeout_s)
            try:
                return await stream.topology()
            finally:
                await stream.close()
        except StreamError as error:
            log.debug("seed does not tell the topology", seed=redacted(url), reason=str(error))
            return None

    async def _adopt(self, data: bytes | None) -> None:
        topology = None if data is None else read_topology(data, self._topology)
        if topology is None:
            return
        self._topology = topology
        old = self._carriers
        self._carriers = {shard.id: _carrier(shard, old) for shard in sorted(topology.shards, key=self._rank)}
        for carrier in set(old.values()) - set(self._carriers.values()):
            await carrier.close()

    def _rank(self, shard: Shard) -> int:
        return xxh64(f"{self._edge_id} {shard.id}".encode())


def _carrier(shard: Shard, old: dict[str, Carrier]) -> Carrier:
    """The shard's carrier; another one if it has moved."""
    held = old.get(shard.id)
    return held if held is not None and held.url == shard.url else Carrier(shard.id, shard.url)


def _jittered(delay_ms: int) -> int:
    return int(delay_ms * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret
