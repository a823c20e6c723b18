"""The second look: which of the links that differed are drift, and which only a change on its way."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from control.audit import store
from control.audit.model import Kind
from control.db import Database
from control.errors import Error
from control.moves import expected
from control.moves.expected import Expected, Verdict
from control.moves.second_look import mget
from control.projection.model import Write
from control.shards.connection import ShardConnection
from wire import FormatError, keys
from wire import fence as wire_fence

# A change takes milliseconds from its commit to the shards, on a busy day a second.
LOOK_INTERVAL_S: Final = 0.1
LOOKS_MAX: Final = 30


class TopologyChanged(Exception):  # noqa: N818  (a finding)
    """Another topology is in force: what was seen says nothing, because its owners may be others."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A key of a shard that is not what PostgreSQL says; `write` is what it should be, None if it should not be."""

    shard_id: str
    kind: Kind
    key: bytes
    held: bytes | None
    write: Write | None


async def settle(
    database: Database, shard: ShardConnection, link_keys: Sequence[bytes], epoch: int
) -> tuple[list[Drift], int]:
    """What of the keys is drift, and how many could not be settled, because a change of them hangs.

    Raises TopologyChanged, and Error("shard_unavailable") if the shard is not complete any more.
    """
    drifts: list[Drift] = []
    before = await _rows(database, link_keys, epoch)
    wrong: dict[bytes, bytes] = {}  # what made a key wrong at the look before
    for _ in range(LOOKS_MAX):
        values = await held_by(shard, list(before))
        after = await _rows(database, list(before), epoch)
        again: list[bytes] = []
        seen, wrong = wrong, {}
        for (key, known), value in zip(before.items(), values, strict=True):
            verdict = expected.judge(known, value, after.get(key))
            if verdict == "lacking" or (verdict == "wrong" and value is not None and seen.get(key) == value):
                drifts.append(_drift(shard.shard_id, verdict, value, after[key]))
            elif verdict != "right":
                again.append(key)
                if verdict == "wrong" and value is not None:
                    wrong[key] = value
        before = {key: after[key] for key in again}
        if not before:
            break
        await asyncio.sleep(LOOK_INTERVAL_S)
    return drifts, len(before)


async def held_by(shard: ShardConnection, link_keys: Sequence[bytes]) -> list[bytes | None]:
    """What the shard holds; raises Error("shard_unavailable") if it need not hold everything.

    The fence is read last: a shard that was emptied before has none, until it has everything again.
    """
    *values, fence = await mget(shard, [*link_keys, keys.FENCE])
    if not _is_complete(fence, shard.run_id):
        raise Error("shard_unavailable", f"shard {shard.shard_id} is not complete any more; its keeper repairs it")
    return values


async def _rows(database: Database, link_keys: Sequence[bytes], epoch: int) -> dict[bytes, Expected]:
    async with database.connection() as connection:
        rows = await expected.read(connection, link_keys)
        # Read after the shard: if it is the same, no owner had lost the link by then.
        if (await store.situation(connection)).epoch != epoch:
            raise TopologyChanged
    return rows


def _is_complete(fence: bytes | None, run_id: str) -> bool:
    try:
        found = None if fence is None else wire_fence.decode(fence)
    except FormatError:
        return False
    return found is not None and (found.state, found.run_id) == ("complete", run_id)


def _drift(shard_id: str, verdict: Verdict, held: bytes | None, after: Expected) -> Drift:
    kind: Kind
    if verdict == "lacking":
        kind = "missing" if held is None else "older"
    else:
        kind = "newer" if held is not None and expected.version_of(held) > after.write.version else "different"
    return Drift(shard_id, kind, after.write.key, held, after.write)
