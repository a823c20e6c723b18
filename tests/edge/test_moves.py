"""An edge along the modes of a move: what it asks, answers, keeps and acknowledges, whatever it has missed."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from edge.clock import monotonic_ms
from tests.edge.load import exchange
from tests.edge.rig import Rig, running_rig, until
from tests.edge.stand import HOST, Edge, Shards, eventually, insert_link, migrate, running_edge, started_edge
from tests.edge.test_freshness import wait_for_location, wait_for_sleep
from tests.stack.fixtures import RedisFactory
from wire import fence, keys, topology

OLD, NEW = (1, 0), (1, 1)
GET = f"GET /%s HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
MODES = [("armed", OLD, NEW), ("sampling", OLD, NEW), ("cut-over", NEW, OLD), ("soaking", NEW, OLD)]


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two shards, of which the second is not on the ring yet."""
    stand = Shards([redis_factory() for _ in range(2)])
    stand.enforce(stand.described(1, "steady", OLD))
    return stand


def moving_code(shards: Shards, prefix: str = "code") -> str:
    """A code that has another owner on the new ring."""
    held = shards.topology
    shards.enforce(shards.described(held.epoch, "steady", NEW), numbers=())
    code = shards.code_of(1, prefix)
    shards.enforce(held, numbers=())
    return code


def step(shards: Shards, mode: topology.Mode, read: tuple[int, int], second: tuple[int, ...] = ()) -> None:
    """Publish the next epoch."""
    shards.enforce(shards.described(shards.topology.epoch + 1, mode, read, second))


def acknowledged(shards: Shards) -> set[int]:
    """The epochs in the worker's heartbeats at all shards; -1 where there is none."""
    return {-1 if heartbeat is None else heartbeat.epoch for heartbeat in shards.heartbeats()}


def wait_for_epoch(shards: Shards) -> None:
    """Wait until the worker has acknowledged the topology at every shard."""
    eventually(lambda: acknowledged(shards) == {shards.topology.epoch}, "the epoch is acknowledged everywhere")


def tier(edge: Edge, name: str) -> int:
    """Answers from there."""
    return edge.metric("answers_by_tier_total", f'{{tier="{name}"}}')


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that sleeps."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# ---- a whole move


def test_move_and_way_back_cost_l1_only_what_moves(shards: Shards, tmp_path: Path) -> None:
    """Each epoch is acknowledged at both shards; links that stay are answered from memory all along, none wrongly."""
    moving, staying = moving_code(shards), next(f"s{n}" for n in range(99) if f"s{n}" != moving_code(shards, "s"))
    for code in (moving, staying):
        for number in range(2):
            shards.put_at(number, code, f"https://example.com/{code}")
    # A busy machine is no silent shard.
    settings = {"ping_timeout_ms": 9000, "reply_timeout_ms": 5000}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:

        def ask() -> None:
            for code in (moving, staying):
                assert edge.get(f"/{code}").location == f"https://example.com/{code}"

        ask()
        way = [*MODES, ("steady", NEW, ()), ("armed", NEW, OLD), ("sampling", NEW, OLD), ("cut-over", OLD, NEW)]
        for mode, read, second in [*way, ("soaking", OLD, NEW), ("steady", OLD, ())]:
            before = tier(edge, "l1")
            step(shards, mode, read, second)  # type: ignore[arg-type]
            wait_for_epoch(shards)
            for _ in range(3):
                ask()
            assert tier(edge, "l1") >= before + 4
            assert edge.metric("modes", f'{{mode="{mode}"}}') == 1
        assert edge.metric("shard_distrusts_total") == 0
        # One for each cut-over, begun anew if the soaking comes before it is over.
        assert 2 <= edge.metric("l1_walks_total") <= 4
        assert edge.metric("fallbacks_total") == 0


