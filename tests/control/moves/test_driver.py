"""Moves are driven to their end, whatever becomes of the drivers, and back, whenever that is allowed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
import redis

from control.moves import barrier, driver, store
from control.moves.driver import Drive, Superseded
from control.moves.model import Move, MoveRequest
from control.moves.steps import Phase, WorkName
from control.moves.work import Anew, Done, Job, Progress, Result, Waits
from tests.control.moves.stage import DEADLINE_S, Crash, FaultyDatabase, Stage, hurry, play
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys

WAY: list[Phase] = [
    "planned",
    "arming_writes",
    "copying",
    "verifying",
    "arming_reads",
    "cutting_over",
    "soaking",
    "finalizing",
    "cleaning",
    "done",
]
THROUGH = ["started planned", *(f"worked {phase}" for phase in WAY[1:])]
MODES = ["steady", "armed", "sampling", "cut-over", "soaking", "steady"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def target(redis_factory: RedisFactory) -> RedisServer:
    """The server that is brought in."""
    return redis_factory()


def _add(target: RedisServer) -> MoveRequest:
    return MoveRequest(kind="add", shard_id="shard-2", url=target.url)


async def _modes(stage: Stage) -> list[str]:
    async with stage.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT substr(document, 2)::jsonb ->> 'mode' AS mode FROM topologies ORDER BY epoch"
        )
    return [row["mode"] for row in rows]


async def _weights(stage: Stage) -> dict[str, float]:
    return {shard.id: shard.weight for shard in (await stage.topology()).shards}


def test_move_goes_through(database_url: str, shards: list[RedisServer], target: RedisServer) -> None:
    """Phase by phase, with the topology of each, and each work done once."""

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        await stage.drive()
        move = await stage.moves.get(move.id)
        assert (move.phase, move.progress, move.waits_for, move.error) == ("done", 1.0, None, None)
        assert move.ended_at is not None
        assert await stage.history(move.id) == THROUGH
        assert await _modes(stage) == MODES
        assert await _weights(stage) == {"shard-0": 1.0, "shard-1": 1.0, "shard-2": 1.0}
        assert stage.labourer.calls == [("copy", {}), ("verify", {}), ("remove", {})]
        assert move.work["counts"] == {"copy": 3, "verify": 3, "remove": 3}
        assert stage.ended == ["done"]

    play(database_url, shards, work)


@pytest.mark.parametrize("when", ["before", "after"])
def test_driver_may_die_at_every_effect(
    database_url: str, shards: list[RedisServer], target: RedisServer, when: str
) -> None:
    """Each effect is done by a driver whose predecessor died just there: every phase is entered once."""

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        faulty = FaultyDatabase(stage.database, when)
        is_ended = False
        while not is_ended:
            with suppress(Crash):
                await stage.drive(faulty)
                is_ended = True
        assert faulty.crashes["_enter"] == len(WAY) - 1
        assert faulty.crashes["report"] >= 9
        assert {"_load", "_wait_for", "_soaking", "_stay", "call"} <= faulty.crashes.keys()
        assert await stage.history(move.id) == THROUGH
        assert await _modes(stage) == MODES
        # What was reported is not done again.
        pages = [cursor.get("page", 0) for name, cursor in stage.labourer.calls if name == "copy"]
        assert pages == sorted(pages)

    play(database_url, shards, work)


def test_second_driver_makes_the_first_a_stranger(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """The one that has slept in its work can neither report nor go on when it wakes."""

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        stage.labourer.gate.clear()
        async with stage.driving() as sleeping:
            await stage.until_phase(move.id, "copying")
            await stage.until(move.id, lambda _: bool(stage.labourer.calls), "the work is begun")
            async with stage.driving() as second:
                await stage.until(move.id, lambda now: now.driver == 2 and len(stage.labourer.calls) == 2, "the second")
                stage.labourer.gate.set()
                await second
                with pytest.raises(Superseded):
                    await sleeping
        assert await stage.history(move.id) == THROUGH
        assert await _modes(stage) == MODES

    play(database_url, shards, work)


def test_driver_that_sleeps_after_its_work_changes_nothing(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """It has decided to go on, and the move has been taken over before its transaction."""

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        asleep, woken = asyncio.Event(), asyncio.Event()

        async def sleeper(job: Job) -> Result:
            await job.report({}, Progress(fraction=1.0))
            asleep.set()
            await woken.wait()
            return Done()

        async with stage.database.transaction() as connection:
            taken = await store.take_over(connection)
        assert taken is not None
        works = {**stage.labourer.works, "copy": sleeper}
        first = asyncio.create_task(Drive(stage.tools(works=works), taken, stage.woken).run())
        await asleep.wait()
        async with stage.database.transaction() as connection:
            await store.take_over(connection)
        woken.set()
        with pytest.raises(Superseded):
            await first
        assert (await stage.moves.get(move.id)).phase == "copying"
        async with stage.database.transaction() as connection:
            assert await store.hold(connection, move.id, taken.driver) is None

    play(database_url, shards, work)


def test_paused_move_does_nothing_until_it_is_resumed(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """It stops after the page that is under way, keeps both rings written, and goes on from there."""

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        stage.labourer.gate.clear()
        async with stage.driving() as driving:
            await stage.until(move.id, lambda _: bool(stage.labourer.calls), "the copy is begun")
            assert (await stage.moves.pause(move.id)).is_paused
            assert (await stage.moves.pause(move.id)).is_paused
            stage.labourer.gate.set()
            paused = await stage.until(move.id, lambda _: stage.labourer.stops == 1, "the work has ended")
            assert (paused.phase, paused.work.get("cursor"), len(stage.labourer.calls)) == ("copying", None, 1)
            assert (await stage.topology()).mode == "armed"
            await stage.moves.resume(move.id)
            await driving
        assert (await stage.moves.get(move.id)).phase == "done"
        assert [event for event in await stage.history(move.id) if not event.startswith("worked")] == [
            "started planned",
            "paused copying",
            "resumed copying",
        ]

    play(database_url, shards, work)


def _stop_edges_at(epoch: int) -> Callable[[Stage], None]:
    def stop(stage: Stage) -> None:
        stage.edge.epoch_max = epoch

    return stop


def _hold(name: WorkName) -> Callable[[Stage], None]:
    def hold(stage: Stage) -> None:
        stage.labourer.held = name
        stage.labourer.gate.clear()

    return hold


def _soak_long(stage: Stage) -> None:
    stage.soak_s = 600.0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A phase in which a move is made to stay, what is asked of it there, and what follows."""

    phase: Phase
    stop: Callable[[Stage], None]
    wanted: str
    way: list[Phase]
    modes: list[str]  # of all topologies after the first


