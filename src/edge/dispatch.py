"""Frames and reports to the shards' streams, and acknowledgements back.

A step that fails leaves its shard alone for a while (`carriers.py`), and the frames as they were. After an XADD without
a reply nobody knows whether the frame is in the stream: it is sent again, and control finds that it has it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from edge.backlog import Backlog, FrameId, Place, SegmentId, State
from edge.carriers import Carrier, Carriers
from edge.clickstream import ClickStream, StreamError
from edge.clock import monotonic_ms
from edge.reports import Reports
from edge.shipping import Shipping
from wire import keys
from wire import report as wire_report
from wire.report import Report

log = structlog.get_logger("edge.clicks")

# Acknowledgements for writers of nobody here are left alone, for another edge may have the same id by mistake, but not
# without end.
FOREIGN_ACKS_MAX: Final = 256


class Opening(NamedTuple):
    """A shard, and how many entries its stream may get."""

    carrier: Carrier
    room: int


class Dispatch:
    """One edge's. `edge_ids` and `writers`: who recorded the directory's clicks, and under which names of the edge."""

    def __init__(self, backlog: Backlog, carriers: Carriers, shipping: Shipping, stream_frames_max: int) -> None:
        self.edge_ids: set[str] = set()
        self.writers: set[int] = set()
        self.ended: list[int] = []  # writers whose final reports are stored; whoever reads it empties it
        self._backlog = backlog
        self._carriers = carriers
        self._shipping = shipping
        self._stream_frames_max = stream_frames_max
        self._reports = Reports()

    # ---- to the streams

    async def opening(self) -> Opening | None:
        """The best shard that takes something now."""
        for carrier in self._carriers.ready(monotonic_ms()):
            try:
                stream = await self._stream(carrier)
                # Edges that ask at the same time may go beyond the bound by what each of them sends at once.
                room = self._stream_frames_max - await stream.length()
            except StreamError as error:
                await carrier.fail(error, monotonic_ms())
                continue
            if room > 0:
                return Opening(carrier, room)
            self._shipping.waits += 1
            carrier.rest(monotonic_ms())
        return None

    async def send(self, carrier: Carrier, packed: Sequence[tuple[FrameId, bytes]]) -> bool:
        """Put frames on the carrier's stream; whether that worked."""
        places = await self._append(carrier, keys.FRAME_FIELD, [data for _, data in packed])
        for (frame, data), (place, entry_id) in zip(packed, places, strict=False):
            self._backlog.sent(frame, place, entry_id, monotonic_ms())
            self._shipping.sent += 1
            self._shipping.plain_bytes += frame.end - frame.start
            self._shipping.packed_bytes += len(data)
        return bool(places)

    async def report(self, statements: Sequence[Report]) -> None:
        """Report what is due of these."""
        due = [report for report in statements if self._reports.is_due(report, monotonic_ms())]
        due = [report for report in due if await self._is_next(report)]
        opening = await self.opening() if due else None
        if opening is None:
            return
        values = [wire_report.encode(report) for report in due[: opening.room]]
        places = await self._append(opening.carrier, keys.REPORT_FIELD, values)
        for report, (place, entry_id) in zip(due, places, strict=False):
            self._reports.sent(report, place, entry_id, monotonic_ms())

    async def _append(self, carrier: Carrier, field: bytes, values: Sequence[bytes]) -> list[tuple[Place, bytes]]:
        """Entries behind the others; where they are, or nothing if that is not known."""
        try:
            stream = await self._stream(carrier)
            entry_ids = await stream.append([{field: value} for value in values])
        except StreamError as error:
            await carrier.fail(error, monotonic_ms())
            return []
        carrier.work()
        return [(Place(carrier.shard_id, stream.run_id), entry_id) for entry_id in entry_ids]

    async def _is_next(self, report: Report) -> bool:
        """Whether the writer's last report is no longer in the stream to which it went."""
        told = self._reports.ahead(report)
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
            self._reports.remains(report.writer, monotonic_ms())
        return not is_present

    # ---- what has become of them

    async def follow(self) -> None:
        """Read acknowledgements, and find what has to be sent again."""
        self._leave_the_gone()
        overdue = self._backlog.overdue(monotonic_ms())
        for shard_id in self._backlog.shards() | self._reports.awaited():
            carrier = self._carriers.get(shard_id)
            if carrier is None or not carrier.is_ready(monotonic_ms()):
                continue
            here = [(frame, entry.entry_id) for frame, entry in overdue if entry.place.shard_id == shard_id]
            try:
                await self._follow(carrier, here)
            except StreamError as error:
                await carrier.fail(error, monotonic_ms())

    def _leave_the_gone(self) -> None:
        """Do not wait for shards that have left the topology or are away for long."""
        for shard_id in self._backlog.shards():
            carrier = self._carriers.get(shard_id)
            if carrier is None or carrier.is_gone(monotonic_ms()):
                self._lose(shard_id)

    async def _follow(self, carrier: Carrier, overdue: Sequence[tuple[FrameId, bytes]]) -> None:
        """What is still in the stream is asked first: control takes an entry out, then writes its acknowledgement."""
        stream = await self._stream(carrier)
        present = await stream.present([entry_id for _, entry_id in overdue]) if overdue else []
        for edge_id in self.edge_ids:
            await self._collect(stream, edge_id)
        carrier.hear()
        for (frame, _), is_present in zip(overdue, present, strict=True):
            self._decide(frame, is_present)

    def _decide(self, frame: FrameId, is_present: bool) -> None:
        if is_present:
            self._backlog.remains(frame, monotonic_ms())
            return
        state = self._backlog.vanished(frame)
        self._shipping.resent += state == State.WAITING
        if state == State.REFUSED:
            log.error("frame of clicks is given up: it vanished from the streams again and again", frame=_name(frame))

    async def _collect(self, stream: ClickStream, edge_id: str) -> None:
        found = await stream.acknowledgements(edge_id)
        known = [name for name, value in found.items() if self._acknowledge(name, value)]
        names = known if len(found) - len(known) <= FOREIGN_ACKS_MAX else list(found)
        if names:
            await stream.clear(edge_id, names)

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
        elif not place and self._reports.has_ended(writer):
            self._reports.forget(writer)
            self.ended.append(writer)
        return writer in self.writers

    # ---- shards

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
            log.warning("frames of clicks were lost with a shard and are sent again", shard=shard_id, frames=lost)


def _name(frame: FrameId) -> str:
    return f"{frame.segment.writer:016x}-{frame.segment.number:06d} at {frame.start}"
