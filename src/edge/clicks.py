"""Ships clicks: from the segments of all writers of the state directory to control, through any shard's stream.

    segments ──look──▶ Backlog ──send──▶ pm:clicks of a shard ──▶ control ──▶ PostgreSQL
        ▲                 ▲                                          │
        └─settle: unlink──┴──follow───── pm:clicks:ack:<edge> ◀──────┘

One task, one round after the other (`_turn`). What is decided is decided in `backlog.py`, `reports.py` and
`packing.py`, which do no I/O; `writers.py` has the files, `dispatch.py` the shards. Nothing that a request does waits
for any of it (I1), and nothing is kept but in the files: whoever comes after this process, however it ended, finds
there all that is not stored, and ships it under the same identity (I3).

The order in which things are done makes a SIGKILL between any two of them harmless:
1. a frame's end is in its segment before the frame is sent, so it is the same frame whenever it is sent;
2. control stores a frame before it acknowledges it; one that comes twice changes nothing there;
3. a segment is deleted after all of its frames were acknowledged, a ledger after its final report was.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog

from edge.backlog import Backlog, FrameId, SegmentId, Settled
from edge.carriers import Carriers
from edge.claim import Claim
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.dispatch import Dispatch
from edge.packing import Packing
from edge.segment import directory_of
from edge.shipping import Shipping
from edge.topology import Store
from edge.writers import Look, Writers
from wire.errors import FormatError
from wire.report import Report

log = structlog.get_logger("edge.clicks")

TURN_MS: Final = 100  # how late an acknowledgement may be noticed
LOOK_MS: Final = 250  # how late a sealed frame may be; nothing is looked at more often while nothing is in flight
BATCH_FRAMES: Final = 8  # a megabyte in one pipeline, which a gigabit line takes in 8 ms
CLAIM_MS: Final = 250  # a worker that records clicks makes the directory
AFRESH_MS: Final = 5000
# While an edge stops, this long without any step forward ends its shipping: control is not there.
QUIET_MS: Final = 500
_T = TypeVar("_T")


async def ship(config: EdgeConfig, shipping: Shipping, stopping: asyncio.Event) -> None:
    """Ship until `stopping`, and then what is left for a bounded time. A failure is begun anew: redirects go on."""
    last = ""
    while not stopping.is_set():
        try:
            await Shipper(config, shipping, stopping).run()
        except Exception as error:  # whatever is wrong with a disk or with this, redirects must go on
            shipping.failures += 1
            if repr(error) != last:
                log.exception("clicks are not shipped and stay on disk; trying again", reason=str(error))
            last = repr(error)
            await _is_set_within(stopping, AFRESH_MS)


class Shipper:
    """One process's turn at a directory. What it knows it has from the files; nothing of it needs to survive it."""

    def __init__(self, config: EdgeConfig, shipping: Shipping, stopping: asyncio.Event) -> None:
        self._directory = directory_of(config.state_dir)
        self._config = config
        self._shipping = shipping
        self._stopping = stopping
        self._claim = Claim(self._directory)
        self._writers = Writers(self._directory)
        self._backlog = Backlog(config.click_frames_in_flight, config.click_ack_timeout_ms)
        self._carriers = Carriers(config.id, config.seeds, Store(config.state_dir), config.connect_timeout_ms)
        self._dispatch = Dispatch(self._backlog, self._carriers, shipping, config.click_stream_frames)
        self._packing = Packing(config.click_compression)
        self._statements: list[Report] = []
        self._look_ms = 0
        self._is_first_look = True

    async def run(self) -> None:
        """Ship until told to stop; raises OSError when the disk cannot be used."""
        try:
            if await self._claimed():
                self._shipping.is_active = 1
                while not self._stopping.is_set():
                    has_more = await self._turn()
                    idle_ms = TURN_MS if self._backlog.in_flight else LOOK_MS
                    await _is_set_within(self._stopping, 0 if has_more else idle_ms)
                await self._flush()
        finally:
            self._shipping.is_active = 0
            await self._carriers.close()
            self._claim.release()

    async def _claimed(self) -> bool:
        """Wait for the directory and its lock; whether both are there, at the stop at the latest."""
        holder = ""
        while not (self._directory.exists() and self._claim.take()):
            if self._directory.exists() and self._claim.holder() != holder:
                holder = self._claim.holder()
                log.info(
                    "another process ships the clicks of this directory; this one waits for its end",
                    directory=str(self._directory),
                    pid=holder,
                )
            if self._stopping.is_set():
                return False
            await _is_set_within(self._stopping, CLAIM_MS)
        return True

    async def _flush(self) -> None:
        """Ship what is sealed by now: for a bounded time, and no longer than it gets anywhere."""
        self._look_ms = 0
        quiet_ms, done = monotonic_ms() + QUIET_MS, self._done()
        try:
            async with asyncio.timeout(self._config.click_flush_ms / 1000):
                while self._dispatch.writers or self._is_first_look or not self._look_ms:
                    has_more = await self._turn()
                    if self._done() != done:
                        quiet_ms, done = monotonic_ms() + QUIET_MS, self._done()
                    if not has_more and monotonic_ms() >= quiet_ms:
                        break
                    await asyncio.sleep(0 if has_more else TURN_MS / 1000)
        except TimeoutError:
            pass
        log.info("shipping of clicks ends", bytes_left=self._backlog.bytes, frames_in_flight=self._backlog.in_flight)

    def _done(self) -> tuple[int, int, int]:
        return self._shipping.sent, self._shipping.acknowledged, len(self._dispatch.writers)

    async def _turn(self) -> bool:
        """One round; whether there is more to send at once."""
        await self._carriers.refresh(monotonic_ms())
        if monotonic_ms() >= self._look_ms:
            await self._look()
        await self._dispatch.follow()
        await self._bury()
        has_sent = await self._send()
        await self._dispatch.report(self._statements)
        await self._settle()
        self._shipping.backlog_bytes = self._backlog.bytes
        self._shipping.in_flight = self._backlog.in_flight
        return has_sent and self._backlog.has_more

    async def _look(self) -> None:
        """Learn from the files what is new."""
        look: Look = await _in_thread(lambda: self._writers.look(self._known, self._is_first_look))
        self._look_ms = monotonic_ms() + LOOK_MS
        self._is_first_look = False
        for seen in look.seen:
            self._backlog.note(seen.segment, seen.frames, seen.is_closed, seen.since_s)
        for id_ in self._backlog.segments():
            if id_ not in look.present:
                self._backlog.forget(id_)
        self._statements = look.reports
        self._dispatch.edge_ids = look.edge_ids
        self._dispatch.writers = {id_.writer for id_ in look.present} | {report.writer for report in look.reports}
        self._shipping.set_aside += look.set_aside
        self._shipping.oldest_since_s = self._backlog.oldest_s() or 0

    def _known(self, id_: SegmentId) -> int | None:
        return None if self._backlog.knows_whole(id_) else self._backlog.known(id_)

    async def _send(self) -> bool:
        """Send some frames; whether they were sent."""
        frames = self._backlog.next(BATCH_FRAMES)
        if not frames:
            return False
        opening = await self._dispatch.opening()
        if opening is None:
            return False
        packed, refused = await _in_thread(lambda: self._pack(frames[: opening.room]))
        for frame in refused:
            self._backlog.refuse(frame)
        return await self._dispatch.send(opening.carrier, packed)

    def _pack(self, frames: Sequence[FrameId]) -> tuple[list[tuple[FrameId, bytes]], list[FrameId]]:
        """Frames as entries, and those that cannot be. In a thread: the disk has to be waited for, and deflate."""
        packed: list[tuple[FrameId, bytes]] = []
        refused: list[FrameId] = []
        for frame in frames:
            try:
                packed.append((frame, self._packing.pack(self._writers.read(frame), monotonic_ms())))
            except FileNotFoundError:  # somebody has deleted it; the next look notices
                continue
            except (FormatError, ValueError) as error:
                log.error("frame of clicks cannot be sent", frame=str(frame), reason=str(error))  # noqa: TRY400
                refused.append(frame)
        return packed, refused

    async def _settle(self) -> None:
        """Take out of the directory the segments for which nothing more is to be done."""
        settled = self._backlog.settled()
        if not settled:
            return
        await _in_thread(lambda: self._take_out(settled))
        for id_, is_stored in settled:
            self._backlog.forget(id_)
            self._shipping.retired += is_stored
            self._shipping.set_aside += not is_stored
        self._look_ms = 0  # a writer's report may be final now

    def _take_out(self, settled: Sequence[Settled]) -> None:
        for id_, is_stored in settled:
            if is_stored:
                self._writers.retire(id_)
            else:
                self._writers.set_aside(id_, "a frame of it was not stored, however often it was sent")

    async def _bury(self) -> None:
        """Take out the ledgers of writers of which all is said."""
        ended, self._dispatch.ended = self._dispatch.ended, []
        if ended:
            await _in_thread(lambda: self._writers.bury(ended))
            self._statements = [report for report in self._statements if report.writer not in ended]
            self._look_ms = 0


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Do it where it may wait. Who is cancelled waits for its end all the same: two must not work on the files."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _is_set_within(event: asyncio.Event, timeout_ms: int) -> bool:
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await event.wait()
    except TimeoutError:
        return False
