"""A shard as a worker sees it: when it is asked, what a stall means, and how it comes back."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from edge.breaker import State
from edge.clock import monotonic_ms
from edge.documents import REREAD_MS
from edge.replicas import Replicas
from edge.resolver import jittered
from edge.session import ShardError, Timeouts, connect, redacted
from edge.shards import LATE_MS, RECONNECT_MS_MAX, RECONNECT_MS_MIN, STEADY_MS, next_delay_ms
from edge.topology import build
from tests.edge.rig import Rig, rings_of, running_rig, until
from tests.edge.stand import HOST, Shards, eventually, insert_link, migrate, running_edge, stalled
from tests.stack.fixtures import RedisFactory
from wire import heartbeat, keys, record, topology

LINKS = 200


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two whole shards."""
    return Shards([redis_factory() for _ in range(2)])


def mget_calls(shards: Shards, number: int) -> int:
    """How many MGETs the shard has answered."""
    with shards.client(number) as client:
        return int(client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])


def test_stall_behind_a_ping_is_noticed(shards: Shards) -> None:
    """A look-up is overdue and a ping sent before it is not: the next miss does not queue up behind both."""
    late, next_one = shards.code_of(0, "late"), shards.code_of(0, "next")

    async def run() -> None:
        settings = {"reply_timeout_ms": 500, "ping_interval_ms": 20, "ping_timeout_ms": 20_000}
        async with running_rig(shards, **settings) as rig:
            with stalled(shards.servers[0]):
                # Pings are sent, and have not been answered for some time.
                await until(lambda: monotonic_ms() - rig.counters.shard(0).get("proved_ms") > 100)
                assert (await rig.get(late))[0] == 503
                assert not rig.shards[0].is_usable
                timeouts = rig.counters.get("shard_timeouts")
                assert (await rig.get(next_one))[0] == 503
                assert rig.counters.get("shard_timeouts") == timeouts
            await until(lambda: rig.shards[0].is_usable)
            assert (await rig.get(next_one))[0] == 404

    asyncio.run(run())


