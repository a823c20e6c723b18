"""Copying: whatever happens meanwhile, the new owners hold every link in the end."""

import asyncio
from functools import partial
from itertools import count

import pytest
import redis

from control.errors import Error
from control.links.model import stored_hash
from control.moves import documents, reading, throttle
from control.moves._pages import Batch, Reader
from control.moves.arcs import HASHES, Walk, by_target
from control.moves.carry import copy
from control.moves.reading import Border, Passage
from control.moves.work import Cursor, Pace, Stopped, Waits
from tests.control.moves.ground import Ground, add_one, play, raise_fence, records
from tests.stack.server import RedisServer
from wire import keys

CODES = [f"c{number}" for number in range(1500)]
# Small pages, and not so slow that a test takes long.
SMALL = Pace(links_s=4000, latency_s=5.0)


pytestmark = pytest.mark.usefixtures("small_pages")


def test_every_link_that_moves_is_copied(database_url: str, three: list[RedisServer]) -> None:
    """To its new owner, deleted ones as tombstones, and nothing else; then a number is taken behind it."""

    async def work(ground: Ground) -> None:
        moving = await _arcs(ground)
        gone = next(code for code in CODES if _moves(code, moving))
        await ground.delete(gone)
        await ground.wait_projected()
        await ground.enter("copying")
        done = await ground.finish(copy)
        await ground.assert_placed()
        assert records(three[2])[keys.link_key(1, gone)] is None
        moved = sum(_moves(code, moving) for code in CODES)
        assert done.detail["rows"] == {"shard-2": moved}
        assert [progress.fraction for progress in ground.progress] == sorted(p.fraction for p in ground.progress)
        assert ground.progress[-1].fraction == 1.0
        assert ground.progress[-1].counts["rows"] == moved
        ((floor,),) = await ground.rows("SELECT floor_seq FROM shards WHERE id = 'shard-2'")
        assert floor > 0

    play(database_url, three, add_one(three), CODES, work)


def test_it_goes_on_wherever_it_was_cut_off(database_url: str, three: list[RedisServer]) -> None:
    """Each driver ends at its third report, and the next one begins with what was reported last."""

    async def work(ground: Ground) -> None:
        async def end(number: int, _: Cursor) -> None:
            if number == 3:
                raise Stopped

        await ground.enter("copying")
        done = await ground.finish(copy, end, pace=SMALL)
        assert ground.calls > 3
        moving = await _arcs(ground)
        assert done.detail["rows"] == {"shard-2": sum(_moves(code, moving) for code in CODES)}
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_pause_takes_effect_within_a_page(database_url: str, three: list[RedisServer]) -> None:
    """What is written behind the report that stops it are two pages at most: those at work."""

    async def work(ground: Ground) -> None:
        async def end(number: int, _: Cursor) -> None:
            if number == 2:
                raise Stopped

        await ground.enter("copying")
        with pytest.raises(Stopped):
            await ground.work(copy, end, pace=SMALL)
        assert 0 < len(records(three[2])) < 6 * SMALL.links_s * throttle.PAGE_S

    play(database_url, three, add_one(three), CODES, work)