BACK: list[Phase] = ["reversing", "restoring", "compensating", "reversed"]
TURNS = [
    Turn(phase="planned", stop=_stop_edges_at(0), wanted="abort", way=["aborted"], modes=[]),
    Turn(
        phase="copying",
        stop=_hold("copy"),
        wanted="abort",
        way=["compensating", "aborted"],
        modes=["armed", "steady"],
    ),
    Turn(
        phase="verifying",
        stop=_hold("verify"),
        wanted="abort",
        way=["compensating", "aborted"],
        modes=["armed", "steady"],
    ),
    Turn(
        phase="arming_reads",
        stop=_stop_edges_at(2),
        wanted="abort",
        way=["compensating", "aborted"],
        modes=["armed", "sampling", "steady"],
    ),
    Turn(
        phase="cutting_over",
        stop=_stop_edges_at(3),
        wanted="abort",
        way=BACK,
        modes=["armed", "sampling", "cut-over", "cut-over", "soaking", "steady"],
    ),
    Turn(
        phase="soaking",
        stop=_soak_long,
        wanted="reverse",
        way=BACK,
        modes=["armed", "sampling", "cut-over", "soaking", "cut-over", "soaking", "steady"],
    ),
]


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.phase)
def test_move_is_given_up_in_every_phase_that_allows_it(
    database_url: str, shards: list[RedisServer], target: RedisServer, turn: Turn
) -> None:
    """The old ring is in force at the end, and every step back is taken once; also by a move that was paused."""

    async def work(stage: Stage) -> None:
        turn.stop(stage)
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            await stage.until_phase(move.id, turn.phase)
            await stage.moves.pause(move.id)
            turned = await getattr(stage.moves, turn.wanted)(move.id)
            assert (turned.wanted, turned.is_paused) == (turn.wanted, False)
            stage.labourer.gate.set()
            stage.edge.epoch_max = None
            await driving
        ended = await stage.moves.get(move.id)
        assert ended.phase == turn.way[-1]
        entered = [f"{turn.wanted} {turn.way[0]}", *(f"worked {name}" for name in turn.way[1:])]
        assert (await stage.history(move.id))[-len(entered) :] == entered
        assert (await _modes(stage))[1:] == turn.modes
        assert await _weights(stage) == {"shard-0": 1.0, "shard-1": 1.0}
        assert stage.ended == [turn.way[-1]]

    play(database_url, shards, work)


