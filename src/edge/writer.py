"""A writer: one life of one worker as the author of clicks, from its ledger and first segment to its last one closed.

    open ──▶ ledger, first segment ──▶ tend, 20 times a second ──▶ close: seal, close, give the lock back
                                        │ no spare, or a second over
                                        ▼
                                     a thread: look how full the directory is, make the next segment

What cannot be made is tried again every RETRY_MS; until then redirects are answered and their clicks are counted as
dropped.
"""

import asyncio
import errno
import time
from collections.abc import Sequence
from typing import Final

import structlog

from edge import segment
from edge._clicklog import ClickLog
from edge._counters import Counters
from edge._segment import SegmentMap
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.ledger import Ledger, sync_directory
from edge.segment import BacklogFullError, Room

log = structlog.get_logger("edge.writer")

RETRY_MS: Final = 1000  # also how often the directory is looked at: a second of full load fills one segment at most
# A disk that is full for this process: no blocks, none within its quota, or none within its file size limit.
FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Writer:
    """Keeps a click log supplied. Does nothing if clicks are not recorded."""

    def __init__(self, config: EdgeConfig, clicks: ClickLog, counters: Counters) -> None:
        self._config = config
        self._clicks = clicks
        self._counters = counters
        self._room = Room(segment.directory_of(config.state_dir), config.click_backlog_bytes, config.click_room_bytes)
        self._ledger: Ledger | None = None
        self._next = 0  # number of the next segment
        self._supplying: asyncio.Task[None] | None = None
        self._supply_ms = 0  # when the directory is to be looked at again, whether or not a spare is there
        self._syncing: asyncio.Task[None] | None = None
        self._retired: list[int] = []  # numbers of closed segments that are to be cut to what they use
        self._made: list[int] = []  # numbers of segments of which the disk may not know
        self._sync_ms = 0
        self._sync_retry_ms = 0  # after a failure nothing is synced before then
        self._synced = 0  # number of the first segment that may have clicks that are not on the disk
        self._trouble = ""
        self._is_closed = False

    async def open(self) -> None:
        """Have a ledger and a segment, if that is possible: to be called before the first request."""
        if self._clicks.is_on:
            self._clicks.tend(monotonic_ms(), _wall_ms())
            await self._supply()

    def tend(self, now_ms: int) -> None:
        """Called by the worker's timer."""
        if not self._clicks.is_on or self._is_closed:
            return
        self._clicks.tend(now_ms, _wall_ms())
        self._retired += self._clicks.take_retired()
        is_short = not self._clicks.has_spare and not self._trouble
        if _is_idle(self._supplying) and (is_short or now_ms >= self._supply_ms):
            self._supplying = asyncio.create_task(self._supply())
        is_due = self._config.click_sync_ms > 0 and now_ms >= self._sync_ms
        if _is_idle(self._syncing) and (is_due or self._made) and now_ms >= self._sync_retry_ms:
            self._sync_ms = now_ms + self._config.click_sync_ms if is_due else self._sync_ms
            self._syncing = asyncio.create_task(self._sync(with_clicks=is_due))

    async def close(self) -> None:
        """Close what is under way; what is unused is deleted. To be called after the last answer."""
        if not self._clicks.is_on:
            return
        self._is_closed = True
        for task in (self._supplying, self._syncing):
            if task is not None:
                await task
        spare = self._next - 1 if self._clicks.has_spare else None
        self._clicks.close()
        if self._ledger is not None:
            for number in (*self._retired, *self._clicks.take_retired()):
                segment.cut(segment.path_of(self._room.directory, self._ledger.writer, number))
            if spare is not None:
                segment.path_of(self._room.directory, self._ledger.writer, spare).unlink(missing_ok=True)
            self._ledger.close()

    # ---- what may wait for the disk

    async def _supply(self) -> None:
        """Look how full the directory is, and have a spare."""
        self._supply_ms = monotonic_ms() + RETRY_MS
        try:
            retired, self._retired = self._retired, []
            used = await asyncio.to_thread(self._look, retired)
            self._clicks.is_crowded = used > self._room.bytes_max // 2
            self._counters.set("click_directory_bytes", used)
            if self._ledger is None:
                self._ledger = await asyncio.to_thread(Ledger.create, self._room.directory, self._config.id, _wall_ms())
                self._clicks.open(self._ledger.books)
            while not self._clicks.has_spare:
                self._take(await asyncio.to_thread(self._make, self._ledger))
        except OSError as error:
            self._fail(error)
        else:
            self._note("")

    def _look(self, retired: Sequence[int]) -> int:
        self._room.directory.mkdir(mode=segment.DIRECTORY_MODE, parents=True, exist_ok=True)
        if self._ledger is not None:
            for number in retired:
                segment.cut(segment.path_of(self._room.directory, self._ledger.writer, number))
        return segment.used_bytes(self._room.directory)

    def _make(self, ledger: Ledger) -> SegmentMap:
        return segment.create(self._room, ledger.writer, self._next, self._config.id)

    def _take(self, made: SegmentMap) -> None:
        self._clicks.supply(made)
        self._made.append(self._next)
        self._next += 1
        self._counters.add("click_segments")

    async def _sync(self, *, with_clicks: bool) -> None:
        """Have the disk know of new segments, and hold what was recorded so far: that bounds what a power cut takes.

        Apart from `_supply`: on a busy disk it may take seconds, and the next segment must not wait for it.
        """
        made, self._made = self._made, []
        # Without one under way, what was recorded last is in the last one that was made.
        current = self._clicks.segment if self._clicks.segment >= 0 else self._next - 1
        numbers = {*made, *(range(self._synced, current + 1) if with_clicks else ())}
        if self._ledger is None:
            return
        try:
            await asyncio.to_thread(self._sync_files, self._ledger, sorted(numbers))
        except OSError as error:
            self._made += made
            self._sync_retry_ms = monotonic_ms() + RETRY_MS
            self._counters.add("click_failures")
            log.warning("cannot have the disk hold clicks", directory=str(self._room.directory), error=str(error))
        else:
            self._synced = max(self._synced, current) if with_clicks else self._synced

    def _sync_files(self, ledger: Ledger, numbers: Sequence[int]) -> None:
        for number in numbers:
            segment.sync(segment.path_of(self._room.directory, ledger.writer, number))
        # With its counts of the segments that are closed: those may be stored and deleted soon.
        ledger.sync()
        sync_directory(self._room.directory)

    # ---- trouble

    def _fail(self, error: OSError) -> None:
        if isinstance(error, BacklogFullError):
            self._note("backlog_full", error)
            return
        self._counters.add("click_failures")
        self._note("disk_full" if error.errno in FULL else "no_segment", error)

    def _note(self, trouble: str, error: OSError | None = None) -> None:
        """Say so when something begins or ends to be in the way, not each time that it is met."""
        self._clicks.refuse(trouble or "no_segment")
        if trouble != self._trouble and trouble:
            log.error(
                "no room for clicks, they are dropped once the segment under way is full",
                directory=str(self._room.directory),
                reason=trouble,
                error=str(error),
            )
        elif trouble != self._trouble:
            log.info("there is room for clicks again", directory=str(self._room.directory))
        self._trouble = trouble


def _is_idle(task: "asyncio.Task[None] | None") -> bool:
    return task is None or task.done()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
