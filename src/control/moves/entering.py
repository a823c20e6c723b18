"""What else changes, in the same transaction, when a move enters a phase."""

from typing import Any

from control.db import Connection
from control.moves import documents, store
from control.moves.model import Move
from control.moves.steps import STEPS, Phase


def work_of(move: Move, entered: Phase) -> dict[str, Any]:
    """The row's `work` in the phase: counts stay; cursor and progress are those of one phase."""
    counts = dict(move.work.get("counts", {}))
    if STEPS[move.phase].anew == entered:
        counts["anews"] = counts.get("anews", 0) + 1
    work: dict[str, Any] = {"counts": counts}
    if STEPS[entered].is_end:
        work["leftovers"] = {shard_id: _held_links(move, shard_id) for shard_id in sorted(_lost_leaving(move))}
    return work


async def settle(connection: Connection, move: Move, entered: Phase) -> None:
    """Leave the shards' rows as the new phase needs them; `move` is what it was before."""
    if move.phase == "arming_writes" and entered == "copying":
        # Their keepers have swept them.
        await store.forget_leftovers(connection, sorted(documents.joining(move.before, move.after)))
    if STEPS[entered].is_end:
        await store.distrust(connection, sorted(_lost_staying(move)))


def _lost_leaving(move: Move) -> frozenset[str]:
    """Shards that were given up and are not in the topology any more: their links stay where they are."""
    return frozenset(move.lost) & _leaving(move)


def _lost_staying(move: Move) -> frozenset[str]:
    """Shards that were given up, stay in the topology, and should have had links removed."""
    if not _removes(move):
        return frozenset()
    side = "from" if move.phase == "cleaning" else "to"
    losing = {pair[side] for pair in move.plan["pairs"]}
    return frozenset(move.lost) & losing - _leaving(move)


def _leaving(move: Move) -> frozenset[str]:
    if move.phase == "cleaning":
        return documents.leaving(move.before, move.after)
    return documents.joining(move.before, move.after) if move.phase == "compensating" else frozenset()


def _removes(move: Move) -> bool:
    return STEPS[move.phase].work == "remove"


def _held_links(move: Move, shard_id: str) -> int:
    """About how many links are left on a shard: what their removal last said, or what the plan says."""
    known: dict[str, int] = move.work.get("leftovers", {})
    if shard_id in known:
        return known[shard_id]
    side = "from" if move.phase == "cleaning" else "to"
    return sum(pair["links"] for pair in move.plan["pairs"] if pair[side] == shard_id)