def test_a_target_that_comes_back_empty_is_copied_to_anew(database_url: str, three: list[RedisServer]) -> None:
    """Whatever was written to the process before is not relied on."""
    reports = count()

    async def work(ground: Ground) -> None:
        async def restart(_: int, __: Cursor) -> None:
            if next(reports) == 4:
                three[2].kill()
                three[2].lose_disk()
                three[2].start()

        await ground.enter("copying")
        await ground.finish(copy, restart, pace=SMALL)
        assert ground.calls > 1
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_target_that_is_down_is_waited_for(database_url: str, three: list[RedisServer]) -> None:
    """It says which, and goes on when the shard is back."""
    reports = count()

    async def work(ground: Ground) -> None:
        async def stop(_: int, __: Cursor) -> None:
            if next(reports) == 4:
                three[2].stop()

        await ground.enter("copying")
        waits = await ground.work(copy, stop, pace=SMALL)
        assert isinstance(waits, Waits)
        assert "shard-2" in waits.reason
        assert "shard-2" in str(await ground.work(copy))
        three[2].start()
        await ground.finish(copy)
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_target_restarted_behind_the_last_page_is_copied_to_anew(database_url: str, three: list[RedisServer]) -> None:
    """Before its floor was raised: nobody could tell what it has lost."""
    is_restarted = asyncio.Event()

    async def work(ground: Ground) -> None:
        async def restart(_: int, cursor: Cursor) -> None:
            if cursor["targets"]["shard-2"]["is_done"] and not is_restarted.is_set():
                is_restarted.set()
                three[2].kill()
                three[2].lose_disk()
                three[2].start()

        await ground.enter("copying")
        await ground.finish(copy, restart)
        assert is_restarted.is_set()
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_links_that_change_meanwhile_are_right_in_the_end(database_url: str, three: list[RedisServer]) -> None:
    """Created, changed, deleted and created again between any two pages, with the projector at work."""

    async def work(ground: Ground) -> None:
        async def change(number: int, _: Cursor) -> None:
            code = CODES[number * 7 % len(CODES)]
            await ground.put(f"new{number}", "https://example.org/new")
            await ground.put(code, f"https://example.org/{number}")
            await ground.delete(CODES[(number * 7 + 3) % len(CODES)])
            if number % 2:
                await ground.put(CODES[(number * 7 + 3) % len(CODES)], "https://example.org/again")

        await ground.enter("copying")
        await ground.finish(copy, change, pace=SMALL)
        await ground.wait_projected()
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_code_is_free_when_the_row_of_its_deleted_link_is_gone(database_url: str, three: list[RedisServer]) -> None:
    """Neither a copy nor a fill writes a tombstone anew that has had its time: it would outlive the row."""

    async def work(ground: Ground) -> None:
        for code in CODES[:20]:
            await ground.delete(code)
        await ground.wait_projected()
        await ground.rows("UPDATE links SET deleted_at = now() - interval '6 days' WHERE deleted_at IS NOT NULL")
        with redis.Redis.from_url(three[0].url) as client:
            client.flushall()
        await ground.enter("copying")
        await ground.finish(copy)
        assert None not in [*records(three[0]).values(), *records(three[2]).values()]
        with redis.Redis.from_url(three[1].url) as client:
            client.delete(*(keys.link_key(1, code) for code in CODES[:20]))  # their time has come
        await ground.rows("DELETE FROM links WHERE deleted_at IS NOT NULL")
        for code in CODES[:20]:
            await ground.put(code, "https://example.org/new")
        await ground.wait_projected()
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


