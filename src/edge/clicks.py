"""Ships clicks: from the segments of all writers of the state directory to control, through any shard's stream.

    segments ──look──▶ Backlog ──send──▶ pm:clicks of a shard ──▶ control ──▶ PostgreSQL
        ▲                 ▲                                          │
        └─settle: unlink──┴──collect──── pm:clicks:ack:<edge> ◀──────┘

One task, one round after the other (`_turn`); what is decided is decided in `backlog.py`, `reports.py` and `packing.py`,
which do no I/O. Nothing that a request does waits for any of it (I1), and nothing is kept but in the segments: whoever
comes after this process, however it ended, finds there all that is not stored, and ships it under the same identity (I3).

The order in which things are done is what makes a SIGKILL between any two of them harmless:
1. a frame's end is in its segment before the frame is sent, so it is the same frame whenever it is sent;
2. control stores a frame before it acknowledges it; one that comes twice changes nothing there;
3. a segment is deleted after all of its frames were acknowledged, a ledger after its final report was.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import structlog

from edge.backlog import Backlog, FrameId, Place, SegmentId, Settled
from edge.carriers import Carrier, Carriers
from edge.claim import Claim
from edge.clickstream import ClickStream, StreamError
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.packing import Packing
from edge.reports import Reports
from edge.segment import directory_of
from edge.shipping import Shipping
from edge.topology import Store
from edge.writers import Look, Writers
from wire import keys
from wire import report as wire_report
from wire.errors import FormatError
from wire.report import Report

log = structlog.get_logger("edge.clicks")

TURN_MS: Final = 100
LOOK_MS: Final = 250
# Of frames in one pipeline: a megabyte, which a gigabit line takes in 8 ms.
BATCH_FRAMES: Final = 8
CLAIM_MS: Final = 1000
AFRESH_MS: Final = 5000
# While an edge stops, this long without any step forward ends its shipping: control is not there.
QUIET_MS: Final = 500
# Acknowledgements for writers of nobody here are left alone, for another edge may have the same id by mistake, but not
# without end.
FOREIGN_ACKS_MAX: Final = 256
_T = TypeVar("_T")


async def ship(config: EdgeConfig, shipping: Shipping, stopping: asyncio.Event) -> None:
    """Ship until `stopping`, and then what is left for a bounded time. A failure is begun anew: redirects go on."""
    while True:
        try:
            await Shipper(config, shipping, stopping).run()
            return
        except Exception as error:  # noqa: BLE001  a full disk or a defect of this must not end the edge
            shipping.failures += 1
            is_disk = isinstance(error, OSError)
            log.error(
                "clicks are not shipped, trying again; they stay on disk",
                reason=str(error),
                exc_info=None if is_disk else error,
            )
        if await _is_set_within(stopping, AFRESH_MS):
            return


class Shipper:
    """One process's turn at a directory. What it knows it has from the files; nothing else needs to survive it."""

    def __init__(self, config: EdgeConfig, shipping: Shipping, stopping: asyncio.Event) -> None:
        self._config = config
        self._shipping = shipping
        self._stopping = stopping
        self._directory = directory_of(config.state_dir)
        self._claim = Claim(self._directory)
        self._writers = Writers(self._directory)
        self._backlog = Backlog(config.click_frames_in_flight, config.click_ack_timeout_ms)
        self._reports = Reports()
        self._packing = Packing(config.click_compression)
        self._carriers = Carriers(config.id, config.seeds, Store(config.state_dir), config.connect_timeout_ms)
        self._statements: list[Report] = []
        self._edge_ids: set[str] = set()
        self._own: set[int] = set()  # the writers of the directory
        self._look_ms = 0
        self._is_first_look = True

    async def run(self) -> None:
        """Ship until told to stop; raises OSError when the disk cannot be used."""
        try:
            if await self._claimed():
                self._shipping.is_active = 1
                while not self._stopping.is_set():
                    has_more = await self._turn()
                    await _is_set_within(self._stopping, 0 if has_more else TURN_MS)
                await self._flush()
        finally:
            self._shipping.is_active = 0
            await self._carriers.close()
            self._writers.close()
            self._claim.release()

    async def _claimed(self) -> bool:
        """Wait for the directory's lock; whether it came before the stop."""
        is_told = False
        while not self._claim.take():
            if not is_told:
                log.warning(
                    "another process ships the clicks of this directory; this one waits for its end",
                    directory=str(self._directory),
                    pid=self._claim.holder(),
                )
                is_told = True
            if await _is_set_within(self._stopping, CLAIM_MS):
                return False
        return True

    async def _flush(self) -> None:
        """Ship what is sealed now: for a bounded time, and no longer than it gets anywhere."""
        try:
            async with asyncio.timeout(self._config.click_flush_ms / 1000):
                quiet_ms, done = monotonic_ms() + QUIET_MS, self._done()
                self._look_ms = 0
                while await self._turn() or (self._own and monotonic_ms() < quiet_ms):
                    if self._done() != done:
                        quiet_ms, done = monotonic_ms() + QUIET_MS, self._done()
                    await asyncio.sleep(TURN_MS / 1000)
        except TimeoutError:
            pass
        log.info("shipping of clicks ends", backlog_bytes=self._backlog.bytes, in_flight=self._backlog.in_flight)

    def _done(self) -> tuple[int, int, int]:
        return self._shipping.sent, self._shipping.acknowledged, len(self._own)

    async def _turn(self) -> bool:
        """One round; whether there is more to send at once."""
        await self._carriers.refresh(monotonic_ms())
        if monotonic_ms() >= self._look_ms:
            self._look_ms = monotonic_ms() + LOOK_MS
            self._note(await _in_thread(self._look))
        self._leave_the_gone()
        await self._collect_all()
        await self._look_after_overdue()
        has_sent = await self._send()
        await self._report()
        await self._settle()
        self._measure()
        return has_sent and self._backlog.has_more

    # ---- from the disk

    def _look(self) -> Look:
        return self._writers.look(lambda id_: None if self._backlog.knows_whole(id_) else self._backlog.known(id_), self._is_first_look)

    def _note(self, look: Look) -> None:
        self._is_first_look = False
        for seen in look.seen:
            self._backlog.note(seen.segment, seen.frames, seen.is_closed, seen.since_s)
        for id_ in self._backlog.segments():
            if id_ not in look.present:
                self._backlog.forget(id_)
        self._statements = look.reports
        self._edge_ids = look.edge_ids
        self._own = {id_.writer for id_ in look.present} | {report.writer for report in look.reports}
        self._shipping.set_aside += look.set_aside

    async def _settle(self) -> None:
        """Take out of the directory what nothing more is to be done for."""
        settled = self._backlog.settled()
        if not settled:
            return
        await _in_thread(lambda: self._take_out(settled))
        for id_, is_stored in settled:
            self._backlog.forget(id_)
            self._shipping.retired += is_stored
            self._shipping.set_aside += not is_stored
        self._look_ms = 0  # a writer's report may be final now

    def _take_out(self, settled: list[Settled]) -> None:
        for id_, is_stored in settled:
            if is_stored:
                self._writers.retire(id_)
            else:
                self._writers.set_aside(id_, "a frame of it was not stored, however often it was sent")

    # ---- to the shards

    async def _stream(self, carrier: Carrier) -> ClickStream:
        """The carrier's stream. What another process than this one got of it, nobody may have any more."""
        is_new = carrier.stream is None
        stream = await self._carriers.stream(carrier)
        if is_new:
            self._lose(carrier.shard_id, stream.run_id)
        return stream

    def _lose(self, shard_id: str, living_run_id: str = "") -> None:
        self._reports.lose(shard_id, living_run_id)
        lost = self._backlog.lose(shard_id, living_run_id)
        if lost:
            self._shipping.resent += lost
            log.warning("clicks were lost with a shard and are sent again", shard=shard_id, frames=lost)

    def _leave_the_gone(self) -> None:
        """Do not wait for shards that have left the topology or are away for long."""
        for shard_id in self._backlog.shards():
            carrier = self._carriers.get(shard_id)
            if carrier is None or carrier.is_gone(monotonic_ms()):
                self._lose(shard_id)

    async def _send(self) -> bool:
        """Send some frames to the best shard that takes them; whether one did."""
        frames = self._backlog.next(BATCH_FRAMES)
        if not frames:
            return False
        for carrier in self._carriers.ready(monotonic_ms()):
            if await self._send_to(carrier, frames):
                return True
        return False

    async def _send_to(self, carrier: Carrier, frames: list[FrameId]) -> bool:
        try:
            stream = await self._stream(carrier)
            room = await self._room(carrier, stream)
            if room <= 0:
                return False
            packed = await _in_thread(lambda: self._pack(frames[:room]))
            entry_ids = await stream.append([{keys.FRAME_FIELD: data} for _, data in packed])
        except StreamError as error:
            await carrier.fail(error, monotonic_ms())
            return False
        carrier.work()
        for (frame, data), entry_id in zip(packed, entry_ids, strict=True):
            self._backlog.sent(frame, Place(carrier.shard_id, stream.run_id), entry_id, monotonic_ms())
            self._shipping.sent += 1
            self._shipping.plain_bytes += frame.end - frame.start
            self._shipping.packed_bytes += len(data)
        return True

    async def _room(self, carrier: Carrier, stream: ClickStream) -> int:
        """How many entries the stream may get. Edges that ask at the same time may go beyond by a batch each."""
        room = self._config.click_stream_frames - await stream.length()
        if room <= 0:
            self._shipping.waits += 1
            carrier.rest(monotonic_ms())
        return room

    def _pack(self, frames: Iterable[FrameId]) -> list[tuple[FrameId, bytes]]:
        """Those that can be read, as entries. In a thread: reading may wait for the disk, and deflate takes its time."""
        packed = []
        for frame in frames:
            try:
                packed.append((frame, self._packing.pack(self._writers.read(frame), monotonic_ms())))
            except FileNotFoundError:  # somebody has deleted it; the next look notices
                continue
            except (FormatError, ValueError) as error:
                log.error("frame of clicks cannot be sent", frame=str(frame), reason=str(error))  # noqa: TRY400
                self._backlog.refuse(frame)
        return packed

    # ---- back from control

    async def _collect_all(self) -> None:
        for shard_id in self._backlog.shards() | self._reports.awaited():
            carrier = self._carriers.get(shard_id)
            if carrier is not None and carrier.is_ready(monotonic_ms()):
                try:
                    await self._collect(carrier)
                except StreamError as error:
                    await carrier.fail(error, monotonic_ms())

    async def _collect(self, carrier: Carrier) -> None:
        """Take the acknowledgements that lie at a shard; raises StreamError."""
        stream = await self._stream(carrier)
        for edge_id in self._edge_ids:
            found = await stream.acknowledgements(edge_id)
            known = [name for name, value in found.items() if self._acknowledge(name, value)]
            names = known if len(found) - len(known) <= FOREIGN_ACKS_MAX else list(found)
            if names:
                await stream.clear(edge_id, names)
        carrier.hear()

    def _acknowledge(self, name: bytes, value: bytes) -> bool:
        """Note one acknowledgement; whether it is about a writer of this directory."""
        try:
            writer, *place = (int(part) for part in name.split(b":"))
            end = int(value)
        except ValueError:
            return False
        if len(place) == 2:
            number, start = place
            self._shipping.acknowledged += self._backlog.acknowledge(FrameId(SegmentId(writer, number), start, end))
        elif self._reports.has_ended(writer):
            self._writers.bury(writer)
            self._reports.forget(writer)
            self._look_ms = 0
        return writer in self._own

    async def _look_after_overdue(self) -> None:
        overdue = self._backlog.overdue(monotonic_ms())
        for shard_id in {entry.place.shard_id for _, entry in overdue}:
            carrier = self._carriers.get(shard_id)
            if carrier is not None and carrier.is_ready(monotonic_ms()):
                here = [(frame, entry.entry_id) for frame, entry in overdue if entry.place.shard_id == shard_id]
                try:
                    await self._look_after(carrier, here)
                except StreamError as error:
                    await carrier.fail(error, monotonic_ms())

    async def _look_after(self, carrier: Carrier, overdue: list[tuple[FrameId, bytes]]) -> None:
        """Which are still in the stream? Of the others the acknowledgements are read once more: an entry is taken out of
        the stream just before its acknowledgement is written."""
        stream = await self._stream(carrier)
        present = await stream.present([entry_id for _, entry_id in overdue])
        await self._collect(carrier)
        for (frame, _), is_present in zip(overdue, present, strict=True):
            if is_present:
                self._backlog.remains(frame, monotonic_ms())
            elif self._backlog.vanished(frame):
                self._shipping.resent += 1

    # ---- reports

    async def _report(self) -> None:
        now_ms = monotonic_ms()
        due = [report for report in self._statements if self._reports.is_due(report, now_ms)]
        due = [report for report in due if await self._is_read(report.writer)]
        for carrier in self._carriers.ready(now_ms) if due else ():
            if await self._report_to(carrier, due):
                return

    async def _is_read(self, writer: int) -> bool:
        """Whether the last report is no longer in the stream to which it went."""
        told = self._reports.last(writer)
        carrier = None if told is None else self._carriers.get(told.place.shard_id)
        if told is None or carrier is None or carrier.is_gone(monotonic_ms()):
            return True
        if not carrier.is_ready(monotonic_ms()):
            return False
        try:
            (is_present,) = await (await self._stream(carrier)).present([told.entry_id])
        except StreamError as error:
            await carrier.fail(error, monotonic_ms())
            return False
        if is_present:
            self._reports.remains(writer, monotonic_ms())
        return not is_present

    async def _report_to(self, carrier: Carrier, due: list[Report]) -> bool:
        try:
            stream = await self._stream(carrier)
            due = due[: max(0, await self._room(carrier, stream))]
            entry_ids = await stream.append([{keys.REPORT_FIELD: wire_report.encode(report)} for report in due])
        except StreamError as error:
            await carrier.fail(error, monotonic_ms())
            return False
        for report, entry_id in zip(due, entry_ids, strict=True):
            self._reports.sent(report, Place(carrier.shard_id, stream.run_id), entry_id, monotonic_ms())
        return bool(due)

    def _measure(self) -> None:
        self._shipping.backlog_bytes = self._backlog.bytes
        self._shipping.in_flight = self._backlog.in_flight
        self._shipping.oldest_ms = ...


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Do it where it may wait for the disk. Who is cancelled waits for its end: two must not work on the files at once."""
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
