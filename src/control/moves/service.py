"""Planning and starting moves, and what an operator asks of one under way.

A request changes flags in the move's row; the driver, in whichever control process it is, acts upon them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from control.db import Connection, Database
from control.errors import Error
from control.moves import candidate, documents, observation, steps, store
from control.moves import plan as planning
from control.moves.model import Move, MoveEvent, MoveRequest, Plan
from control.moves.plan import Speed
from control.moves.steps import STEPS, TURNED
from control.shards import store as shard_store
from wire.topology import Shard, Topology

PAGE_MAX: Final = 100


class Moves:
    """The moves of this installation. `wake` tells this process's driver to look at once."""

    def __init__(self, database: Database, wake: Callable[[], None], speed: Speed) -> None:
        self._database = database
        self._wake = wake
        self._speed = speed

    async def plan(self, request: MoveRequest) -> Plan:
        """What the move would do; nothing is changed. Raises Error for what cannot be done."""
        async with self._database.connection() as connection:
            await _check_free(connection)
            before = await _topology(connection)
            size = await store.size(connection)
        after = planning.topology_after(before, request)
        new = planning.new_shard(before, request)
        warnings = await self._inspect(new, before) if new else []
        moved = await asyncio.to_thread(documents.arcs, before, after)
        planned = planning.plan(request, before, after, moved, size=size, speed=self._speed)
        planned.warnings.extend(warnings)
        return planned

    async def start(self, request: MoveRequest) -> Move:
        """Plan the move and start it; raises Error("move_under_way") while there is another one."""
        return await self.carry_out(await self.plan(request))

    async def carry_out(self, planned: Plan) -> Move:
        """Start the move that was planned; raises Error("topology_changed") for a plan that does not hold any more."""
        async with self._database.transaction() as connection:
            await _check_free(connection)
            if await shard_store.current_epoch(connection) != planned.before.epoch:
                raise Error("topology_changed", "the topology has been changed meanwhile; plan the move again")
            move = await _insert(connection, planned)
        self._wake()
        return move

    async def get(self, move_id: int) -> Move:
        """A move; raises Error("move_unknown")."""
        async with self._database.connection() as connection:
            return _found(await store.get(connection, move_id), move_id)

    async def list(self, before: int | None, limit: int) -> Sequence[Move]:
        """At most `limit` moves, newest first, older than the move `before`."""
        async with self._database.connection() as connection:
            return await store.page(connection, before, min(limit, PAGE_MAX))

    async def events(self, move_id: int) -> Sequence[MoveEvent]:
        """What has happened in a move, oldest first; of a very long history its end."""
        async with self._database.connection() as connection:
            _found(await store.get(connection, move_id), move_id)
            return await store.events(connection, move_id)

    async def pause(self, move_id: int) -> Move:
        """Let the move do nothing more; links go on being written to both of their shards. Again changes nothing."""
        return await self._set_paused(move_id, is_paused=True)

    async def resume(self, move_id: int) -> Move:
        """Let a paused move go on. Again changes nothing."""
        return await self._set_paused(move_id, is_paused=False)

    async def abort(self, move_id: int) -> Move:
        """Give the move up and take back what it has done, as long as that is possible; a paused one too."""
        return await self._turn(move_id, "abort")

    async def reverse(self, move_id: int) -> Move:
        """Let the edges read the old ring again, after the cut-over and before it is final."""
        return await self._turn(move_id, "reverse")

    async def declare_lost(self, move_id: int, shard_id: str) -> Move:
        """Go on without a shard that will not come back; raises Error("shard_answers") for one that is there.

        Of a move that has ended: what it has left over on the shard is gone with it, and is not spoken of any more.
        """
        move = await self.get(move_id)
        shard = _shard_of(move, shard_id)
        views = await observation.look([shard])
        if views[shard_id].run_id:
            raise Error("shard_answers", f"shard {shard_id} answers; it is not lost")
        async with self._database.transaction() as connection:
            if await _forget(connection, move_id, shard_id):
                return await self._changed(connection, move_id)
            move = await _open(connection, move_id)
            if move.phase not in TURNED | steps.BACKWARD and shard_id in move.targets:
                raise Error("move_phase", f"shard {shard_id} is to get links; bring it back or abort move {move_id}")
            if shard_id not in move.lost:
                await store.add_lost(connection, move_id, shard_id)
                await store.add_event(connection, move, "lost", {"shard": shard_id, "by": "operator"})
            return await self._changed(connection, move_id)

    async def _set_paused(self, move_id: int, is_paused: bool) -> Move:
        async with self._database.transaction() as connection:
            move = await _open(connection, move_id)
            if move.is_paused != is_paused:
                await store.set_paused(connection, move_id, is_paused)
                await store.add_event(connection, move, "paused" if is_paused else "resumed", {})
            return await self._changed(connection, move_id)

    async def _turn(self, move_id: int, wanted: Any) -> Move:
        async with self._database.transaction() as connection:
            move = await _open(connection, move_id)
            if move.wanted is None:
                _check_turn(move, wanted)
                await store.set_wanted(connection, move_id, wanted)
                await store.add_event(connection, move, f"{wanted}_requested", {})
            return await self._changed(connection, move_id)

    async def _changed(self, connection: Connection, move_id: int) -> Move:
        self._wake()
        return _found(await store.get(connection, move_id), move_id)

    async def _inspect(self, shard: Shard, before: Topology) -> Sequence[str]:
        found = await candidate.inspect(shard)
        # One that is being repaired has no process by its row, one that does not answer has no other.
        views = await observation.look(before.shards)
        held = next((shard_id for shard_id, view in views.items() if view.run_id == found.run_id), None)
        if held is None:
            async with self._database.connection() as connection:
                held = await store.shard_of_run(connection, found.run_id)
        if held is not None:
            raise Error(
                "shard_exists", f"the server of {shard.id} is shard {held} already; each needs its own", pointer="/url"
            )
        return candidate.warnings(shard, found)


