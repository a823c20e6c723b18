"""How fast a work of a move may go: so many links a second, and fewer while a shard answers slowly.

The rate is halved when a shard is slow, and rises again by equal steps: additive increase, multiplicative decrease
(D.-M. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance", 1989).
How slow a shard is, is asked on a connection of its own, so that what is measured is what an edge would feel. That this
process itself came late to the answer is not the shard's fault: it has no core for itself, or does something longer.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from control.background import end
from control.errors import Error
from control.moves.work import Pace
from control.projection.shard_writer import KEYS_PER_CALL
from control.shards.connection import REPLY_TIMEOUT_S, ShardConnection, connect
from wire.topology import Shard

# A work that stood still would never end, and with it the double writes.
RATE_MIN: Final = 50.0
# From a standstill to the full rate, when no shard is slow.
RISE_S: Final = 20.0
# What a lower rate does to a shard's latency is seen after this, so it is not halved again before.
SLOWDOWN_INTERVAL_S: Final = 0.5
# A pause of the work that lasts no longer is made good for.
BURST_S: Final = 0.25
# The work of one page: a pause, an abort and the loss of the move take effect after it.
PAGE_S: Final = 0.25
PAGE_LINKS_MIN: Final = 16
PAGE_LINKS_MAX: Final = 8192
# What a shard is sent at once is the work of so long, but no less than a call: a whole page would keep it, and whoever
# shares its core, from others for a tenth of the page's time. The next stroke waits for the answer to this one; where
# answers take longer, the rate is not reached.
STROKE_S: Final = 0.0125
PROBE_INTERVAL_S: Final = 0.1
# One slow answer is a hiccup (a fork, say): the fastest of the last ones is believed.
PROBES_COMPARED: Final = 3
LAG_TICK_S: Final = 0.005
# As exact as a timer is: uvloop's count milliseconds.
LAG_IGNORED_S: Final = 0.002


class Throttle:
    """A rate in links a second, and the tokens of a bucket that it fills. Time is a parameter, but for `take`."""

    def __init__(self, pace: Pace, now_s: float) -> None:
        self.rate = float(max(RATE_MIN, pace.links_s))
        self.slowdowns = 0
        self._rate_max = self.rate
        self._latency_max_s = pace.latency_s
        self._slow: set[str] = set()
        self._due_s = now_s  # when what was taken is paid for
        self._observed_s = now_s
        self._slowed_s = now_s - SLOWDOWN_INTERVAL_S

    @property
    def page_links(self) -> int:
        """How many links a page should have at this rate."""
        return max(PAGE_LINKS_MIN, min(PAGE_LINKS_MAX, int(self.rate * PAGE_S)))

    @property
    def stroke_links(self) -> int:
        """How many links are sent at once: whole calls."""
        return max(1, int(self.rate * STROKE_S) // KEYS_PER_CALL) * KEYS_PER_CALL

    @property
    def counts(self) -> dict[str, int]:
        """What people are shown: the rate now, the shards because of which it is not higher, and how often it fell."""
        return {"rate": int(self.rate), "slow_shards": len(self._slow), "slowdowns": self.slowdowns}

    def delay_s(self, links: int, now_s: float) -> float:
        """Take `links` from the bucket; how long to wait after that."""
        self._due_s = max(self._due_s, now_s - BURST_S) + links / self.rate
        return max(0.0, self._due_s - now_s)

    def observe(self, shard_id: str, latency_s: float, now_s: float) -> None:
        """A shard has answered after `latency_s`."""
        if latency_s > self._latency_max_s:
            self._slow.add(shard_id)
            self._slow_down(now_s)
        else:
            self._slow.discard(shard_id)
            if not self._slow:
                risen = self.rate + self._rate_max / RISE_S * (now_s - self._observed_s)
                self.rate = min(self._rate_max, risen)
        self._observed_s = now_s

    def forget(self, shard_id: str) -> None:
        """The shard has nothing to do with the work any more."""
        self._slow.discard(shard_id)

    async def take(self, links: int, pause: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait until `links` may be sent; for more than a page of them, `pause` is called in between."""
        while links > 0:
            part = min(links, self.page_links)
            links -= part
            delay_s = self.delay_s(part, asyncio.get_running_loop().time())
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            if pause is not None and links > 0:
                await pause()

    async def strokes(self, links: int, pause: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[slice]:
        """Cut `links` into what is sent at once, and wait before each; `pause` is called at least once a page.

        All strokes but the last are of whole calls, of KEYS_PER_CALL links each.
        """
        start = paused = 0
        while start < links:
            stop = min(links, start + self.stroke_links)
            if pause is not None and start > paused and stop - paused > self.page_links:
                paused = start
                await pause()
            await self.take(stop - start, pause)
            yield slice(start, stop)
            start = stop

    def _slow_down(self, now_s: float) -> None:
        if now_s - self._slowed_s >= SLOWDOWN_INTERVAL_S:
            self._slowed_s = now_s
            self.rate = max(RATE_MIN, self.rate / 2)
            self.slowdowns += 1


@asynccontextmanager
async def probing(throttle: Throttle, shards: Iterable[Shard]) -> AsyncIterator[None]:
    """Tell the throttle how slow the shards are, as long as the block runs."""
    probes = [(shard, asyncio.create_task(_probe(shard, throttle), name=f"probe {shard.id}")) for shard in shards]
    try:
        yield
    finally:
        for shard, probe in probes:
            await end(probe)
            throttle.forget(shard.id)


async def _probe(shard: Shard, throttle: Throttle) -> None:
    while True:
        try:
            connection = await connect(shard.id, shard.url)
        except Error:
            throttle.observe(shard.id, REPLY_TIMEOUT_S, asyncio.get_running_loop().time())
            await asyncio.sleep(PROBE_INTERVAL_S)
            continue
        try:
            await _ping(connection, throttle)
        finally:
            await connection.close()


async def _ping(connection: ShardConnection, throttle: Throttle) -> None:
    """Ask again and again, until the shard does not answer."""
    loop = asyncio.get_running_loop()
    latencies: deque[float] = deque(maxlen=PROBES_COMPARED)
    while connection.is_open:
        asked_s = loop.time()
        lag = _Lag(loop)
        try:
            await connection.execute("PING")
        except Error:
            throttle.observe(connection.shard_id, REPLY_TIMEOUT_S, loop.time())
            return
        finally:
            lag_s = lag.stop()
        latencies.append(max(0.0, loop.time() - asked_s - lag_s))
        throttle.observe(connection.shard_id, min(latencies), loop.time())
        await asyncio.sleep(PROBE_INTERVAL_S)


class _Lag:
    """How late the loop is, in all, from now until `stop`: the time in which it was busy with something else."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._late_s = 0.0
        self._due_s = 0.0
        self._timer = self._wind()

    def stop(self) -> float:
        """The lag in seconds; what is due now and did not come counts."""
        self._timer.cancel()
        return self._late_s + self._lateness_s()

    def _wind(self) -> asyncio.TimerHandle:
        self._due_s = self._loop.time() + LAG_TICK_S
        return self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        self._late_s += self._lateness_s()
        self._timer = self._wind()

    def _lateness_s(self) -> float:
        return max(0.0, self._loop.time() - self._due_s - LAG_IGNORED_S)