@pytest.mark.parametrize("is_written_by_projector", [True, False])
def test_a_key_of_another_type_is_written_over(
    database_url: str, three: list[RedisServer], *, is_written_by_projector: bool
) -> None:
    """It holds up neither a copy nor the projection of other links."""

    async def work(ground: Ground) -> None:
        moving = await _arcs(ground)
        code = next(code for code in CODES if _moves(code, moving))
        await ground.enter("copying")
        with redis.Redis.from_url(three[2].url) as client:
            client.hset(keys.link_key(1, code), "some", "thing")
        if is_written_by_projector:
            await ground.put(code, "https://example.org/changed")
            await ground.wait_projected()
        await ground.finish(copy)
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_target_without_memory_is_waited_for(database_url: str, three: list[RedisServer]) -> None:
    """It answers, and what it says is passed on; with more memory the copy goes on."""

    async def work(ground: Ground) -> None:
        await ground.enter("copying")
        with redis.Redis.from_url(three[2].url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            waits = await ground.work(copy)
            assert isinstance(waits, Waits)
            assert "shard shard-2 answers with an error: " in waits.reason
            assert "maxmemory" in waits.reason
            client.config_set("maxmemory", "0")
        await ground.finish(copy)
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_links_of_one_hash_are_streamed(database_url: str, three: list[RedisServer]) -> None:
    """No page can cut them apart: they are written in small batches all the same."""

    async def work(ground: Ground) -> None:
        first = (await _arcs(ground))[0][0]
        await ground.load(f"d{number}" for number in range(6000))
        async with ground.database.connection() as connection:
            await connection.execute("UPDATE links SET key_hash = $1", first - 2**63)
        await ground.enter("copying")
        batches: list[int] = []

        async def look(_: int, __: Cursor) -> None:
            with redis.Redis.from_url(three[2].url) as client:
                batches.append(client.eval("return #redis.call('KEYS', 'l:*')", 0))

        await ground.finish(copy, look, pace=SMALL)
        assert batches[-1] == len(CODES) + 6000
        assert len(set(batches)) > 5

    play(database_url, three, add_one(three, virtual_nodes=1), CODES, work)


def test_batches_are_bounded_in_bytes(database_url: str, three: list[RedisServer]) -> None:
    """However long the targets are: a shard has a second for a batch."""

    async def work(ground: Ground) -> None:
        async with ground.database.dedicated() as rows:
            await rows.execute("UPDATE links SET key_hash = 0, target = target || repeat('a', 8000)")
            for code, key_hash in (("c0", -(2**63)), ("c1", 2**63 - 1)):  # the first and the last that there can be
                await rows.execute("UPDATE links SET key_hash = $1 WHERE code = $2", key_hash, code)
            await reading.prepare(rows)
            sizes: list[tuple[int, int]] = []

            async def note(batch: Batch) -> None:
                sizes.append((batch.count, batch.data_bytes))

            async def pass_over(_: Border | None) -> None:
                pass

            fast = throttle.Throttle(Pace(links_s=10**9, latency_s=5.0), 0.0)
            walk = Walk([(0, HASHES - 1)], None, len(CODES))
            await Passage(rows, walk, fast, partial(Reader, 1, b"")).go(note, pass_over)
        assert sum(links for links, _ in sizes) == len(CODES)
        assert max(size for _, size in sizes) < 5 * 2**20 < sum(size for _, size in sizes)

    play(database_url, three, add_one(three), CODES, work)


def test_the_rate_is_kept(database_url: str, three: list[RedisServer]) -> None:
    """And shown; a slow shard lowers it."""

    async def work(ground: Ground) -> None:
        await ground.enter("copying")
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        done = await ground.finish(copy, pace=Pace(links_s=1000, latency_s=5.0))
        rows = done.detail["rows"]["shard-2"]
        assert loop.time() - begun_s >= rows / 1000 - throttle.BURST_S
        assert ground.progress[-1].counts["rate"] == 1000
        await ground.finish(copy, cursor={}, pace=Pace(links_s=1000, latency_s=0.0))
        assert ground.progress[-1].counts["rate"] < 1000
        assert ground.progress[-1].counts["slow_shards"] == 1

    play(database_url, three, add_one(three), CODES, work)


def test_links_that_no_record_can_hold_are_counted(database_url: str, three: list[RedisServer]) -> None:
    """And the first of them are named; the others are copied."""

    async def work(ground: Ground) -> None:
        moving = await _arcs(ground)
        faulty = next(code for code in CODES if _moves(code, moving))
        async with ground.database.connection() as connection:
            await connection.execute("ALTER TABLE links DROP CONSTRAINT links_recordable")
            await connection.execute("UPDATE links SET target = 'https://example.com/a b' WHERE code = $1", faulty)
        await ground.enter("copying")
        done = await ground.finish(copy)
        assert done.detail["faulty"] == 1
        assert done.detail["first_faulty"][0]["link_id"] > 0
        assert ground.progress[-1].counts["faulty"] == 1
        assert len(records(three[2])) == sum(_moves(code, moving) for code in CODES) - 1

    play(database_url, three, add_one(three), CODES, work)


def test_a_driver_that_slept_writes_nothing(database_url: str, three: list[RedisServer]) -> None:
    """Under a fence of a later topology: nobody would ever remove it there."""
    written: list[int] = []

    async def work(ground: Ground) -> None:
        async def sleep(number: int, _: Cursor) -> None:
            if number == 3:
                await ground.background.stop()  # the keeper would lower it again
                raise_fence(three[2])
                written.append(len(records(three[2])))

        await ground.enter("copying")
        waits = await ground.work(copy, sleep, pace=SMALL)
        assert isinstance(waits, Waits)
        assert "later epoch" in waits.reason
        assert written == [len(records(three[2]))]

    play(database_url, three, add_one(three), CODES, work)


def test_an_unreachable_database_is_an_error(database_url: str, three: list[RedisServer]) -> None:
    """Of its own code, so that the driver tells it from a shard's."""

    async def work(ground: Ground) -> None:
        async def cut(number: int, _: Cursor) -> None:
            if number == 1:
                await ground.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'COPY%'"
                )

        await ground.enter("copying")
        with pytest.raises(Error) as caught:
            await ground.work(copy, cut, pace=SMALL)
        assert caught.value.code == "database_unavailable"
        await ground.finish(copy)
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


async def _arcs(ground: Ground) -> list[tuple[int, int]]:
    """The ranges that move to the shard that joins."""
    return by_target(documents.arcs(ground.before, ground.after))["shard-2"]


def _moves(code: str, moving: list[tuple[int, int]]) -> bool:
    key_hash = stored_hash(1, code) + 2**63
    return any(first <= key_hash <= last for first, last in moving)