async def _insert(connection: Connection, planned: Plan) -> Move:
    try:
        async with connection.transaction():
            move_id = await store.insert(connection, planned, planning.summary(planned))
    except asyncpg.UniqueViolationError as error:
        raise _under_way(None) from error
    move = _found(await store.get(connection, move_id), move_id)
    await store.add_event(connection, move, "started", {})
    return move


async def _forget(connection: Connection, move_id: int, shard_id: str) -> bool:
    """Forget what a move that has ended has left over on a shard; false if there is nothing to forget."""
    move = _found(await store.get_for_update(connection, move_id), move_id)
    left = dict(move.work.get("leftovers", {}))
    if not STEPS[move.phase].is_end or shard_id not in left:
        return False
    number = left.pop(shard_id)
    await store.set_leftovers(connection, move, left)
    await store.add_event(connection, move, "forgotten", {"shard": shard_id, "links": number})
    return True


async def _check_free(connection: Connection) -> None:
    move_id = await store.under_way(connection)
    if move_id is not None:
        raise _under_way(move_id)


def _under_way(move_id: int | None) -> Error:
    name = "another move" if move_id is None else f"move {move_id}"
    return Error(
        "move_under_way", f"{name} is under way, and there is one at a time; `pointsman move watch` shows how far it is"
    )


async def _topology(connection: Connection) -> Topology:
    topology = await shard_store.current(connection)
    if topology is None:
        raise Error("topology_missing", "no topology is set; run `pointsman topology set --shard ID=URL …`")
    if topology.mode != "steady":
        raise Error("topology_moves", f"the topology of epoch {topology.epoch} has two rings, but no move is under way")
    return topology


async def _open(connection: Connection, move_id: int) -> Move:
    """The move, locked; raises Error if it has ended."""
    move = _found(await store.get_for_update(connection, move_id), move_id)
    if STEPS[move.phase].is_end:
        raise Error("move_phase", f"move {move_id} has ended: it is {move.phase}")
    return move


def _found(move: Move | None, move_id: int) -> Move:
    if move is None:
        raise Error("move_unknown", f"there is no move {move_id}; `pointsman move list` shows what there is")
    return move


def _check_turn(move: Move, wanted: Any) -> None:
    if steps.following(move.phase, wanted) is not None:
        return
    if wanted == "reverse" and steps.following(move.phase, "abort") is not None:
        raise Error("move_phase", f"move {move.id} is {move.phase}: edges read the old ring; abort it instead")
    if move.phase in steps.BACKWARD:
        raise Error("move_phase", f"move {move.id} is {move.phase}: it is being taken back already")
    raise Error("move_phase", f"move {move.id} is {move.phase}: it is final; only a new move goes back")


def _shard_of(move: Move, shard_id: str) -> Shard:
    for shard in documents.union(move.before, move.after):
        if shard.id == shard_id:
            return shard
    raise Error("shard_unknown", f"move {move.id} has nothing to do with a shard {shard_id}")
