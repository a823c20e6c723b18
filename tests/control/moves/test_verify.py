"""Verifying: what differs is found, looked at again, and repaired or refused."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
import redis

from control.errors import Error
from control.links.model import stored_hash
from control.moves import second_look
from control.moves.carry import copy
from control.moves.verify import verify
from control.moves.work import Anew, Cursor, Done, Pace, Stopped, Waits
from control.projection.model import Write
from control.shards.connection import ShardConnection
from tests.control.moves.ground import Ground, add_one, play, records
from tests.stack.server import RedisServer
from wire import keys, record
from wire.record import LinkRecord
from wire.topology import Shard, Topology

CODES = [f"c{number}" for number in range(1500)]
SMALL = Pace(links_s=4000, latency_s=5.0)
Spoil = Callable[[redis.Redis, bytes], object]


pytestmark = pytest.mark.usefixtures("small_pages")


def test_count_and_digest_are_those_of_all_three(database_url: str, three: list[RedisServer]) -> None:
    """PostgreSQL, the old owner and the new one; and the shard that joins is complete."""

    async def work(ground: Ground) -> None:
        await _copied(ground)
        done = await ground.finish(verify)
        pairs = done.detail["pairs"]
        assert sorted(pairs) == ["shard-0>shard-2", "shard-1>shard-2"]
        assert sum(pair["links"] for pair in pairs.values()) == len(records(three[2]))
        assert all(int(pair["digest"], 16) > 0 and pair["differed"] == 0 for pair in pairs.values())
        assert [done.detail[name] for name in ("repaired", "forced", "dropped")] == [0, 0, 0]
        state = await ground.rows("SELECT is_complete, is_joining FROM shards WHERE id = 'shard-2'")
        assert state == [(True, False)]
        assert ground.progress[-1].fraction == pytest.approx(1.0)

    play(database_url, three, add_one(three), CODES, work)


def test_a_shard_that_gets_no_links_is_complete_all_the_same(database_url: str, three: list[RedisServer]) -> None:
    """One that takes the place of a drained shard: there is nothing to copy, and it has to say what is not found."""
    held, drained, new = (Shard(id=f"shard-{number}", url=server.url) for number, server in enumerate(three))
    before = Topology(epoch=1, shards=(held, replace(drained, weight=0.0)), virtual_nodes=16)
    after = replace(before, shards=(held, replace(new, weight=0.0, place="shard-1")))

    async def work(ground: Ground) -> None:
        await _copied(ground)
        await ground.finish(verify)
        state = await ground.rows("SELECT is_complete, is_joining FROM shards WHERE id = 'shard-2'")
        assert state == [(True, False)]

    play(database_url, three, (before, after), CODES, work)


def _put(version: int, target: bytes) -> Spoil:
    data = record.encode(LinkRecord(link_id=7, version=version, status=302, target=target))

    def spoil(client: redis.Redis, key: bytes) -> None:
        client.set(key, data)

    return spoil


SPOILS: list[tuple[str, Spoil, tuple[int, int]]] = [
    ("missing", lambda client, key: client.delete(key), (1, 0)),
    ("torn", lambda client, key: client.set(key, b"1"), (1, 0)),
    ("newer", _put(9, b"https://example.org/"), (0, 1)),
    ("different", _put(1, b"https://example.org/"), (0, 1)),
]


@pytest.mark.parametrize(("spoil", "counted"), [case[1:] for case in SPOILS], ids=[case[0] for case in SPOILS])
@pytest.mark.parametrize("is_new_owner", [True, False], ids=["new owner", "old owner"])
def test_what_differs_is_repaired(
    database_url: str, three: list[RedisServer], spoil: Spoil, counted: tuple[int, int], *, is_new_owner: bool
) -> None:
    """On either owner, and counted; what is newer than PostgreSQL's is replaced by force."""

    async def work(ground: Ground) -> None:
        await _copied(ground)
        key = sorted(records(three[2]))[5]
        old = next(server for server in three[:2] if key in records(server))
        before = await ground.rows("SELECT floor_seq FROM shards WHERE id = 'shard-2'")
        with redis.Redis.from_url((three[2] if is_new_owner else old).url) as client:
            spoil(client, key)
        done = await ground.finish(verify)
        assert (done.detail["repaired"], done.detail["forced"]) == counted
        assert done.detail["differed"] == 1
        await ground.assert_placed()
        assert await ground.rows("SELECT floor_seq FROM shards WHERE id = 'shard-2'") > before

    play(database_url, three, add_one(three), CODES, work)


