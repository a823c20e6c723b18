"""Copying: every link of the arcs that move is written to its new owner.

Links that change meanwhile are written there by the projectors too; compare-and-set by version settles which was later.
Rows of links that were deleted lately are copied as tombstones, which keep a late write of the link from bringing it
back.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Final

from control.errors import Error
from control.moves import reading
from control.moves._pages import Batch, Reader
from control.moves.arcs import Range, Walk, by_target, width
from control.moves.connections import connect_known, shard_of
from control.moves.reading import WITHOUT_LONG_DELETED, Border, Passage
from control.moves.throttle import Throttle, probing
from control.moves.work import Done, Job, Progress, Result, Waits
from control.projection import recovery, store
from control.projection.shard_writer import KEYS_PER_CALL
from control.shards.connection import ShardConnection

# Of so many links of a target that no record can hold is said which; all are counted.
FAULTY_KEPT: Final = 5


@dataclass(slots=True, kw_only=True)
class Copy:
    """How far the copy to one shard is. It holds for one process: what another one was given, it may have lost."""

    run_id: str = ""
    done: int | None = None  # the last hash of what is done
    fraction: float = 0.0
    rows: int = 0
    faulty_count: int = 0
    faulty: list[tuple[int, str]] = field(default_factory=list)
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies to all targets."""

    ranges: Mapping[str, list[Range]]
    widths: Mapping[str, int]
    by_target: dict[str, Copy]

    def progress(self, throttle: Throttle) -> Progress:
        """What people are shown."""
        copies = self.by_target.values()
        done = sum(copy.fraction * self.widths[target] for target, copy in self.by_target.items())
        counts = {"rows": sum(copy.rows for copy in copies), "faulty": sum(copy.faulty_count for copy in copies)}
        return Progress(fraction=min(1.0, done / max(1, sum(self.widths.values()))), counts=counts | throttle.counts)

    @property
    def detail(self) -> dict[str, object]:
        """What the history of the move keeps."""
        faulty = [item for copy in self.by_target.values() for item in copy.faulty]
        return {
            "rows": {target: copy.rows for target, copy in self.by_target.items()},
            "faulty": sum(copy.faulty_count for copy in self.by_target.values()),
            "first_faulty": [{"link_id": link_id, "reason": reason} for link_id, reason in faulty[:FAULTY_KEPT]],
        }


async def copy(job: Job) -> Result:
    """Copy to one target after the other; one that fails does not keep the others from being filled.

    A number is taken behind all that was written to a target, when all targets have everything: by it the target can be
    repaired after a restart like any other shard. One that is another process by then has its copy begun anew.
    """
    copies = await asyncio.to_thread(_copies, job)  # there may be a hundred thousand arcs
    throttle = Throttle(job.pace, asyncio.get_running_loop().time())
    waits: dict[str, str] = {}
    for target in copies.by_target:
        try:
            await _copy_to(job, target, copies, throttle)
        except Error as error:
            if error.code != "shard_unavailable":
                raise
            waits[target] = error.message
    if waits:
        return Waits(reason="; ".join(waits.values()))
    for target, held in copies.by_target.items():
        if not await _raise_floor(job, target, held.run_id):
            copies.by_target[target] = Copy()
            waits[target] = f"shard {target} was restarted while others were copied to; its copy begins anew"
    if waits:
        await job.report(_cursor(copies), copies.progress(throttle))
        return Waits(reason="; ".join(waits.values()))
    return Done(detail=copies.detail)


def _copies(job: Job) -> Copies:
    """Where the last call has stopped."""
    # A shard that joins without links is given its floor like the others.
    found = {target: list[Range]() for target in sorted(job.joining)} | by_target(job.arcs)
    ranges = {target: ranges for target, ranges in found.items() if target not in job.lost}
    held = job.cursor.get("targets", {})
    widths = {target: width(found) for target, found in ranges.items()}
    return Copies(ranges, widths, {target: Copy(**held.get(target, {})) for target in ranges})


def _cursor(copies: Copies) -> dict[str, object]:
    return {"targets": {target: asdict(held) for target, held in copies.by_target.items()}}


async def _copy_to(job: Job, target: str, copies: Copies, throttle: Throttle) -> None:
    shard = shard_of(job.placement.topology, target)
    connection = await connect_known(job.database, shard)
    try:
        if copies.by_target[target].run_id != connection.run_id:
            copies.by_target[target] = Copy(run_id=connection.run_id)
        if not copies.by_target[target].is_done:
            async with probing(throttle, [shard]):
                await _carry(job, connection, copies, throttle)
    finally:
        await connection.close()


async def _carry(job: Job, shard: ShardConnection, copies: Copies, throttle: Throttle) -> None:
    ranges = copies.ranges[shard.shard_id]
    held = copies.by_target[shard.shard_id]

    async def report() -> None:
        await job.report(_cursor(copies), copies.progress(throttle))

    async def write(batch: Batch) -> None:
        commands = batch.commands
        async for stroke in throttle.strokes(batch.count, report):
            calls = commands[stroke.start // KEYS_PER_CALL : -(-stroke.stop // KEYS_PER_CALL)]
            await shard.exchange(calls, len(calls))

    async def on_done(border: Border | None) -> None:
        if border is not None:
            held.done = border.last
            held.fraction = border.width_done / copies.widths[shard.shard_id]
            held.rows += border.rows
            held.faulty_count += border.faulty_count
            held.faulty += border.faulty[: FAULTY_KEPT - len(held.faulty)]
        await report()

    async with job.database.dedicated() as rows:
        walk = Walk(ranges, held.done, await store.links_estimate(rows))
        await reading.prepare(rows)
        # A driver that slept writes nothing to a shard of a later topology: it would stay there for ever.
        reader = partial(Reader, 1, shard.scripts["write"], job.placement.topology.epoch)
        await Passage(rows, walk, throttle, reader, WITHOUT_LONG_DELETED).go(write, on_done)
    held.is_done = True
    await report()


async def _raise_floor(job: Job, target: str, run_id: str) -> bool:
    """False if the target is another process than the one that was written."""
    shard = await connect_known(job.database, shard_of(job.placement.topology, target))
    try:
        async with job.database.transaction() as connection:
            await job.hold(connection)
            return await recovery.raise_floor(connection, shard, run_id)
    finally:
        await shard.close()