def test_target_that_dies_is_waited_for_and_can_be_given_up(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """The wait is visible; an abort ends while the target is dead, and says what lies there."""

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        target.kill()
        async with stage.driving() as driving:
            waits = "shard shard-2, which is to get links, does not answer; bring it back or abort the move"
            waiting = await stage.until(move.id, lambda now: now.waits_for == waits, waits)
            assert (waiting.phase, waiting.waits_since is not None) == ("arming_writes", True)
            await stage.moves.abort(move.id)
            await driving
        ended = await stage.moves.get(move.id)
        assert (ended.phase, ended.lost) == ("aborted", ("shard-2",))
        assert ended.work["leftovers"] == {"shard-2": 0}
        assert await _weights(stage) == {"shard-0": 1.0, "shard-1": 1.0}
        assert stage.labourer.lost == frozenset(("shard-2",))

    play(database_url, shards, work)


def test_silent_shard_is_waited_for_until_it_is_given_up(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """The barrier takes silence for no proof; the operator's word is one."""

    async def work(stage: Stage) -> None:
        stage.soak_s = 600.0
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            await stage.until_phase(move.id, "soaking")
            shards[1].pause()
            try:
                await stage.moves.reverse(move.id)
                waits = f"shard shard-1 does not answer; bring it back or `pointsman move lost {move.id} shard-1`"
                await stage.until(move.id, lambda now: (now.phase, now.waits_for) == ("reversing", waits), waits)
                await stage.moves.declare_lost(move.id, "shard-1")
                await stage.until_ended(move.id)
                await driving
            finally:
                shards[1].resume()
        assert (await stage.moves.get(move.id)).phase == "reversed"

    play(database_url, shards, work)


def test_shard_that_was_given_up_and_stays_is_filled_anew(database_url: str, shards: list[RedisServer]) -> None:
    """Its links could not be removed; when it comes back it is swept, whatever its process is."""

    async def work(stage: Stage) -> None:
        shards[0].pause()
        try:
            move = await stage.start(MoveRequest(kind="drain", shard_id="shard-0"))
            await stage.moves.declare_lost(move.id, "shard-0")
            await stage.drive()
            assert (await stage.moves.get(move.id)).phase == "done"
            assert stage.labourer.lost == frozenset(("shard-0",))
            async with stage.database.connection() as connection:
                row = await connection.fetchrow("SELECT run_id, is_complete FROM shards WHERE id = 'shard-0'")
            assert tuple(row) == (None, False)
        finally:
            shards[0].resume()
        await stage.until_complete("shard-0")

    play(database_url, shards, work)


def test_edge_of_another_build_holds_the_move(database_url: str, shards: list[RedisServer]) -> None:
    """Its heartbeat cannot be read; the move begins when that edge is gone."""

    async def work(stage: Stage) -> None:
        with redis.Redis.from_url(shards[1].url) as client:
            client.set(keys.edge_key("old-1.0"), b'1{"edge_id":"old-1.0"}', px=2000)
        await stage.until_heard("old-1.0")
        move = await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0))
        async with stage.driving() as driving:
            waiting = await stage.until(move.id, lambda now: now.waits_for is not None, "a reason to wait")
            assert (waiting.phase, (waiting.waits_for or "").split(";")[0]) == (
                "planned",
                "edge old-1.0 cannot be understood by this build of control",
            )
            await driving
        assert (await stage.moves.get(move.id)).phase == "done"

    play(database_url, shards, work)


@pytest.mark.parametrize("found", [("arming_reads", "differences"), ("cutting_over", "fallbacks")])
def test_edges_that_find_differences_hold_the_move(
    database_url: str,
    shards: list[RedisServer],
    target: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    found: tuple[str, str],
) -> None:
    """What the new shards lack, or have otherwise, shows before anybody reads them finally."""
    phase, counter = found
    agree_s = 1.0
    monkeypatch.setattr(barrier, "AGREE_S", agree_s)

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            await stage.until(move.id, lambda now: now.phase == phase and now.waits_for is not None, phase)
            setattr(stage.edge, counter, 2)
            await stage.until(move.id, lambda now: "found 2 times" in (now.waits_for or ""), "the reason")
            held = await stage.moves.get(move.id)
            assert held.phase == phase
            await driving
        at = [event.at for event in await stage.moves.events(move.id)]
        entered = [event.phase for event in await stage.moves.events(move.id)].index(phase)
        assert (at[entered + 1] - at[entered]).total_seconds() > max(agree_s, held.phase_s)

    play(database_url, shards, work)


