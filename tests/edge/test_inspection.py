"""I4 is checked all the time: what L1 holds is compared with its shard, and what no push has ended is dropped."""

import asyncio
from pathlib import Path

import pytest

from edge._cache import Cache
from tests.edge.rig import Rig, running_rig, until
from tests.edge.stand import Shards, eventually, insert_link, migrate, running_edge
from tests.stack.fixtures import RedisFactory

ONE, TWO = "https://one.example/", "https://two.example/"


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard."""
    return Shards([redis_factory()])


def deafen(rig: Rig) -> None:
    """Have the shard push nothing more over this connection, while all else goes on: no reply comes to it."""
    session = rig.shards[0]._session
    assert session is not None
    session._transport.write(b"CLIENT REPLY SKIP\r\nCLIENT TRACKING OFF\r\n")


async def inspected(rig: Rig, name: str, count: int) -> None:
    """Inspect until a counter is there."""

    def has_counted() -> bool:
        rig.resolver.inspect()
        return rig.counters.get(name) >= count

    await until(has_counted)


def test_entry_that_no_push_has_ended_is_found_and_dropped(shards: Shards) -> None:
    """A link that changes behind a connection that hears nothing is answered rightly after its inspection."""
    shards.put("abc", ONE)

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert await rig.get("abc") == (302, ONE)
            deafen(rig)
            await inspected(rig, "l1_audits", 1)
            assert rig.counters.get("l1_drifts") == 0
            shards.put("abc", TWO, version=2)
            assert await rig.get("abc") == (302, ONE)
            await inspected(rig, "l1_drifts", 1)
            assert await rig.get("abc") == (302, TWO)
            await inspected(rig, "l1_audits", 4)
            assert rig.counters.get("l1_drifts") == 1

    asyncio.run(run())


def test_absence_that_no_push_has_ended_is_found(shards: Shards) -> None:
    """A link that is created unheard, and one whose record has other bytes and the same version."""
    shards.put("abc", ONE)

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert (await rig.get("new"))[0] == 404
            assert await rig.get("abc") == (302, ONE)
            deafen(rig)
            await inspected(rig, "l1_audits", 1)
            shards.put("new", ONE)
            shards.put("abc", TWO)
            await inspected(rig, "l1_drifts", 2)
            assert await rig.get("new") == (302, ONE)
            assert await rig.get("abc") == (302, TWO)

    asyncio.run(run())


def test_changes_that_are_pushed_are_no_drift(shards: Shards) -> None:
    """A link that changes all the time, and is asked for and inspected all the time."""
    shards.put("abc", ONE)

    async def run() -> None:
        async with running_rig(shards) as rig:
            for version in range(2, 500):
                writing = asyncio.create_task(asyncio.to_thread(shards.put, "abc", f"{ONE}{version}", version=version))
                while not writing.done():
                    await rig.get("abc")
                    rig.resolver.inspect()
                await writing
            await inspected(rig, "l1_audits", 10)
            assert rig.counters.get("l1_drifts") == 0

    asyncio.run(run())


def test_links_that_end_by_the_clock_are_no_drift(shards: Shards) -> None:
    """A link may be over at its shard a moment before it is in L1."""
    shards.put("past", ONE, not_after_ms=1)
    shards.delete("gone")

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert (await rig.get("past"))[0] == 410
            assert (await rig.get("gone"))[0] == 404
            deafen(rig)
            with shards.client(0) as client:
                client.delete("l:1:gone")  # as when a tombstone's day is over
            await inspected(rig, "l1_audits", 20)
            assert rig.counters.get("l1_drifts") == 0

    asyncio.run(run())


def test_entries_of_the_origin_are_left_alone(shards: Shards, database_url: str) -> None:
    """No push covers them, so nothing is lost when they differ."""
    migrate(database_url)
    insert_link(database_url, "abc", ONE)
    shards.set_fence(0, state="filling")

    async def run() -> None:
        async with running_rig(shards, origin_url=database_url, origin_ttl_ms=2000) as rig:
            await until(lambda: rig.counters.get("is_origin_reachable") == 1)
            assert await rig.get("abc") == (302, ONE)
            for _ in range(100):
                rig.resolver.inspect()
            await rig.idle()
            assert rig.counters.get("l1_audits") == rig.counters.get("l1_drifts") == 0

    asyncio.run(run())


def test_nothing_is_inspected_at_a_shard_that_is_away(shards: Shards) -> None:
    """Its entries are distrusted anyway."""
    shards.put("abc", ONE)

    async def run() -> None:
        async with running_rig(shards) as rig:
            assert await rig.get("abc") == (302, ONE)
            shards.servers[0].kill()
            await until(lambda: not rig.shards[0].is_usable)
            for _ in range(100):
                rig.resolver.inspect()
            assert rig.counters.get("l1_audits") == 0

    asyncio.run(run())


def test_a_running_worker_inspects_once_a_second(shards: Shards, tmp_path: Path) -> None:
    """The metrics say how often, and of how many drifts."""
    shards.put("abc", ONE)
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        assert edge.get("/abc").location == ONE

        def has_inspected() -> bool:
            return edge.get("/abc").location == ONE and edge.metric("l1_audits_total") >= 2

        eventually(has_inspected, "two entries are inspected")
        assert edge.metric("l1_drifts_total") == 0


@pytest.mark.parametrize("bytes_max", [4096, 64 << 20])
def test_any_key_of_a_cache_may_be_chosen(bytes_max: int) -> None:
    """Each of the keys by some number, and nothing in an empty cache."""
    cache = Cache(bytes_max)
    assert cache.key_at(0) is None
    assert cache.key_at(2**64 - 1) is None
    keys = {b"1:%d" % number for number in range(20)}
    for key in keys:
        cache.put(key, b"payload")
    numbers = (number * 0x9E3779B97F4A7C15 % 2**64 for number in range(10_000))
    assert {cache.key_at(number) for number in numbers} - {None} == keys
    assert cache.discard(b"1:3")
    numbers = (number * 0x9E3779B97F4A7C15 % 2**64 for number in range(10_000))
    assert b"1:3" not in {cache.key_at(number) for number in numbers}
