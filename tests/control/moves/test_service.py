"""What operators ask of moves: planned, started, changed, or refused with a code, and nothing is changed then."""

import asyncio

import pytest
import redis

from control.errors import Error
from control.moves import store
from control.moves.model import MoveRequest
from control.moves.steps import STEPS, Phase
from control.moves.tasks import Driver
from tests.control.moves.stage import Stage, hurry, play
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def _refused(stage: Stage, request: MoveRequest) -> str:
    with pytest.raises(Error) as planned:
        await stage.moves.plan(request)
    with pytest.raises(Error) as started:
        await stage.moves.start(request)
    assert planned.value.code == started.value.code
    return started.value.code


def _add(server: RedisServer, shard_id: str = "shard-2") -> MoveRequest:
    return MoveRequest(kind="add", shard_id=shard_id, url=server.url)


def test_plan_changes_nothing(database_url: str, shards: list[RedisServer], redis_factory: RedisFactory) -> None:
    """It says what would move, and warns of what the server should not be like."""
    server = redis_factory()
    with redis.Redis.from_url(server.url) as client:
        client.set("other", "1")
        client.config_set("maxmemory-policy", "allkeys-lru")

    async def work(stage: Stage) -> None:
        planned = await stage.moves.plan(_add(server))
        assert {pair.to_id for pair in planned.pairs} == {"shard-2"}
        assert sum(pair.share for pair in planned.pairs) == pytest.approx(1 / 3, abs=0.02)
        assert planned.links == 0
        assert planned.warnings == [
            f"{server.url} has maxmemory-policy allkeys-lru; set noeviction, or links are answered 404",
            f"{server.url} holds 1 keys; those that begin with l: will be removed",
        ]
        assert list(await stage.moves.list(None, 10)) == []
        assert (await stage.topology()).epoch == 1

    play(database_url, shards, work)


def test_bad_requests_are_refused(database_url: str, shards: list[RedisServer], redis_factory: RedisFactory) -> None:
    """With the code that says what is wrong; there is no row, and no topology."""
    dead = redis_factory()
    dead.kill()

    async def work(stage: Stage) -> None:
        other_database = shards[0].url.removesuffix("/0") + "/1"
        cases = [
            (_add(dead), "shard_unreachable"),
            (_add(shards[0]), "shard_exists"),
            (MoveRequest(kind="add", shard_id="shard-2", url=other_database), "shard_exists"),
            (MoveRequest(kind="add", shard_id="shard-2", url="http://10.0.0.1"), "topology_invalid"),
            (MoveRequest(kind="add", shard_id="shard-2", url="redis://127.0.0.1:x"), "topology_invalid"),
            (
                MoveRequest(kind="add", shard_id="shard-2", url=dead.url, replicas=("http://10.0.0.1",)),
                "topology_invalid",
            ),
            (MoveRequest(kind="remove", shard_id="shard-7"), "shard_unknown"),
            (MoveRequest(kind="reweight", shard_id="shard-0", weight=1.0), "move_empty"),
        ]
        for request, code in cases:
            assert await _refused(stage, request) == code, request
        assert list(await stage.moves.list(None, 10)) == []
        assert (await stage.topology()).epoch == 1

    play(database_url, shards, work)


def test_server_of_a_shard_is_known_by_any_name(database_url: str, shards: list[RedisServer]) -> None:
    """Its process says which it is: while the shard is repaired, when nobody has adopted it, and when it is silent."""
    port = shards[0].port
    names = [f"redis://localhost:{port}", f"redis://127.0.0.1:{port}/1", f"redis://[::ffff:127.0.0.1]:{port}"]

    async def work(stage: Stage) -> None:
        for url in names:
            assert await _refused(stage, MoveRequest(kind="add", shard_id="shard-2", url=url)) == "shard_exists"
        await stage.background.stop()
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE shards SET run_id = NULL")
        for url in names:
            assert await _refused(stage, MoveRequest(kind="add", shard_id="shard-2", url=url)) == "shard_exists"

    play(database_url, shards, work)