def test_soak_begins_anew_when_edges_miss_links(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """A link that only the old owner had, found since the soak began."""

    async def work(stage: Stage) -> None:
        stage.soak_s = 1.0
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            await stage.until(move.id, lambda now: now.work.get("soak") is not None, "the soak's beginning")
            stage.edge.fallbacks = 3
            await stage.until(move.id, lambda now: now.work.get("soak") == {"web-1.0": [3, 0]}, "a new beginning")
            await driving
        history = await stage.history(move.id)
        assert [event for event in history if not event.startswith("worked")] == [
            "started planned",
            "soak_anew soaking",
        ]
        assert history[-1] == "worked done"

    play(database_url, shards, work)


def test_copy_begins_anew_from_nothing(database_url: str, shards: list[RedisServer], target: RedisServer) -> None:
    """When verifying finds that a target has lost what it was given."""

    async def work(stage: Stage) -> None:
        stage.labourer.results["verify"] = [Anew("shard-2 was restarted")]
        move = await stage.start(_add(target))
        await stage.drive()
        calls = [name for name, cursor in stage.labourer.calls if cursor == {}]
        assert calls == ["copy", "verify", "copy", "verify", "remove"]
        assert "anew copying" in await stage.history(move.id)
        assert await _modes(stage) == MODES

    play(database_url, shards, work)


def _waits_for(text: str, move: Move) -> bool:
    return move.waits_for == text


def test_target_that_forgets_is_not_copied_to_for_ever(
    database_url: str, shards: list[RedisServer], target: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few times the move says so and waits, and can be given up."""
    monkeypatch.setattr(driver, "ANEW_PAUSE_S", 1.5)

    async def work(stage: Stage) -> None:
        stage.labourer.results["verify"] = [Anew("links were missing")] * (driver.ANEWS_MAX + 1)
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            for number in (driver.ANEWS_MAX, driver.ANEWS_MAX + 1):
                waits = f"what was copied has been lost {number} times; it is copied once more after 1.5 s"
                waiting = await stage.until(move.id, partial(_waits_for, waits), waits)
                assert waiting.waits_since is not None
                assert [name for name, cursor in stage.labourer.calls if cursor == {}] == ["copy", "verify"] * number
            await stage.moves.abort(move.id)
            await driving
        assert (await stage.moves.get(move.id)).phase == "aborted"

    play(database_url, shards, work)


def test_what_a_work_waits_for_is_seen(database_url: str, shards: list[RedisServer], target: RedisServer) -> None:
    """With what is still to be removed, on the move and in the metrics, until it is removed."""

    async def work(stage: Stage) -> None:
        waits = Waits("shard-1 does not answer", {"shard-1": 42})
        stage.labourer.results["remove"] = [waits] * 3
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            seen = await stage.until(move.id, lambda now: now.waits_for == waits.reason, waits.reason)
            assert (seen.phase, seen.work["leftovers"]) == ("cleaning", {"shard-1": 42})
            async with stage.database.connection() as connection:
                gauges = await store.gauges(connection)
            assert (gauges.under_way, gauges.leftovers) == (1, 42)
            assert gauges.waits_s > 0
            await driving
        ended = await stage.moves.get(move.id)
        assert (ended.phase, ended.work["leftovers"], ended.waits_for) == ("done", {}, None)
        async with stage.database.connection() as connection:
            gauges = await store.gauges(connection)
        assert (gauges.under_way, gauges.leftovers, gauges.waits_s, gauges.progress) == (0, 0, 0.0, 0.0)

    play(database_url, shards, work)


def test_wait_of_a_work_that_looks_again_and_again_lasts(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """It reports as it looks, and comes no further: the reason stands there all the time, and since when."""

    async def work(stage: Stage) -> None:
        calls = 0

        async def looking(job: Job) -> Result:
            nonlocal calls
            calls += 1
            await job.report({"page": 1}, Progress(fraction=0.5, counts={"calls": calls}))
            if calls == 2:
                seen.append(await stage.moves.get(job.move_id))
            return Waits("changes have not reached shard-2") if calls < 6 else Done()

        seen: list[Move] = []
        move = await stage.start(_add(target))
        async with stage.database.transaction() as connection:
            taken = await store.take_over(connection)
        assert taken is not None
        works = {**stage.labourer.works, "copy": looking}
        driving = asyncio.create_task(Drive(stage.tools(works=works), taken, stage.woken).run())
        first = await stage.until(move.id, lambda now: now.waits_for is not None and calls == 1, "the wait")
        later = await stage.until(move.id, lambda now: now.waits_for is not None and calls >= 3, "the third try")
        assert [now.waits_for for now in (first, *seen, later)] == ["changes have not reached shard-2"] * 3
        assert {now.waits_since for now in (first, *seen, later)} == {first.waits_since}
        await driving
        assert (await stage.moves.get(move.id)).waits_for is None

    play(database_url, shards, work)


def test_wait_is_said_again_after_a_step_forward(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """The work has come further and waits for the same once more."""

    async def work(stage: Stage) -> None:
        calls = 0

        async def stumbling(job: Job) -> Result:
            nonlocal calls
            await turns.acquire()
            await job.report({"page": calls}, Progress(fraction=0.5))
            calls += 1
            return Waits("shard-2 does not answer")

        turns = asyncio.Semaphore(0)
        move = await stage.start(_add(target))
        async with stage.database.transaction() as connection:
            taken = await store.take_over(connection)
        assert taken is not None
        works = {**stage.labourer.works, "copy": stumbling}
        driving = asyncio.create_task(Drive(stage.tools(works=works), taken, stage.woken).run())
        for number in (1, 2, 3):
            turns.release()
            await _until_equal(lambda: calls, number)
            await stage.until(move.id, lambda now: now.waits_for is not None, f"wait {number}")
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)

    play(database_url, shards, work)


async def _until_equal(found: Callable[[], int], expected: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while found() != expected:  # noqa: ASYNC110  (the driver gives no signal)
            await asyncio.sleep(0.01)


def test_barrier_that_nobody_watched_begins_anew(
    database_url: str, shards: list[RedisServer], target: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the move was paused, or its driver stood still, a shard may have lost the heartbeats of edges."""
    settle_s = 1.0
    monkeypatch.setattr(barrier, "SETTLE_S", settle_s)
    monkeypatch.setattr(driver, "LOOK_GAP_MAX_S", 0.5)

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(target))
        async with stage.driving() as driving:
            listens = f"listens for {settle_s:g} s whether an edge turns up"
            await stage.until(move.id, lambda now: now.waits_for == listens, listens)
            await stage.moves.pause(move.id)
            await stage.until(move.id, lambda now: now.phase_s > settle_s + 0.5, "the time is over")
            await stage.moves.resume(move.id)
            await driving
        at = {f"{event.event} {event.phase}": event.at for event in await stage.moves.events(move.id)}
        assert (at["worked cleaning"] - at["resumed finalizing"]).total_seconds() >= settle_s

    play(database_url, shards, work)


def test_fault_of_a_work_is_seen_and_it_is_tried_again(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """An unexpected error does not end the move, and stands in it until the work goes on."""

    async def work(stage: Stage) -> None:
        failures = 3

        async def faulty(_: Job) -> Result:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise ValueError("a row that nobody understands")
            return Done()

        move = await stage.start(_add(target))
        async with stage.database.transaction() as connection:
            taken = await store.take_over(connection)
        assert taken is not None
        works = {**stage.labourer.works, "copy": faulty}
        driving = asyncio.create_task(Drive(stage.tools(works=works), taken, stage.woken).run())
        error = "ValueError: a row that nobody understands"
        await stage.until(move.id, lambda now: now.error == error, error)
        await driving
        ended = await stage.moves.get(move.id)
        assert (ended.phase, ended.error) == ("done", None)

    play(database_url, shards, work)


def test_topology_of_somebody_else_is_not_replaced(
    database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """A document that no phase has published stops the move, visibly; it is not overwritten."""

    async def work(stage: Stage) -> None:
        stage.labourer.gate.clear()
        move = await stage.start(_add(target))
        async with stage.driving():
            await stage.until_phase(move.id, "copying")
            async with stage.database.transaction() as connection:
                document = await connection.fetchval("SELECT document FROM topologies WHERE epoch = 1")
                foreign = document.replace('"epoch":1', '"epoch":3')
                await connection.execute("INSERT INTO topologies (epoch, document) VALUES (3, $1)", foreign)
            await stage.moves.abort(move.id)
            waits = "the topology in force, of epoch 3, is not the one of this phase: somebody has changed it"
            stage.labourer.gate.set()
            seen = await stage.until(move.id, lambda now: now.waits_for == waits, waits)
            assert seen.phase == "copying"
            assert await _modes(stage) == ["steady", "armed", "steady"]

    play(database_url, shards, work)
