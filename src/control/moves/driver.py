"""The driver of one move: looks, works, and takes the move from phase to phase.

Every change of phase is one transaction: it holds the move's row, whose token must be this driver's, and, if another
topology is to be in force, the lock of the placement. What a phase does comes before the transaction that says that it
is done, and may be done again: so a driver can end at any instant, and the next one goes on from the row.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from control.db import Connection, Database
from control.errors import Error
from control.log import Logger
from control.moves import barrier, documents, entering, observation, steps, store
from control.moves.barrier import Scene, Seen
from control.moves.labour import Labour
from control.moves.model import Move
from control.moves.steps import STEPS, Event, WorkName
from control.moves.work import Anew, Done, Pace, Stopped, Waits, Work
from control.shards import service as shard_service
from control.shards import store as shard_store
from control.shards.edges import Edges
from wire.topology import Topology

LOOK_INTERVAL_S: Final = 0.5
# Between two looks that are further apart a shard may have been restarted, and known again, without our noticing.
LOOK_GAP_MAX_S: Final = 2.0
# A work that cannot go on is tried again after this, doubled each time.
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
# A target that is restarted is copied to anew at once. One that forgets again and again (it evicts, or somebody empties
# it) would have everything copied to it for ever.
ANEWS_MAX: Final = 3
ANEW_PAUSE_S: Final = 600.0  # longer than the alert MoveWaits needs
ERROR_MAX: Final = 500  # characters of an error that a move shows; the log has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of moves."""

    soak_s: float
    lost_after_s: float
    copy: Pace
    remove: Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every drive needs. `on_end` is told how a move has ended."""

    database: Database
    edges: Edges
    works: Mapping[WorkName, Work]
    options: Options
    log: Logger
    on_end: Callable[[str], None]


class Superseded(Exception):  # noqa: N818  (no error: another process goes on)
    """Another driver has the move now."""


@dataclass(frozen=True, slots=True)
class _Go:
    """The phase is over."""

    event: Event
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Stay:
    """The phase is not over; look again after `pause_s`, or when somebody wakes the driver."""

    waits_for: str | None
    pause_s: float
    error: str | None = None
    is_time: bool = False  # nothing is wrong: time has to pass


@dataclass(frozen=True, slots=True)
class _Agreement:
    """What edges had counted at the last look that must not rise, and since when it has not, under one epoch."""

    epoch: int = 0
    seen: Seen = field(default_factory=dict)
    since_s: float = 0.0
    differences: int = 0

    def after(self, epoch: int, seen: Seen, now_s: float, *, is_gap: bool) -> "_Agreement":
        """The same after another look. A worker that is not heard now may be heard again: its numbers are kept."""
        if epoch != self.epoch:
            return _Agreement(epoch, seen, now_s)
        risen = barrier.increase(self.seen, seen)
        since_s = now_s if risen or is_gap else self.since_s
        return _Agreement(epoch, self.seen | seen, since_s, self.differences + risen)


class Drive:
    """One move in the hands of this process. `woken` is set when its row may have changed."""

    def __init__(self, tools: Tools, move: Move, woken: asyncio.Event) -> None:
        self._tools = tools
        self._database = tools.database
        self._id = move.id
        self._token = move.driver
        self._woken = woken
        self._log = tools.log.bind(move=move.id)
        self._labour = Labour(tools.database, tools.options.lost_after_s)
        self._clear_since: tuple[int, float] | None = None  # the epoch for which nothing is waited for, and since when
        self._agreement = _Agreement()
        self._looked_s = 0.0  # when the shards and edges were looked at last
        self._noted_at = 0  # how many reports there were, any of which may have wiped out what was noted before it
        self._failures = 0

    async def run(self) -> None:
        """Drive the move to its end; raises Superseded if another driver has taken it over."""
        while True:
            self._woken.clear()
            move = await self._load()
            if STEPS[move.phase].is_end:
                self._tools.on_end(move.phase)
                return
            outcome = await self._attempt(move)
            stay = await self._enter(move, outcome) if isinstance(outcome, _Go) else outcome
            if stay is not None:
                await self._stay(move, stay)

    async def _load(self) -> Move:
        async with self._database.connection() as connection:
            move = await store.get(connection, self._id)
        if move is None or move.driver != self._token:
            raise Superseded
        return move

    async def _attempt(self, move: Move) -> _Go | _Stay:
        """What is to be done now, done as far as it can be done outside of the transaction that ends the phase."""
        if move.wanted is not None:
            return _Go(move.wanted, {})
        if move.is_paused:
            return _Stay(None, LOOK_INTERVAL_S)
        step = STEPS[move.phase]
        if step.needs:
            stay = await self._wait_for(move)
            if stay is not None:
                return stay
        if step.work == "copy" and (rest := _rest(move)) is not None:
            return rest
        return await self._work(move, step.work) if step.work else _Go("worked", {})

    # ------------------------------------------------------------------------------------------- waiting

    async def _wait_for(self, move: Move) -> _Stay | None:
        """Why the phase cannot be left yet; None if it can."""
        async with self._database.connection() as connection:
            in_force = await shard_store.current(connection)
        if in_force is None or not documents.is_like(in_force, _expected(move, in_force)):
            return _Stay(_not_ours(in_force), LOOK_INTERVAL_S)
        scene = await self._scene(move, in_force)
        if move.phase == "soaking":
            scene = await self._soaking(move, scene)
        scene = self._timed(scene)
        needs = STEPS[move.phase].needs
        found = barrier.reasons(needs, scene)
        if found:
            return _Stay(barrier.sentence(found), LOOK_INTERVAL_S)
        time_left = barrier.time_left(needs, scene)
        return None if time_left is None else _Stay(time_left, LOOK_INTERVAL_S, is_time=True)

    async def _scene(self, move: Move, in_force: Topology) -> Scene:
        views = await observation.look(shard for shard in in_force.shards if shard.id not in move.lost)
        return Scene(
            move_id=move.id,
            epoch=in_force.epoch,
            shards=views,
            beats=observation.live(self._tools.edges, in_force.shards),
            unread=observation.unread(self._tools.edges, in_force.shards),
            lost=frozenset(move.lost),
            targets=move.targets,
            soaked_s=move.phase_s,
            soak_s=self._tools.options.soak_s,
            seen=_seen_of(move),
        )

    def _timed(self, scene: Scene) -> Scene:
        """The scene with the times for which it has been as it is to be, under this epoch.

        Time in which nobody has looked does not count: the move was paused, or this process stood still.
        """
        now_s = asyncio.get_running_loop().time()
        is_gap = now_s - self._looked_s > LOOK_GAP_MAX_S
        self._looked_s = now_s
        self._agreement = self._agreement.after(scene.epoch, barrier.counted(scene), now_s, is_gap=is_gap)
        agreed_s, differences = now_s - self._agreement.since_s, self._agreement.differences
        return self._since_clear(replace(scene, agreed_s=agreed_s, differences=differences), now_s, is_gap=is_gap)

    def _since_clear(self, scene: Scene, now_s: float, *, is_gap: bool) -> Scene:
        """The same for the fences and the edges."""
        if barrier.reasons(("fences", "edges"), scene):
            self._clear_since = None
            return scene
        if self._clear_since is None or self._clear_since[0] != scene.epoch or is_gap:
            self._clear_since = (scene.epoch, now_s)
        return replace(scene, clear_s=now_s - self._clear_since[1])

    async def _soaking(self, move: Move, scene: Scene) -> Scene:
        """Begin the soak when every edge has followed, and anew when they have found what it is to exclude."""
        if scene.seen is None and barrier.reasons(("edges",), scene):
            return scene
        if scene.seen is not None and not barrier.is_disturbed(scene):
            return scene
        now = barrier.counted(scene)
        async with self._database.transaction() as connection:
            held = await self._hold(connection)
            if (held.phase, held.wanted) == (move.phase, move.wanted):
                await store.begin_soak(connection, held, held.work | {"soak": now})
                if scene.seen is not None:
                    self._log.warning("the soak of a move begins anew: edges found links only at their old shards")
                    await store.add_event(connection, held, "soak_anew", {"seen": now})
        return replace(scene, seen=now, soaked_s=0.0)

    async def _stay(self, move: Move, outcome: _Stay) -> None:
        """Say what is waited for, and wait."""
        is_wiped = self._labour.reports != self._noted_at
        if is_wiped or (outcome.waits_for, outcome.error) != (move.waits_for, move.error):
            self._noted_at = self._labour.reports
            async with self._database.connection() as connection:
                if not await store.note(connection, move, outcome.waits_for, outcome.error, is_time=outcome.is_time):
                    raise Superseded
        loop = asyncio.get_running_loop()
        deadline = loop.time() + outcome.pause_s
        while (rest_s := deadline - loop.time()) > 0 and not self._woken.is_set():
            try:
                async with asyncio.timeout(min(rest_s, LOOK_INTERVAL_S)):
                    await self._woken.wait()
            except TimeoutError:
                now = await self._load()
                if (now.wanted, now.is_paused, now.lost) != (move.wanted, move.is_paused, move.lost):
                    return

    # -------------------------------------------------------------------------------------------- working

    async def _work(self, move: Move, name: WorkName) -> _Go | _Stay:
        """Call the phase's work."""
        pace = self._tools.options.remove if name == "remove" else self._tools.options.copy
        reports = self._labour.reports
        try:
            result = await self._labour.call(self._tools.works[name], move, pace)
        except Stopped:
            return _Stay(None, 0.0)  # the row says why
        except Error as error:
            if error.code == "database_unavailable":
                raise
            result = Waits(error.message)
            fault = None if error.code == "shard_unavailable" else error.message
        except Exception as error:  # noqa: BLE001  (a fault of the work is shown on the move, which can be aborted then)
            self._log.error("a move's work failed", phase=move.phase, exc_info=error)
            result, fault = Waits("its work is tried again"), f"{type(error).__name__}: {error}"[:ERROR_MAX]
        else:
            fault = None
        if isinstance(result, Done):
            return _Go("worked", result.detail)
        if isinstance(result, Anew):
            self._log.warning("a move copies anew", reason=result.reason)
            return _Go("anew", {"reason": result.reason})
        if result.leftovers:
            await self._labour.keep_leftovers(move, result.leftovers)
        if self._labour.reports != reports:
            self._failures = 0  # it has come further
        return self._retry(result.reason, fault)

    def _retry(self, waits_for: str, error: str | None) -> _Stay:
        pause_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return _Stay(waits_for, pause_s, error)

    # ------------------------------------------------------------------------------------------- changing

    async def _enter(self, move: Move, outcome: _Go) -> _Stay | None:
        """Leave the phase; a reason to wait if that cannot be done now."""
        entered = steps.following(move.phase, outcome.event, move.is_reversed)
        assert entered is not None, f"{outcome.event} in {move.phase}"  # the service has checked what operators want
        is_published = steps.published(move.phase, entered) is not None
        try:
            locked = shard_service.placement_locked if is_published else Database.transaction
            async with locked(self._database) as connection:
                await self._enter_in(connection, move, entered, outcome)
        except Error as error:
            if error.code == "database_unavailable":
                raise
            return self._retry(error.message, None)
        self._failures = 0
        return None

    async def _enter_in(self, connection: Connection, move: Move, entered: steps.Phase, outcome: _Go) -> None:
        held = await self._hold(connection)
        if (held.phase, held.wanted, held.is_paused) != (move.phase, move.wanted, move.is_paused):
            return  # somebody was quicker: look again
        epoch = await _publish(connection, held, entered)
        moved = replace(
            held,
            phase=entered,
            epoch=epoch,
            work=entering.work_of(held, entered),
            is_reversed=held.is_reversed or entered == "reversing",
        )
        await store.enter(connection, moved)
        await store.add_event(connection, moved, outcome.event, outcome.detail)
        await entering.settle(connection, held, entered)
        self._log.info("move enters a phase", phase=entered, epoch=epoch, by=outcome.event)

    async def _hold(self, connection: Connection) -> Move:
        held = await store.hold(connection, self._id, self._token)
        if held is None:
            raise Superseded
        return held