def test_an_old_record_is_repaired(database_url: str, three: list[RedisServer]) -> None:
    """One that a projector wrote nowhere."""

    async def work(ground: Ground) -> None:
        await _copied(ground)
        key = sorted(records(three[2]))[5]
        code = key.rpartition(b":")[2].decode()
        async with ground.database.connection() as connection:
            await connection.execute(
                "UPDATE links SET version = 2, target = 'https://b.example/' WHERE code = $1", code
            )
        done = await ground.finish(verify)
        assert (done.detail["repaired"], done.detail["forced"], done.detail["differed"]) == (2, 0, 1)
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_keys_without_a_row_are_dropped(database_url: str, three: list[RedisServer]) -> None:
    """Where they move to; those of other arcs are left to cleaning."""

    async def work(ground: Ground) -> None:
        await _copied(ground)
        placement = await ground.placement()
        owned = [_owners(placement.owner_ids, f"x{number}") for number in range(200)]
        with redis.Redis.from_url(three[2].url) as client:
            for number in range(200):
                _put(3, b"https://example.org/")(client, keys.link_key(1, f"x{number}"))
        done = await ground.finish(verify)
        moved = sum("shard-2" in owners for owners in owned)
        assert done.detail["dropped"] == moved > 0
        assert sum(key.startswith(b"l:1:x") for key in records(three[2])) == 200 - moved

    play(database_url, three, add_one(three), CODES, work)


def _owners(owner_ids: Callable[[int], tuple[str, ...]], code: str) -> tuple[str, ...]:
    return owner_ids(stored_hash(1, code) + 2**63)


