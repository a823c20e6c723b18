"""The hottest links of L1 on disk, so that a worker that starts while nothing can be asked still answers them.

    interval, drain ──▶ Walk, a slice per loop turn ──▶ thread: temporary file, fsync, rename ──▶ l1-<slot>.snapshot
    start ──▶ read, check ──▶ Refill, a slice per loop turn ──▶ keys ──▶ warm: looked up again, a few per tick

File, little-endian: version byte, 3 bytes of 0, bytes of the entries (u64), wall clock of the writing in ms (i64),
the entries (`_snapshot.Saved`, key, payload), CRC-32 of all before.

Invariants:
- what is restored has a deadline that is over: it is an answer only when neither shard nor PostgreSQL can say, and only
  while it is younger than stale_ms, counted from when the link was read, not from when the file was written;
- a file that is not whole, of another version or larger than allowed is refused, and L1 starts empty;
- a crash while writing leaves the last file as it was.
"""

import asyncio
import os
import random
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from edge._cache import Cache
from edge._counters import Counters
from edge._fast import xxh64
from edge._snapshot import Refill, Walk
from edge.clock import monotonic_ms
from edge.config import EdgeConfig

log = structlog.get_logger("edge.snapshot")

VERSION: Final = 1
HEADER: Final = struct.Struct("<B3xQq")
CHECKSUM: Final = struct.Struct("<I")
JITTER: Final = 0.2  # of the interval, so that the workers of a machine do not write together
WARM_BATCH: Final = 256  # look-ups begun per tick: as many as one MGET takes
WARM_REFUSALS_MAX: Final = 32  # after so many a tick ends: there is no capacity
WARM_TICK_MS: Final = 50  # so 5,000 a second at most: the look-ups of clients come first


class SnapshotError(ValueError):
    """A file that is no whole snapshot of this version and size."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file holds: entries, and the wall clock when they were written."""

    written_ms: int
    records: bytes


class Keeper:
    """Writes one worker's snapshots, and reads the last one when it starts. With 0 snapshot_bytes it does nothing."""

    def __init__(self, config: EdgeConfig, slot: int, cache: Cache, counters: Counters) -> None:
        self._config = config
        self._path = Path(config.state_dir) / f"l1-{slot}.snapshot"
        self._cache = cache
        self._counters = counters
        self._writing = asyncio.Lock()

    async def restore(self) -> list[bytes]:
        """Fill the cache from the last snapshot; the keys that it holds now, hottest first."""
        if not self._config.snapshot_bytes:
            return []
        try:
            snapshot = await asyncio.to_thread(read, self._path, self._config.snapshot_bytes)
            keys = [] if snapshot is None else await refill(self._cache, snapshot, self._config.stale_ms)
        except (OSError, ValueError) as error:
            self._counters.add("snapshot_failures")
            log.warning("snapshot refused, starting with an empty cache", file=str(self._path), error=str(error))
            return []
        self._counters.set("snapshot_restored", len(keys))
        log.info("snapshot restored", entries=len(keys))
        return keys

    async def run(self) -> None:
        """Write a snapshot in every interval."""
        while self._config.snapshot_bytes:
            jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  jitter is no secret
            await asyncio.sleep(self._config.snapshot_interval_ms * jitter / 1000)
            await self.write()

    async def write(self) -> None:
        """Write a snapshot now, after one that is being written."""
        if not self._config.snapshot_bytes:
            return
        async with self._writing:
            written_ms = _wall_ms()
            slices = await walk(self._cache, self._config.snapshot_bytes)
            try:
                size = await asyncio.to_thread(store, self._path, slices, written_ms)
            except OSError as error:
                self._counters.add("snapshot_failures")
                log.warning("cannot write a snapshot, the last one stays", file=str(self._path), error=str(error))
                return
            self._counters.add("snapshot_writes")
            self._counters.set("snapshot_file_bytes", size)


async def walk(cache: Cache, bytes_max: int) -> list[bytes]:
    """The hottest entries, in slices that hold `bytes_max` together, one in a turn of the loop."""
    entries = Walk(cache, _wall_ms() - monotonic_ms())
    slices: list[bytes] = []
    while not entries.is_over:
        part = entries.take(bytes_max)
        bytes_max -= len(part)
        slices.append(part)
        await asyncio.sleep(0)
    return slices


async def refill(cache: Cache, snapshot: Snapshot, stale_ms: int) -> list[bytes]:
    """Put the entries that are young enough into the cache, a slice in a turn of the loop; their keys."""
    # A clock that was set back must not make entries younger than they were when they were written.
    wall_ms = max(_wall_ms(), snapshot.written_ms)
    entries = Refill(cache, snapshot.records, monotonic_ms() - wall_ms, wall_ms - stale_ms)
    keys: list[bytes] = []
    while not entries.is_over:
        keys += entries.take()
        await asyncio.sleep(0)
    return keys


async def warm(keys: Sequence[bytes], refresh: Callable[[bytes, int], bool], give_up_ms: int) -> None:
    """Look the keys up again in their order, a few in a tick, until all are begun or `give_up_ms` has passed.

    `refresh` is the resolver's: True when a look-up was begun or joined, False when there is no capacity for it now.
    """
    waiting = deque(keys)
    until_ms = monotonic_ms() + give_up_ms
    while waiting and monotonic_ms() < until_ms:
        refused: list[bytes] = []
        for _ in range(min(WARM_BATCH, len(waiting))):
            key = waiting.popleft()
            if not refresh(key, xxh64(key)):
                refused.append(key)
            if len(refused) == WARM_REFUSALS_MAX:
                break
        waiting.extend(refused)  # behind the others: one shard that is away must not hold up those that are not
        await asyncio.sleep(WARM_TICK_MS / 1000)
    log.info("restored links are looked up again", begun=len(keys) - len(waiting), given_up=len(waiting))


# ---- the file


def store(path: Path, slices: Sequence[bytes], written_ms: int) -> int:
    """Replace the file, whole or not at all; its size. The worker is the only writer of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    header = HEADER.pack(VERSION, sum(map(len, slices)), written_ms)
    checksum = 0
    with new.open("wb") as file:
        for part in (header, *slices):
            checksum = zlib.crc32(part, checksum)
            file.write(part)
        file.write(CHECKSUM.pack(checksum))
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    os.replace(new, path)
    return size


def read(path: Path, bytes_max: int) -> Snapshot | None:
    """The file's entries, at most `bytes_max`; None if there is no file. Raises SnapshotError."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > HEADER.size + bytes_max + CHECKSUM.size:
            raise SnapshotError(f"{size} bytes are more than the {bytes_max} that POINTSMAN_EDGE_SNAPSHOT_BYTES allows")
        return decode(file.read())


def decode(data: bytes) -> Snapshot:
    """The entries in `data`, checked."""
    if data[:1] != bytes([VERSION]):
        raise SnapshotError(f"its version is {data[:1].hex() or 'missing'}, this build reads {VERSION:02x}")
    if len(data) < HEADER.size + CHECKSUM.size:
        raise SnapshotError(f"{len(data)} bytes are too few for a snapshot")
    _, size, written_ms = HEADER.unpack_from(data)
    end = len(data) - CHECKSUM.size
    if size != end - HEADER.size:
        raise SnapshotError(f"it should hold {size} bytes of entries and holds {end - HEADER.size}")
    if CHECKSUM.unpack_from(data, end)[0] != zlib.crc32(memoryview(data)[:end]):
        raise SnapshotError("its checksum is wrong")
    return Snapshot(written_ms, data[HEADER.size : end])


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