def test_changes_at_both_owners_are_seen_throughout_the_walk(shards: Shards, tmp_path: Path) -> None:
    """After the cut-over a link is changed: what the old owner filled is not answered again."""
    moving = moving_code(shards)
    shards.put_at(0, moving, "https://old.example/")
    shards.put_at(1, moving, "https://old.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        assert edge.get(f"/{moving}").location == "https://old.example/"
        step(shards, "armed", OLD, NEW)
        step(shards, "cut-over", NEW, OLD)
        wait_for_epoch(shards)
        for number in (1, 0):
            shards.put_at(number, moving, "https://new.example/", version=2)
        eventually(lambda: edge.get(f"/{moving}").location == "https://new.example/", "the change is seen")
        assert tier(edge, "origin") == 0


@pytest.mark.parametrize(("mode", "read", "second"), MODES)
def test_edge_joins_in_the_middle_of_a_mode(
    shards: Shards, tmp_path: Path, mode: topology.Mode, read: tuple[int, int], second: tuple[int, int]
) -> None:
    """It reads where the others read, is heard of at both shards, and follows from there."""
    moving = moving_code(shards)
    for _ in range(3):
        step(shards, mode, read, second)
    shards.put_at(0 if read == OLD else 1, moving, "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        assert edge.get(f"/{moving}").location == "https://example.com/"
        assert acknowledged(shards) == {4}
        step(shards, "steady", read)
        wait_for_epoch(shards)
        assert edge.get(f"/{moving}").location == "https://example.com/"
        assert tier(edge, "l1") == 1


# ---- the second ring


@pytest.fixture
def cut_over(shards: Shards) -> Shards:
    """In the middle of a move."""
    step(shards, "cut-over", NEW, OLD)
    return shards


def run_rig(shards: Shards, asked: Callable[[Rig], Awaitable[None]], **settings: object) -> None:
    """Ask a rig over these shards."""

    async def run() -> None:
        async with running_rig(shards, **settings) as rig:
            await asked(rig)

    asyncio.run(run())


def test_old_owner_is_asked_for_what_the_new_one_lacks(cut_over: Shards) -> None:
    """Answered, counted, and not kept: nobody pushes to L1 for its owner."""
    code = moving_code(cut_over)
    cut_over.put_at(0, code, "https://example.com/")

    async def asked(rig: Rig) -> None:
        for count in range(1, 4):
            assert await rig.get(code) == (302, "https://example.com/")
            assert rig.counters.get("fallbacks") == count
        assert (rig.counters.get("tier_shard"), rig.counters.get("tier_l1")) == (3, 0)

    run_rig(cut_over, asked)


@pytest.mark.parametrize("state", ["complete", "filling"])
def test_absence_is_final_when_the_old_owner_says_so(cut_over: Shards, state: fence.FenceState) -> None:
    """Whatever the new one says; L1 keeps it if the new one said it finally, too."""
    code = moving_code(cut_over)
    cut_over.set_fence(1, state, epoch=2)

    async def asked(rig: Rig) -> None:
        assert [(await rig.get(code))[0] for _ in range(2)] == [404, 404]
        assert rig.counters.get("tier_l1") == int(state == "complete")
        assert rig.counters.get("fallbacks") == 0

    run_rig(cut_over, asked)


@pytest.mark.parametrize(("state", "status"), [("complete", 404), ("filling", 503)])
def test_new_owner_decides_when_the_old_one_cannot_be_asked(
    cut_over: Shards, state: fence.FenceState, status: int
) -> None:
    """If it says it finally; else PostgreSQL does, and there is none here."""
    code = moving_code(cut_over)
    cut_over.set_fence(1, state, epoch=2)

    async def asked(rig: Rig) -> None:
        cut_over.servers[0].kill()
        await until(lambda: not rig.shards[0].is_usable)
        assert (await rig.get(code))[0] == status

    run_rig(cut_over, asked)


def test_old_owner_answers_while_the_new_one_is_away(cut_over: Shards, database_url: str) -> None:
    """Killed after the cut-over; PostgreSQL is asked only for what the old owner does not decide."""
    migrate(database_url)
    code, doubtful = moving_code(cut_over), moving_code(cut_over, "doubtful")
    cut_over.put_at(0, code, "https://shard.example/")
    insert_link(database_url, doubtful, "https://origin.example/")

    async def asked(rig: Rig) -> None:
        cut_over.servers[1].kill()
        await until(lambda: not rig.shards[1].is_usable)
        assert await rig.get(code) == (302, "https://shard.example/")
        assert (rig.counters.get("fallbacks"), rig.counters.get("origin_lookups")) == (1, 0)
        cut_over.set_fence(0, "filling", epoch=2)
        assert await rig.get(doubtful) == (302, "https://origin.example/")

    run_rig(cut_over, asked, origin_url=database_url)


def test_refresh_asks_no_old_owner(cut_over: Shards) -> None:
    """Nobody waits: L1 keeps what it has."""
    code = moving_code(cut_over)
    cut_over.put_at(0, code, "https://example.com/")

    async def asked(rig: Rig) -> None:
        assert rig.refresh(code)
        await rig.idle()
        assert rig.counters.get("fallbacks") == 0

    run_rig(cut_over, asked)


def test_samples_find_what_the_next_owner_has_differently(shards: Shards) -> None:
    """One of sixteen is compared; what differs is looked at again; no answer is another for it."""
    codes = [moving_code(shards, f"c{n}-") for n in range(64)]
    step(shards, "sampling", OLD, NEW)
    for n, code in enumerate(codes):
        shards.put_at(0, code, "https://example.com/")
        shards.put_at(1, code, f"https://example.com/{'' if n < 32 else 'other'}")

    async def asked(rig: Rig) -> None:
        for code in codes:
            assert await rig.get(code) == (302, "https://example.com/")
        await until(lambda: rig.counters.get("samples") == 4)
        await until(lambda: rig.counters.get("sample_differences") == 2)
        assert rig.counters.get("tier_shard") == 64

    run_rig(shards, asked)


def test_sample_of_a_link_that_changes_is_no_difference(shards: Shards) -> None:
    """It was read between the writes to both owners."""
    codes = [moving_code(shards, f"c{n}-") for n in range(16)]
    step(shards, "sampling", OLD, NEW)
    shards.put_at(1, codes[-1], "https://example.com/")

    async def asked(rig: Rig) -> None:
        for code in codes:
            assert (await rig.get(code))[0] == 404
        await until(lambda: rig.counters.get("samples") == 1)
        shards.put_at(0, codes[-1], "https://example.com/")
        with shards.client(1) as client:
            calls = int(client.info("commandstats")["cmdstat_mget"]["calls"])
            await until(lambda: int(client.info("commandstats")["cmdstat_mget"]["calls"]) > calls)
        assert rig.counters.get("sample_differences") == 0

    run_rig(shards, asked)


# ---- the fence


def test_hits_end_with_trust_under_a_fence_that_nothing_explains(shards: Shards, tmp_path: Path) -> None:
    """A newer fence, and no document for it: within ping_timeout L1 answers nothing; all that it held, afterwards."""
    shards.put("abc", "https://example.com/")
    settings = {"ping_timeout_ms": 800, "ping_interval_ms": 50, "stale_ms": 1}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        assert edge.get("/abc").status == 302
        raised_ms = monotonic_ms()
        shards.set_fence(0, epoch=2)
        last_ms = raised_ms
        while edge.get("/abc").status == 302:
            last_ms = monotonic_ms()
            assert last_ms - raised_ms < 5000
        assert last_ms - raised_ms <= 1000
        eventually(lambda: edge.admin("/readyz").status == 503, "it says that it can resolve nothing")
        assert edge.metric("trust_refusals_total") > 0
        shards.enforce(shards.described(2, "armed", OLD, NEW))
        before = tier(edge, "l1")
        eventually(lambda: edge.get("/abc").status == 302, "the topology is adopted")
        assert tier(edge, "l1") == before + 1
        assert edge.metric("shard_distrusts_total") == 0


def test_misses_wait_for_the_topology_that_a_fence_announces(shards: Shards, tmp_path: Path) -> None:
    """Each epoch is raised under load of misses: without an origin none of them is 503."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", edge.port))) for _ in range(4)]
            for change in range(40):
                step(shards, *(("armed", OLD, NEW) if change % 2 else ("steady", OLD, ())))
                for n, client in enumerate(clients):
                    answer = exchange(client, (GET % f"miss{change}-{n}").encode())
                    assert answer.startswith(b"HTTP/1.1 404 ")
        assert edge.metric("answers_total", '{status="503"}') == 0


@pytest.mark.parametrize("is_explained", [True, False])
def test_edge_that_slept_through_a_move_gives_no_old_answer(shards: Shards, tmp_path: Path, is_explained: bool) -> None:
    """SIGSTOP across a whole move and a change at the new owner; requests wait in its sockets when it wakes.

    It knows nothing of the new owner, and its old shard answers pings as ever: only the fence says that the link has
    gone. With the newer topology beside the fence, or without one that the edge could read.
    """
    settings = {"ping_timeout_ms": 300, "reply_timeout_ms": 200, "ping_interval_ms": 50, "stale_ms": 1}
    both = shards.described(1, "steady", NEW).shards
    alone = (shards.topology.shards[0],)
    codes = [moving_code(shards, f"c{change}-") for change in range(5 if is_explained else 1)]
    shards.enforce(topology.Topology(epoch=2, virtual_nodes=64, shards=alone))
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        (worker,) = edge.workers()
        for change, code in enumerate(codes):
            shards.put_at(0, code, "https://old.example/")
            wait_for_location(edge, code, "https://old.example/")
            with ExitStack() as stack:
                clients = [stack.enter_context(socket.create_connection(("127.0.0.1", edge.port))) for _ in range(8)]
                for client in clients:
                    assert b"https://old.example/" in exchange(client, (GET % code).encode())
                with stopped(worker["pid"]), shards.client(0) as at_shard:
                    wait_for_sleep(at_shard, keys.edge_key("test.0"), 400)
                    if is_explained:
                        shards.enforce(topology.Topology(epoch=3 + 2 * change, virtual_nodes=64, shards=both))
                    else:
                        shards.set_fence(0, epoch=3)
                    shards.put_at(1, code, "https://new.example/", version=2)
                    for client in clients:
                        client.sendall((GET % code).encode() * 3)
                answers = [exchange(client, b"") for client in clients]
            assert not any(b"https://old.example/" in answer for answer in answers)
            for _ in range(50):
                assert edge.get(f"/{code}").location in ("https://new.example/", None)
            if is_explained:
                wait_for_location(edge, code, "https://new.example/")
                shards.enforce(topology.Topology(epoch=4 + 2 * change, virtual_nodes=64, shards=alone))
                eventually(lambda: acknowledged(shards) >= {shards.topology.epoch}, "it is back where it was")


# ---- members


def clients_at(shards: Shards, number: int) -> int:
    """How many edge connections a shard has."""
    with shards.client(number) as client:
        return sum(entry["name"].startswith("pointsman-edge:") for entry in client.client_list())


def test_shard_that_left_is_left_alone(shards: Shards, tmp_path: Path) -> None:
    """Its session ends; drained, but still of the topology, it is beaten to as the others are."""
    shards.enforce(shards.described(2, "steady", NEW))
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        code = shards.code_of(1)
        shards.put(code, "https://old.example/")
        assert edge.get(f"/{code}").status == 302
        step(shards, "steady", OLD)
        wait_for_epoch(shards)
        assert clients_at(shards, 1) == 1
        alone = topology.Topology(epoch=4, virtual_nodes=64, shards=shards.topology.shards[:1])
        shards.enforce(alone, numbers=[0])
        eventually(lambda: clients_at(shards, 1) == 0, "its session has ended")
        assert b'shard="shard-1"' not in edge.admin("/metrics").body
        assert edge.get(f"/{code}").status == 404


def test_number_that_is_given_on_brings_no_entries_along(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """A shard in the place of another one, with its number too: what the first one filled is not answered."""
    stand = Shards([redis_factory() for _ in range(3)])
    first, second, third = stand.topology.shards
    stand.enforce(topology.Topology(epoch=2, virtual_nodes=64, shards=(first, second)), numbers=[0, 1])
    code = stand.code_of(1)
    stand.put_at(1, code, "https://old.example/")
    stand.put_at(2, code, "https://new.example/")
    with running_edge(tmp_path / "edge", [stand.servers[0].url]) as edge:
        assert edge.get(f"/{code}").location == "https://old.example/"
        replaced = topology.Shard(id="shard-2", url=third.url, place="shard-1")
        gone = topology.Topology(epoch=3, virtual_nodes=64, shards=(first,))
        stand.enforce(gone, numbers=[0])
        eventually(lambda: edge.metric("epoch") == 3, "the shard has left")
        stand.enforce(topology.Topology(epoch=4, virtual_nodes=64, shards=(first, replaced)), numbers=[0, 2])
        eventually(lambda: edge.metric("shards_trusted") == 2, "the other one is there")
        assert edge.get(f"/{code}").location == "https://new.example/"


def test_shards_that_come_and_go_leave_nothing_behind(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """Forty topologies, each of other shards at the same servers, some with a replica: as many sockets as before."""
    stand = Shards([redis_factory() for _ in range(3)])
    urls = [server.url for server in stand.servers]

    def replaced(epoch: int) -> topology.Topology:
        shards = tuple(
            topology.Shard(id=f"e{epoch}-{n}", url=urls[n], replicas=tuple(urls[2:]) if epoch % 2 else ())
            for n in range(2)
        )
        return topology.Topology(epoch=epoch, virtual_nodes=64, shards=shards)

    def is_as_before(edge: Edge, pid: int, count: int) -> bool:
        is_trusted = edge.metric("shards_trusted") == 2
        return is_trusted and len(os.listdir(f"/proc/{pid}/fd")) == count and clients_at(stand, 2) == 0

    def has_adopted(edge: Edge, epoch: int) -> bool:
        return edge.metric("epoch") == epoch

    stand.enforce(replaced(2), numbers=(0, 1))
    with running_edge(tmp_path / "edge", urls[:1]) as edge:
        (worker,) = edge.workers()
        eventually(lambda: clients_at(stand, 0) == 1, "the seed is left alone")
        count = len(os.listdir(f"/proc/{worker['pid']}/fd"))
        for epoch in range(3, 43):
            stand.enforce(replaced(epoch), numbers=(0, 1))
            assert edge.get(f"/absent{epoch}").status in (404, 503)
            if epoch % 3:  # else the next one comes while sessions are being opened
                eventually(partial(has_adopted, edge, epoch), "it is adopted")
        eventually(lambda: is_as_before(edge, worker["pid"], count), "all that was opened is closed")
        assert [clients_at(stand, number) for number in range(2)] == [1, 1]


# ---- documents


def test_retired_shard_tells_where_the_others_are(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """All shards of the document on disk are gone but one, which has left the topology and has the newer document."""
    stand = Shards([redis_factory() for _ in range(3)])
    first, second, third = stand.topology.shards
    stand.enforce(topology.Topology(epoch=2, virtual_nodes=64, shards=(first, second)), numbers=[0, 1])
    with running_edge(tmp_path / "edge", [stand.servers[0].url]):
        pass
    stand.servers[0].kill()
    stand.enforce(topology.Topology(epoch=3, virtual_nodes=64, shards=(third,)), numbers=[1, 2])
    stand.set_fence(1, "filling", epoch=3)
    stand.publish(2)
    stand.put_at(2, "abc", "https://example.com/")
    with running_edge(tmp_path / "edge", [stand.servers[0].url]) as edge:
        assert edge.get("/abc").location == "https://example.com/"
        assert edge.metric("epoch") == 3


def test_old_document_on_disk_is_believed_by_nobody_behind_a_newer_fence(shards: Shards, tmp_path: Path) -> None:
    """The shards tell the newer one as soon as there is a connection, and nothing is answered before."""
    code = moving_code(shards)
    shards.put_at(0, code, "https://old.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url]):
        pass
    step(shards, "steady", NEW)
    shards.put_at(1, code, "https://new.example/")
    with started_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        eventually(edge.admits, "it serves")
        for _ in range(50):
            assert edge.get(f"/{code}").location in ("https://new.example/", None)
        wait_for_epoch(shards)


def test_shard_with_an_older_document_changes_nothing(shards: Shards, tmp_path: Path) -> None:
    """A shard that nobody has told of the topology yet: its links are read, its absences are PostgreSQL's."""
    shards.enforce(shards.described(5, "steady", NEW))
    code, absent = shards.code_of(1), shards.code_of(1, "absent")
    shards.put(code, "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        held = shards.topology
        shards.enforce(shards.described(4, "steady", OLD), numbers=[1])
        shards.enforce(held, numbers=())
        eventually(lambda: edge.get(f"/{absent}").status == 503, "its absences are no longer final")
        assert edge.get(f"/{code}").location == "https://example.com/"
        assert (edge.metric("epoch"), acknowledged(shards)) == (5, {5})


def test_heartbeats_say_how_a_worker_does(shards: Shards, tmp_path: Path) -> None:
    """For the registry: its start, requests, hits, what it holds, and how slow a shard is for it."""
    shards.put("abc", "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        for _ in range(5):
            assert edge.get("/abc").status == 302

        def is_told() -> bool:
            told = shards.heartbeats()[0]
            return told is not None and (told.requests, told.hits, told.links) == (5, 4, 1)

        eventually(is_told, "the counts are told")
        told = shards.heartbeats()[0]
        assert told is not None
        assert told.started_ms > 1_700_000_000_000
        assert told.memory_bytes > 2**20