def _rest(move: Move) -> _Stay | None:
    """A pause before copying anew, if that has been done too often."""
    anews = move.work.get("counts", {}).get("anews", 0)
    if anews < ANEWS_MAX or move.phase_s >= ANEW_PAUSE_S:
        return None
    text = f"what was copied has been lost {anews} times; it is copied once more after {ANEW_PAUSE_S:g} s"
    return _Stay(text, LOOK_INTERVAL_S)


async def _publish(connection: Connection, move: Move, entered: steps.Phase) -> int:
    """Put the phase's topology in force, if it is not; returns the epoch."""
    document = steps.published(move.phase, entered)
    if document is None:
        return move.epoch
    in_force = await shard_store.current(connection)
    if in_force is None or not documents.is_like(in_force, _expected(move, in_force)):
        raise Error("topology_moves", _not_ours(in_force))
    topology = documents.build(document, move.before, move.after, in_force.epoch + 1, in_force)
    await shard_service.publish(connection, topology, documents.joining(move.before, move.after))
    return topology.epoch


def _expected(move: Move, in_force: Topology) -> Topology:
    return documents.build(STEPS[move.phase].document, move.before, move.after, in_force.epoch, in_force)


def _not_ours(in_force: Topology | None) -> str:
    epoch = 0 if in_force is None else in_force.epoch
    return f"the topology in force, of epoch {epoch}, is not the one of this phase: somebody has changed it"


def _seen_of(move: Move) -> Seen | None:
    """What the edges had counted when the soak began."""
    seen = move.work.get("soak")
    return None if seen is None else {edge_id: (numbers[0], numbers[1]) for edge_id, numbers in seen.items()}
