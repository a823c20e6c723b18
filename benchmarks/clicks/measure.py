"""What the clicks of a stream cost, and a population of them."""

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.progress import Progress

from benchmarks import BenchmarkError
from benchmarks.clicks import machine, reading, store
from benchmarks.clicks.stream import Stream
from benchmarks.clicks.traffic import DAY_MS, Traffic
from benchmarks.macro import cores
from benchmarks.scale.stack import Stack

HOUR_MS: Final = 3_600_000
DAYS: Final = 30


class Bench:
    """A stack with links whose control has a core for itself."""

    def __init__(self, stack: Stack, links: int, progress: Progress) -> None:
        self._stack = stack
        self._links = links
        self._progress = progress
        self._writers = 0
        store.add_links(stack.postgres_dsn, links)
        machine.pin(dict(stack.pids), cores.pick())

    def ingest(self, name: str, clicks: int, links: int) -> dict[str, Any]:
        """Clicks of the last hour, all on the stream before control sees the first: what they cost, by the click."""
        now_ms = int(time.time() * 1000)
        pids = dict(self._stack.pids)
        stream = Stream(self._stack.shard_urls[0])
        counted = store.counted(self._stack.postgres_dsn)
        with machine.stopped(pids["control"]):
            self._fill(stream, name, clicks, links, (now_ms - HOUR_MS, now_ms))
            machine.pin(pids, cores.pick())
            before = machine.used(pids)
        started = time.monotonic()
        stream.drain()
        seconds = time.monotonic() - started
        used = machine.used(pids).since(before)
        stream.close()
        self._check(counted + clicks)
        return {
            "name": name,
            "clicks": clicks,
            "links": links,
            "clicks_per_s": clicks / seconds,
            "us_per_click": {kind: value / clicks for kind, value in asdict(used).items()},
        }

    def populate(self, clicks: int) -> dict[str, Any]:
        """Clicks of the last days, in order, as control reads them; then what they weigh."""
        now_ms = int(time.time() * 1000)
        stream = Stream(self._stack.shard_urls[0])
        counted = store.counted(self._stack.postgres_dsn)
        task = self._progress.add_task("population", total=clicks)
        frames = self._traffic(self._links).frames(clicks, now_ms - DAYS * DAY_MS, now_ms)
        started = time.monotonic()
        stream.feed(frames, lambda done: self._progress.update(task, completed=done))
        seconds = time.monotonic() - started
        stream.close()
        self._check(counted + clicks)
        return {"clicks": clicks, "links": self._links, "days": DAYS, "seconds": seconds} | {
            "tables": store.sizes(self._stack.postgres_dsn)
        }

    def read(self, requests: int) -> dict[str, dict[str, float]]:
        """How long statistics of these days take."""
        today = datetime.now(UTC).date()
        span = (today - timedelta(days=DAYS - 1)).isoformat(), today.isoformat()
        return reading.latencies_ms(self._stack, self._links, requests, span)

    def _fill(self, stream: Stream, name: str, clicks: int, links: int, span_ms: tuple[int, int]) -> None:
        task = self._progress.add_task(name, total=clicks)
        frames = self._traffic(links).frames(clicks, *span_ms)
        stream.fill(frames, lambda done: self._progress.update(task, completed=done))

    def _traffic(self, links: int) -> Traffic:
        self._writers += 1
        return Traffic(links, self._writers)

    def _check(self, expected: int) -> None:
        """Each click is counted once, or what was measured is worth nothing."""
        found = store.counted(self._stack.postgres_dsn)
        if found != expected:
            raise BenchmarkError(f"{found:,} clicks are counted instead of {expected:,}")