def test_replica_becomes_no_shard(database_url: str, shards: list[RedisServer], redis_factory: RedisFactory) -> None:
    """Nothing could be written to it, and the move would wait for ever."""
    replica = redis_factory()
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof("127.0.0.1", str(shards[0].port))

    async def work(stage: Stage) -> None:
        with pytest.raises(Error, match=f"is a replica of 127.0.0.1:{shards[0].port}; give a primary") as caught:
            await stage.moves.plan(_add(replica))
        assert caught.value.code == "topology_invalid"

    play(database_url, shards, work)


def test_there_is_one_move_at_a_time(database_url: str, shards: list[RedisServer]) -> None:
    """Also when two are started at the same instant."""

    async def work(stage: Stage) -> None:
        request = MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0)
        results = await asyncio.gather(*(stage.moves.start(request) for _ in range(4)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, Error)]
        assert [error.code for error in refused] == ["move_under_way"] * 3
        (move,) = await stage.moves.list(None, 10)
        assert (move.kind, move.phase, move.progress) == ("reweight", "planned", 0.0)
        assert await _refused(stage, request) == "move_under_way"
        await stage.drive()
        assert (await stage.moves.start(MoveRequest(kind="drain", shard_id="shard-0"))).id > move.id

    play(database_url, shards, work)


def test_moves_are_listed_newest_first(database_url: str, shards: list[RedisServer]) -> None:
    """In pages, with their history."""

    async def work(stage: Stage) -> None:
        for weight in (2.0, 3.0, 4.0):
            await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=weight))
            await stage.drive()
        first = await stage.moves.list(None, 2)
        second = await stage.moves.list(first[-1].id, 2)
        assert [move.id for move in (*first, *second)] == [3, 2, 1]
        assert [move.after.shards[0].weight for move in (*first, *second)] == [4.0, 3.0, 2.0]
        events = await stage.moves.events(3)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert (events[0].event, events[-1].phase) == ("started", "done")
        assert events[-1].epoch == (await stage.topology()).epoch

    play(database_url, shards, work)


def test_long_history_is_shown_from_its_end(database_url: str, shards: list[RedisServer]) -> None:
    """However often a move was paused."""

    async def work(stage: Stage) -> None:
        move = await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0))
        async with stage.database.connection() as connection:
            await connection.execute(
                """
                INSERT INTO move_events (move_id, number, event, phase, epoch)
                SELECT $1, number, 'paused', 'planned', 1 FROM generate_series(2, 1 + $2::int) AS number
                """,
                move.id,
                store.EVENTS_MAX,
            )
        events = await stage.moves.events(move.id)
        assert [event.number for event in events] == list(range(2, 2 + store.EVENTS_MAX))

    play(database_url, shards, work)


def test_unknown_move_is_refused(database_url: str, shards: list[RedisServer]) -> None:
    """Whatever is asked of it."""

    async def work(stage: Stage) -> None:
        moves = stage.moves
        for asked in (moves.get, moves.events, moves.pause, moves.resume, moves.abort, moves.reverse):
            with pytest.raises(Error) as caught:
                await asked(7)
            assert caught.value.code == "move_unknown"
        with pytest.raises(Error) as caught:
            await moves.declare_lost(7, "shard-0")
        assert caught.value.code == "move_unknown"

    play(database_url, shards, work)


@pytest.mark.parametrize("phase", STEPS)
def test_what_a_phase_does_not_allow_is_refused(database_url: str, shards: list[RedisServer], phase: Phase) -> None:
    """abort and reverse, as the table of the phases says; a move that has ended takes nothing more."""

    async def work(stage: Stage) -> None:
        move = await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0))
        step = STEPS[phase]
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE moves SET phase = $1, ended_at = CASE WHEN $2 THEN now() END", phase, step.is_end
            )
        for asked, entered in (("abort", step.abort), ("reverse", step.reverse)):
            if entered is None:
                with pytest.raises(Error) as caught:
                    await getattr(stage.moves, asked)(move.id)
                assert caught.value.code == "move_phase"
            else:
                assert (await getattr(stage.moves, asked)(move.id)).wanted == asked
                async with stage.database.connection() as connection:
                    await connection.execute("UPDATE moves SET wanted = NULL")
        if step.is_end:
            with pytest.raises(Error) as caught:
                await stage.moves.pause(move.id)
            assert caught.value.code == "move_phase"

    play(database_url, shards, work)


