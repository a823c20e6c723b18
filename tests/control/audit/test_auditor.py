"""The audit in the background: one process at a time, and any other goes on where it was."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import structlog

from control.audit import store, tasks
from control.audit.model import Audit
from control.audit.passes import Options
from control.audit.tasks import Auditor
from control.background import Background
from control.moves import throttle
from control.moves.work import Pace
from tests.control.audit.findings import changed, drop, get, owner, put, tools
from tests.control.moves.ground import FAST, Ground, add_one, play
from tests.control.station import DEADLINE_S
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer

CODES = [f"c{number}" for number in range(300)]
SLOW = Pace(links_s=100, latency_s=5.0)
LOCKS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND granted"


@pytest.fixture
def two(redis_factory: RedisFactory) -> list[RedisServer]:
    """A shard, and one that a move would bring in."""
    return [redis_factory() for _ in range(2)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pages, saved often, and no rest between passes."""
    monkeypatch.setattr(throttle, "PAGE_S", 0.0125)
    monkeypatch.setattr(tasks, "SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(tasks, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(tasks, "REST_S", 0.1)
    monkeypatch.setattr(tasks, "REST_INCOMPLETE_S", 0.1)


@asynccontextmanager
async def auditing(ground: Ground, pace: Pace = FAST) -> AsyncIterator[Background]:
    """One more control process that audits."""
    background = Background(structlog.get_logger())
    background.start("audit", Auditor(tools(ground), Options(is_repairing=True), pace).run)
    try:
        yield background
    finally:
        await background.stop()


async def _until(ground: Ground, check: Callable[[Audit | None, Audit | None], Any], what: str) -> tuple[Any, Any]:
    """Wait until the pass under way and the last one are so."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            found = await _passes(ground)
            while not check(*found):
                await asyncio.sleep(0.01)
                found = await _passes(ground)
            return found
    except TimeoutError:
        pytest.fail(f"never came true: {what}")


def _has_compared(count: int, present: Audit | None, _: Audit | None) -> bool:
    return present is not None and present.tally.compared > count


async def _passes(ground: Ground) -> tuple[Audit | None, Audit | None]:
    async with ground.database.connection() as connection:
        return await store.present(connection), await store.last(connection)


async def _pids(ground: Ground) -> list[int]:
    return [row[0] for row in await ground.rows(LOCKS, store._LOCK)]


def test_it_goes_on_for_ever_and_repairs(database_url: str, two: list[RedisServer]) -> None:
    """Faults that come after a pass are repaired by a later one."""

    async def work(ground: Ground) -> None:
        async with auditing(ground):
            _, first = await _until(ground, lambda _, last: last and last.is_complete, "a complete pass")
            assert first.tally.compared == len(CODES)
            _, server = await owner(ground, "c1")
            drop(server, "c1")
            put(server, "c2", changed(get(server, "c2"), b"https://wrong.example/", 7))
            put(server, "nobody", b"x" * 30)
            await _until(ground, lambda *_: get(server, "nobody") is None, "the orphan is removed")
            expected = (await ground.expected())["shard-0"]
            await _until(ground, lambda *_: ground.held("shard-0") == expected, "the shard is right again")
            await _until(ground, lambda _, last: last and last.id > first.id, "another pass")
            assert (await _gauges(ground)).age_s < DEADLINE_S

    play(database_url, two, add_one(two), CODES, work)


async def _gauges(ground: Ground) -> store.Gauges:
    async with ground.database.connection() as connection:
        return await store.gauges(connection)


def test_of_two_control_processes_one_audits(database_url: str, two: list[RedisServer]) -> None:
    """When its session is gone, the other one or it goes on, and no pass is made twice."""

    async def work(ground: Ground) -> None:
        async with auditing(ground, SLOW), auditing(ground, SLOW):
            present, _ = await _until(ground, lambda one, _: one and one.tally.compared > 30, "a pass under way")
            (pid,) = await _pids(ground)
            assert await ground.rows("SELECT pg_terminate_backend($1)", pid) == [(True,)]
            _, last = await _until(ground, lambda _, last: last, "the end of a pass")
            assert last.id == present.id
            assert last.is_complete
            assert await _pids(ground) != [pid]
            assert len(await _pids(ground)) <= 1
            # A page at most is compared again.
            assert len(CODES) <= last.tally.compared <= len(CODES) + 2 * throttle.PAGE_LINKS_MIN + 60

    play(database_url, two, add_one(two), CODES, work)


def test_a_restart_goes_on_where_the_pass_was(database_url: str, two: list[RedisServer]) -> None:
    """What was found before is kept, and what was done is not done again."""

    async def work(ground: Ground) -> None:
        _, server = await owner(ground, "c0")
        for code in CODES[:20]:
            drop(server, code)
        async with auditing(ground, SLOW):
            await _until(ground, lambda one, _: one and one.tally.compared > 100, "a good part of a pass")
        async with ground.database.connection() as connection:
            before = await store.present(connection)
        assert before is not None
        assert before.place.done is not None
        async with auditing(ground):
            _, last = await _until(ground, lambda _, last: last, "the end of the pass")
        assert last.id == before.id
        assert last.started_at == before.started_at
        assert last.tally.drifts >= before.tally.drifts
        assert sum(found.get("missing", 0) for found in last.tally.drift.values()) == 20
        assert len(CODES) <= last.tally.compared <= len(CODES) + throttle.PAGE_LINKS_MIN + 60

    play(database_url, two, add_one(two), CODES, work)


def test_postgresql_may_go_away_in_the_middle(database_url: str, two: list[RedisServer]) -> None:
    """Every connection to it is cut, again and again; the pass comes to its end, and nothing is called drift."""

    async def work(ground: Ground) -> None:
        async with auditing(ground, Pace(links_s=200, latency_s=5.0)):
            for compared in (0, 40, 80):
                await _until(ground, partial(_has_compared, compared), "progress")
                await ground.rows(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                    """
                )
            _, last = await _until(ground, lambda _, last: last, "the end of a pass")
            assert last.tally.drift == {}

    play(database_url, two, add_one(two), CODES, work)