def test_too_much_that_is_missing_is_copied_anew(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is repaired behind the limit."""
    monkeypatch.setattr(second_look, "REPAIRS_MAX", 20)

    async def work(ground: Ground) -> None:
        await _copied(ground)
        with redis.Redis.from_url(three[2].url) as client:
            client.delete(*sorted(records(three[2]))[:100])
        assert isinstance(await ground.work(verify), Anew)
        ground.cursor = {}
        await ground.finish(copy)
        ground.cursor = {}
        assert (await ground.finish(verify)).detail["repaired"] == 0
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_too_much_that_is_newer_is_refused(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error that says so, each time, until somebody has seen to it."""
    monkeypatch.setattr(second_look, "REPAIRS_MAX", 20)

    async def work(ground: Ground) -> None:
        await _copied(ground)
        spoilt = sorted(records(three[2]))[:100]
        with redis.Redis.from_url(three[2].url) as client:
            for key in spoilt:
                _put(9, b"https://example.org/")(client, key)
        for _ in range(2):
            with pytest.raises(Error) as caught:
                await ground.work(verify)
            assert caught.value.code == "move_refused"
        found = records(three[2])
        assert sum(getattr(found[key], "version", 0) == 9 for key in spoilt) >= 80

    play(database_url, three, add_one(three), CODES, work)


def test_links_that_change_meanwhile_are_no_repairs(database_url: str, three: list[RedisServer]) -> None:
    """Created, changed and deleted between any two pages, with the projector at work."""

    async def work(ground: Ground) -> None:
        moved: list[str] = []

        async def change(number: int, _: Cursor) -> None:
            code = moved[number % len(moved)]
            await ground.put(code, f"https://example.org/{number}")
            await ground.put(moved[0], f"https://example.org/hot{number}")
            await ground.put(f"new{number}", "https://example.org/new")
            if number % 5 == 4:
                await ground.delete(code)

        await _copied(ground)
        moved += [key.rpartition(b":")[2].decode() for key in records(three[2])]
        done = await ground.finish(verify, change, pace=SMALL)
        assert [done.detail[name] for name in ("repaired", "forced", "dropped")] == [0, 0, 0]
        await ground.wait_projected()
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_changes_that_do_not_arrive_are_waited_for(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are neither right nor wrong until the projector has written them."""
    monkeypatch.setattr(second_look, "LOOKS_MAX", 3)

    async def work(ground: Ground) -> None:
        await _copied(ground)
        await ground.background.stop_one("projector")
        code = sorted(records(three[2]))[5].rpartition(b":")[2].decode()
        await ground.put(code, "https://example.org/")
        waits = await ground.work(verify)
        assert isinstance(waits, Waits)
        assert "have not reached shard" in waits.reason
        ground.background.start("projector", ground.projector.run)
        done = await ground.finish(verify)
        assert done.detail["repaired"] == 0
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_it_goes_on_wherever_it_was_cut_off(database_url: str, three: list[RedisServer]) -> None:
    """With the same counts and digests in the end."""

    async def work(ground: Ground) -> None:
        async def end(number: int, _: Cursor) -> None:
            if number == 3:
                raise Stopped

        await _copied(ground)
        whole = await ground.finish(verify)
        ground.cursor = {}
        pieces = await ground.finish(verify, end, pace=SMALL)
        assert ground.calls > 5
        assert pieces.detail == whole.detail

    play(database_url, three, add_one(three), CODES, work)


def test_a_joining_shard_that_comes_back_empty_is_copied_to_anew(database_url: str, three: list[RedisServer]) -> None:
    """Wherever in the verification that happens, it is not called complete."""
    reports = count()

    async def work(ground: Ground) -> None:
        async def restart(_: int, __: Cursor) -> None:
            if next(reports) == 4:
                three[2].kill()
                three[2].lose_disk()
                three[2].start()

        await _copied(ground)
        result = await _until_it_says(ground, restart)
        assert isinstance(result, Anew)
        assert await ground.rows("SELECT is_complete FROM shards WHERE id = 'shard-2'") == [(False,)]
        ground.cursor = {}
        await ground.finish(copy)
        ground.cursor = {}
        await ground.finish(verify)
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


async def _until_it_says(ground: Ground, restart: Callable[[int, Cursor], object]) -> object:
    async with asyncio.timeout(20):
        while True:
            result = await ground.work(verify, restart, pace=SMALL)  # type: ignore[arg-type]
            if not isinstance(result, Waits):
                return result
            await asyncio.sleep(0.05)


def test_an_old_owner_that_is_being_filled_is_waited_for(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it lacks is brought by its keeper: that is no reason to copy anew."""
    monkeypatch.setattr(second_look, "REPAIRS_MAX", 20)

    async def work(ground: Ground) -> None:
        await _copied(ground)
        await ground.background.stop_one("topology")
        await ground.background.stop_one("keeper shard-0")
        await ground.rows("UPDATE shards SET is_complete = false WHERE id = 'shard-0'")
        with redis.Redis.from_url(three[0].url) as client:
            client.delete(*sorted(records(three[0]))[:400])
        waits = await ground.work(verify)
        assert isinstance(waits, Waits)
        assert waits.reason == "shard shard-0 is being repaired"

    play(database_url, three, add_one(three), CODES, work)


def test_an_old_owner_that_was_given_up_is_passed_over(database_url: str, three: list[RedisServer]) -> None:
    """PostgreSQL and the new owners are compared."""

    async def work(ground: Ground) -> None:
        await _copied(ground)
        three[0].stop()
        assert isinstance(await ground.work(verify), Waits)
        done = await ground.finish(verify, lost=frozenset({"shard-0"}))
        assert isinstance(done, Done)
        assert sum(pair["links"] for pair in done.detail["pairs"].values()) == len(records(three[2]))

    play(database_url, three, add_one(three), CODES, work)


def test_a_link_that_takes_the_code_of_a_stray_key_is_there(database_url: str, three: list[RedisServer]) -> None:
    """Whenever that is: the stray is of a higher version, so a projector leaves it."""
    reports = count()

    async def work(ground: Ground) -> None:
        await _copied(ground)
        placement = await ground.placement()
        strays = [code for code in (f"x{n}" for n in range(300)) if _owners(placement.owner_ids, code)[-1] == "shard-2"]

        async def take(_: int, __: Cursor) -> None:
            number = next(reports)
            if number < len(strays):
                await ground.put(strays[number], "https://example.com/taken")
                await ground.wait_projected()

        with redis.Redis.from_url(three[2].url) as client:
            for code in strays:
                _put(9, b"https://example.org/")(client, keys.link_key(1, code))
        await ground.finish(verify, take, pace=SMALL)
        assert next(reports) > 50
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_link_that_changes_while_it_is_replaced_by_force(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The projector was refused by what is replaced, and does not write the change again."""

    async def work(ground: Ground) -> None:
        async def change_first(shard: ShardConnection, write: Write, held: bytes) -> None:
            await ground.put(code, "https://example.com/changed")
            await ground.wait_projected()
            await force(shard, write, held)

        await _copied(ground)
        key = sorted(records(three[2]))[5]
        code = key.rpartition(b":")[2].decode()
        with redis.Redis.from_url(three[2].url) as client:
            _put(9, b"https://example.org/")(client, key)
        monkeypatch.setattr(second_look, "force", change_first)
        done = await ground.finish(verify)
        assert done.detail["forced"] == 1
        await ground.assert_placed()

    force = second_look.force
    play(database_url, three, add_one(three), CODES, work)


def test_an_old_owner_that_restarts_has_all_of_its_links_verified_anew(
    database_url: str, three: list[RedisServer]
) -> None:
    """Also those of a pair that was through before."""
    restarts = count()

    async def work(ground: Ground) -> None:
        async def restart(_: int, cursor: Cursor) -> None:
            if cursor["pairs"]["shard-0>shard-1"]["is_done"] and next(restarts) == 0:
                three[0].kill()
                three[0].start()
                await ground.wait_fenced()

        await _copied(ground)
        moved = len(records(three[0]))
        done = await ground.finish(verify, restart, pace=SMALL)
        assert next(restarts) > 1
        assert sum(pair["links"] for pair in done.detail["pairs"].values()) == moved

    whole = add_one(three)[1]
    play(database_url, three, (whole, replace(whole, shards=whole.shards[1:])), CODES, work)


def test_a_joining_shard_that_is_emptied_at_the_end_is_not_called_complete(
    database_url: str, three: list[RedisServer]
) -> None:
    """Its process is the same and its keeper has made it ready again; what was repaired does not give it a floor."""
    flushes = count()

    async def work(ground: Ground) -> None:
        async def flush(_: int, cursor: Cursor) -> None:
            if all(pair["is_done"] for pair in cursor["pairs"].values()) and next(flushes) == 0:
                with redis.Redis.from_url(three[2].url) as client:
                    client.flushall()
                await ground.wait_fenced()

        await _copied(ground)
        with redis.Redis.from_url(three[2].url) as client:
            client.delete(sorted(records(three[2]))[5])
        result = await _until_it_says(ground, flush)
        assert isinstance(result, Anew)
        assert await ground.rows("SELECT is_complete FROM shards WHERE id = 'shard-2'") == [(False,)]

    play(database_url, three, add_one(three), CODES, work)


async def _copied(ground: Ground) -> None:
    await ground.enter("copying")
    await ground.finish(copy)
    ground.cursor = {}
    ground.progress.clear()