def test_worker_that_was_late_judges_nobody(shards: Shards) -> None:
    """A sweep after a pause of its own finds every deadline over; the replies may wait in the sockets (I1: once)."""

    async def run() -> None:
        async with running_rig(shards) as rig:
            failures: list[str] = []
            shard = rig.shards[0]
            assert shard.admit(monotonic_ms())
            shard.lookup([b"1:a"], lambda *_values: None, lambda: failures.append("given up"))
            now_ms = monotonic_ms() + 500  # overdue, and no ping is
            shard.sweep(now_ms)
            assert (failures, rig.counters.get("shard_timeouts")) == ([], 0)
            shard.sweep(now_ms + LATE_MS // 2)
            assert (failures, rig.counters.get("shard_timeouts")) == (["given up"], 1)

    asyncio.run(run())


def test_worker_that_was_late_judges_no_replica(shards: Shards) -> None:
    """Nor is a replica's session cut for the worker's own pause: it may be all that is left of its shard."""

    async def run() -> None:
        async with running_rig(shards) as rig, asyncio.TaskGroup() as tasks:
            failures: list[str] = []
            shard = rig.shards[0]
            shard.replicas = Replicas(
                "late",
                shard.progress,
                lambda key, data: None,
                config=rig.config,
                counters=rig.counters,
                edge_id="late",
                spawn=tasks.create_task,
            )
            shard.replicas.follow([shards.servers[1].url])
            await until(lambda: shard.replicas is not None and shard.replicas.usable_count == 1)
            replica = shard.replicas.admit(monotonic_ms())
            assert replica is not None
            replica.lookup([b"1:a"], 1, lambda _records: None, lambda: failures.append("given up"))
            now_ms = monotonic_ms() + 500
            shard.sweep(now_ms)
            assert failures == []
            shard.sweep(now_ms + LATE_MS // 2)
            assert failures == ["given up"]
            shard.replicas.follow(())

    asyncio.run(run())


def test_flight_goes_to_the_owner_of_its_departure(shards: Shards) -> None:
    """A topology adopted between a miss and its MGET: the old owner's pushes would not cover what it answers."""
    code = shards.code_of(0)
    shards.put(code, "https://old.example/")
    only_second = topology.Topology(epoch=1, shards=shards.topology.shards[1:], virtual_nodes=64)
    with shards.client(1) as client:
        key = keys.link_key(1, code)
        client.set(
            key, record.encode(record.LinkRecord(link_id=1, version=2, status=302, target=b"https://new.example/"))
        )

    async def run() -> None:
        async with running_rig(shards) as rig:
            before = mget_calls(shards, 0)
            assert rig.refresh(code)
            rig.resolver.route(build(only_second, rings_of(only_second), {"shard-1": 1}), {1: rig.shards[1]})
            await rig.idle()
            assert await rig.get(code) == (302, "https://new.example/")
            assert mget_calls(shards, 0) == before
            assert rig.counters.get("tier_l1") == 1

    asyncio.run(run())


def test_reply_of_a_shard_that_is_no_owner_any_more_is_asked_for_again(shards: Shards) -> None:
    """A topology adopted between an MGET and its reply: what the old owner says may be what it is no longer told."""
    code = shards.code_of(0)
    shards.put(code, "https://old.example/")
    shards.put_at(1, code, "https://new.example/")
    only_second = topology.Topology(epoch=1, shards=shards.topology.shards[1:], virtual_nodes=64)

    async def run() -> None:
        async with running_rig(shards, reply_timeout_ms=5000, ping_timeout_ms=9000) as rig:
            with stalled(shards.servers[0]):
                request = asyncio.create_task(rig.get(code))
                await until(partial(rig.has_counted, "misses_under_way", 1))
                rig.resolver.route(build(only_second, rings_of(only_second), {"shard-1": 1}), rig.shards)
            assert await request == (302, "https://new.example/")
            assert await rig.get(code) == (302, "https://new.example/")
            assert rig.counters.get("tier_l1") == 1

    asyncio.run(run())


def test_lookups_of_a_shard_that_leaves_go_to_the_next_owner(shards: Shards) -> None:
    """Its session ends while they wait: PostgreSQL need not answer for that."""
    code = shards.code_of(0)
    shards.put_at(1, code, "https://new.example/")
    only_second = topology.Topology(epoch=1, shards=shards.topology.shards[1:], virtual_nodes=64)

    async def run() -> None:
        async with running_rig(shards, reply_timeout_ms=5000, ping_timeout_ms=9000) as rig:
            with stalled(shards.servers[0]):
                request = asyncio.create_task(rig.get(code))
                await until(partial(rig.has_counted, "misses_under_way", 1))
                left = rig.shards[0]
                rig.resolver.route(build(only_second, rings_of(only_second), {"shard-1": 1}), {1: rig.shards[1]})
                generation = rig.front.generation(0)
                left.retire()
                assert rig.front.generation(0) == generation + 1
                assert await request == (302, "https://new.example/")

    asyncio.run(run())


def test_cut_connections_open_the_breaker(shards: Shards) -> None:
    """A shard that takes connections and drops them is not asked again and again."""

    async def run() -> None:
        async with running_rig(shards) as rig:
            breaker = rig.shards[0].breaker
            while not breaker.entries[State.OPEN]:
                await until(lambda: rig.shards[0].is_usable or breaker.entries[State.OPEN])
                distrusts = rig.counters.get("shard_distrusts")
                with shards.client(0) as client:
                    client.client_kill_filter(_type="normal", skipme=True)
                await until(partial(rig.has_counted, "shard_distrusts", distrusts + 1))
            assert rig.counters.get("shard_distrusts") >= 3
            await until(lambda: rig.shards[0].may_admit(monotonic_ms()))

    asyncio.run(run())


def test_fence_that_is_ahead_costs_few_documents(shards: Shards) -> None:
    """As long as no document explains it the topology, which may be large, is read now and then; no miss asks there."""
    code = shards.code_of(0)

    async def run() -> None:
        async with running_rig(shards) as rig:
            before, started_ms = mget_calls(shards, 0), monotonic_ms()
            shards.set_fence(0, epoch=9)
            await until(lambda: not rig.shards[0].is_usable)
            while monotonic_ms() - started_ms < 2 * REREAD_MS:
                assert (await rig.get(code))[0] == 503
            documents = mget_calls(shards, 0) - before
            assert 1 <= documents <= 2 + (monotonic_ms() - started_ms) // REREAD_MS
            assert rig.shards[1].is_usable

    asyncio.run(run())


def test_hit_under_a_newer_fence_is_no_answer(shards: Shards) -> None:
    """As long as the shard is trusted it is asked, and what it has may be what it is no longer told."""
    code = shards.code_of(0)
    shards.put(code, "https://old.example/")

    async def run() -> None:
        async with running_rig(shards, ping_timeout_ms=9000) as rig:
            shards.set_fence(0, epoch=9)
            assert rig.shards[0].is_usable
            assert (await rig.get(code))[0] == 503
            assert rig.counters.get("flights_parked") == 1

    asyncio.run(run())


def test_sequence_missed_while_disconnected_is_acknowledged(shards: Shards, tmp_path: Path) -> None:
    """The push went nowhere, and nobody writes again: the edge reads pm:seq when it is back."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]), shards.client(0) as client:
        with client.pipeline(transaction=True) as both:
            both.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            both.set(keys.SEQUENCE, 7)
            both.execute()

        def acknowledged() -> int:
            value = client.get(keys.edge_key("test.0"))
            return 0 if value is None else heartbeat.decode(value).sequence

        eventually(lambda: acknowledged() == 7, "it is acknowledged")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:99999/0", "redis://[::1", f"redis://{'a' * 70}.example"])
def test_shard_with_an_unusable_url_harms_no_other(shards: Shards, database_url: str, tmp_path: Path, url: str) -> None:
    """One bad URL in the topology: its links come from PostgreSQL, the others are served, no worker ends (I7)."""
    migrate(database_url)
    code, lost = shards.code_of(0), shards.code_of(1)
    bad = topology.Shard(id="shard-1", url=url)
    shards.topology = topology.Topology(epoch=1, virtual_nodes=64, shards=(shards.topology.shards[0], bad))
    shards.publish(0)
    shards.put(code, "https://shard.example/")
    insert_link(database_url, lost, "https://origin.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=database_url) as edge:
        assert edge.get(f"/{code}").location == "https://shard.example/"
        assert edge.get(f"/{lost}").location == "https://origin.example/"
        assert edge.metric("worker_starts_total") == 1


def test_password_of_an_unusable_url_stays_out_of_messages() -> None:
    """They end up in logs."""
    url = "redis://user:secret@host:99999/0"

    async def run() -> None:
        await connect(url, Timeouts(100, 100), lambda _push: None, lambda _session: None)

    with pytest.raises(ShardError) as raised:
        asyncio.run(run())
    assert (raised.value.code, "secret" in str(raised.value)) == ("url", False)
    assert redacted(url) == "redis://…@host:99999/0"


def test_reconnects_wait_longer_up_to_a_maximum() -> None:
    """Twice as long each time; a session that was good starts anew."""
    delays_ms = [0]
    for _ in range(7):
        delays_ms.append(next_delay_ms(delays_ms[-1], lived_ms=0))
    assert delays_ms[1:] == [RECONNECT_MS_MIN, 100, 200, 400, 800, RECONNECT_MS_MAX, RECONNECT_MS_MAX]
    assert next_delay_ms(RECONNECT_MS_MAX, STEADY_MS) == RECONNECT_MS_MIN
    assert next_delay_ms(RECONNECT_MS_MAX, STEADY_MS - 1) == RECONNECT_MS_MAX


def test_lifetimes_are_a_tenth_shorter_at_most() -> None:
    """Never longer than the setting, and not all the same."""
    values = {jittered(1000) for _ in range(500)}
    assert min(values) >= 900
    assert max(values) <= 1000
    assert len(values) > 50


async def from_l1(rig: Rig, codes: list[str]) -> int:
    """How many of the codes, asked for in one go, were answered from memory."""
    before = rig.counters.get("tier_l1")
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    for code in codes:
        writer.write(f"GET /{code} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    writer.write(f"GET /last HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    await reader.read(-1)
    writer.close()
    return rig.counters.get("tier_l1") - before


@pytest.mark.slow
@pytest.mark.parametrize("is_absent", [False, True])
def test_what_was_filled_together_ends_apart(shards: Shards, is_absent: bool) -> None:
    """Links and absences alike: the end of their time is spread over a tenth of it."""
    codes = [f"c{n}" for n in range(LINKS)]
    for code in [] if is_absent else codes:
        shards.put(code, "https://example.com/")

    async def run() -> None:
        async with running_rig(shards, ttl_ms=3000, absence_ttl_ms=3000, refreshes_max=0) as rig:
            await asyncio.gather(*(rig.get(code) for code in codes))
            ended_ms: list[int] = []
            while len(ended_ms) < LINKS * 9 // 10:
                hits = await from_l1(rig, codes)
                ended_ms += [monotonic_ms()] * (LINKS - min(hits, LINKS))
            assert ended_ms[LINKS * 8 // 10] - ended_ms[LINKS // 10] >= 100

    asyncio.run(run())