def test_it_says_what_it_waits_for(database_url: str, two: list[RedisServer]) -> None:
    """A move that copies holds it up; when that has ended it goes on."""

    async def work(ground: Ground) -> None:
        await ground.rows(
            "INSERT INTO moves (kind, shard_id, phase, before, after, plan) "
            "VALUES ('add', 's', 'copying', '', '', '{}')"
        )
        async with auditing(ground):
            present, _ = await _until(ground, lambda one, _: one and one.waits_for, "a pass that waits")
            assert "copying" in present.waits_for
            assert present.tally.compared == 0
            await ground.rows("UPDATE moves SET ended_at = now()")
            await _until(ground, lambda _, last: last and last.is_complete, "a complete pass")

    play(database_url, two, add_one(two), CODES[:20], work)


def test_an_incomplete_pass_does_not_count(database_url: str, two: list[RedisServer]) -> None:
    """The age goes on rising while a shard is away, however many passes end."""

    async def work(ground: Ground) -> None:
        async with auditing(ground):
            await _until(ground, lambda _, last: last and last.is_complete, "a complete pass")
            ground.servers["shard-0"].kill()
            _, first = await _until(ground, lambda _, last: last and not last.is_complete, "an incomplete pass")
            age_s = (await _gauges(ground)).age_s
            await _until(ground, lambda _, last: last and last.id > first.id, "another one")
            assert (await _gauges(ground)).age_s > age_s
            ground.servers["shard-0"].start()
            await _until(ground, lambda _, last: last and last.is_complete, "a complete pass again")

    play(database_url, two, add_one(two), CODES[:20], work)


def test_passes_of_long_ago_are_forgotten(database_url: str, two: list[RedisServer], monkeypatch: Any) -> None:
    """A bounded number is kept."""

    async def work(ground: Ground) -> None:
        monkeypatch.setattr(store, "KEPT_MAX", 3)
        monkeypatch.setattr(tasks, "REST_S", 0.0)
        async with auditing(ground):
            await _until(ground, lambda _, last: last and last.id >= 6, "some passes")
            ((count,),) = await ground.rows("SELECT count(*) FROM audits WHERE ended_at IS NOT NULL")
            assert count <= 4

    play(database_url, two, add_one(two), CODES[:5], work)