def test_shard_that_answers_is_not_lost(database_url: str, shards: list[RedisServer]) -> None:
    """Nor one that is to get links, nor one of which nobody knows."""

    async def work(stage: Stage) -> None:
        move = await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0))
        for shard_id, code in (("shard-1", "shard_answers"), ("shard-9", "shard_unknown")):
            with pytest.raises(Error) as caught:
                await stage.moves.declare_lost(move.id, shard_id)
            assert caught.value.code == code
        for server in shards:
            server.kill()
        with pytest.raises(Error) as caught:
            await stage.moves.declare_lost(move.id, "shard-0")
        assert (caught.value.code, caught.value.message) == (
            "move_phase",
            f"shard shard-0 is to get links; bring it back or abort move {move.id}",
        )
        assert (await stage.moves.declare_lost(move.id, "shard-1")).lost == ("shard-1",)
        assert (await stage.moves.declare_lost(move.id, "shard-1")).lost == ("shard-1",)

    play(database_url, shards, work)


def test_leftovers_are_forgotten_on_demand(
    database_url: str, shards: list[RedisServer], redis_factory: RedisFactory
) -> None:
    """When the server on which they lie is gone for good."""
    server = redis_factory()

    async def work(stage: Stage) -> None:
        move = await stage.start(_add(server))
        await stage.moves.abort(move.id)
        await stage.drive()
        server.kill()
        async with stage.database.connection() as connection:
            await connection.execute("""UPDATE moves SET work = '{"leftovers": {"shard-2": 42}}'""")
            assert (await store.gauges(connection)).leftovers == 42
        await stage.moves.declare_lost(move.id, "shard-2")
        async with stage.database.connection() as connection:
            assert (await store.gauges(connection)).leftovers == 0
        with pytest.raises(Error) as caught:
            await stage.moves.declare_lost(move.id, "shard-2")
        assert caught.value.code == "move_phase"

    play(database_url, shards, work)


def test_failure_of_the_driver_is_seen(database_url: str, shards: list[RedisServer]) -> None:
    """A row that it cannot read: the move says so, and goes on when it can."""

    async def work(stage: Stage) -> None:
        move = await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0))
        async with stage.database.connection() as connection:
            await connection.execute("""UPDATE moves SET work = '{"soak": {"web-1.0": [1]}}'""")
        stage.background.start("moves", Driver(stage.tools()).run)
        failed = await stage.until(move.id, lambda now: now.driver > 1 and now.error is not None, "a second failure")
        assert (failed.waits_for, failed.phase) == ("its driver has failed, and is started again", "planned")
        assert failed.waits_since is not None
        assert "IndexError" in (failed.error or "")
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE moves SET work = '{}'")
        ended = await stage.until_ended(move.id)
        assert (ended.phase, ended.error) == ("done", None)

    play(database_url, shards, work)


def test_one_process_drives_and_another_takes_over(database_url: str, shards: list[RedisServer]) -> None:
    """The lock of a session says which; when PostgreSQL ends that session, the move goes on all the same."""

    async def work(stage: Stage) -> None:
        stage.labourer.gate.clear()
        drivers = [Driver(stage.tools()) for _ in range(2)]
        for number, driver in enumerate(drivers):
            stage.background.start(f"moves {number}", driver.run)
        move = await stage.start(MoveRequest(kind="reweight", shard_id="shard-0", weight=2.0))
        for driver in drivers:
            driver.wake()
        await stage.until(move.id, lambda _: bool(stage.labourer.calls), "the copy is begun")
        assert (await stage.moves.get(move.id)).driver == 1
        async with stage.database.connection() as connection:
            ended = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1",
                store.DRIVER_LOCK,
            )
        assert ended == 1
        await stage.until(move.id, lambda now: now.driver == 2, "another driver")
        stage.labourer.gate.set()
        done = await stage.until_ended(move.id)
        assert (done.phase, stage.ended) == ("done", ["done"])

    play(database_url, shards, work)
