"""The stream of a shard: filled here, emptied by control."""

import time
from collections.abc import Callable, Iterable
from typing import Final

import redis

from benchmarks import BenchmarkError
from wire import keys

PIPELINE_FRAMES: Final = 50
# Frames on the stream at once while control reads it: enough for it never to wait.
AHEAD_MAX: Final = 1000
STALL_S: Final = 120.0
POLL_S: Final = 0.01

Progress = Callable[[int], None]


class Stream:
    """The stream of one shard."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def fill(self, frames: Iterable[tuple[bytes, int]], progress: Progress = lambda _: None) -> int:
        """Put all frames on it, however many; the clicks in them."""
        clicks = 0
        batch: list[bytes] = []
        for data, count in frames:
            batch.append(data)
            clicks += count
            if len(batch) == PIPELINE_FRAMES:
                self._add(batch)
                progress(clicks)
                batch = []
        self._add(batch)
        progress(clicks)
        return clicks

    def feed(self, frames: Iterable[tuple[bytes, int]], progress: Progress) -> int:
        """The same as control reads them; returns when it has committed all."""

        def paced() -> Iterable[tuple[bytes, int]]:
            for number, entry in enumerate(frames):
                if number % PIPELINE_FRAMES == 0:
                    self._wait(AHEAD_MAX)
                yield entry

        clicks = self.fill(paced(), progress)
        self.drain()
        return clicks

    def drain(self) -> None:
        """Wait until control has committed and removed every entry."""
        self._wait(0)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _add(self, batch: list[bytes]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for data in batch:
            pipeline.xadd(keys.CLICKS, {keys.FRAME_FIELD: data})
        pipeline.execute()

    def _wait(self, length_max: int) -> None:
        least = length = self._client.xlen(keys.CLICKS)
        moved_at = time.monotonic()
        while length > length_max:
            if length < least:
                least, moved_at = length, time.monotonic()
            elif time.monotonic() - moved_at > STALL_S:
                raise BenchmarkError(f"control has left {length} frames on the stream for {STALL_S:.0f} s; see its log")
            time.sleep(POLL_S)
            length = self._client.xlen(keys.CLICKS)
