"""Edge workers as all shards tell them, and waiting for those of several shards."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import redis
import structlog

from control.background import Background
from control.projection.acknowledgement import WAITS_MAX
from control.shards.edges import EDGES_MAX, Edges, EdgeWatch, ShardEdges
from tests.control.station import DEADLINE_S, shard_list
from tests.stack.server import RedisServer
from wire import heartbeat, keys
from wire.heartbeat import Heartbeat


def _beat(edge_id: str, sequence: int, epoch: int = 1, requests: int = 0) -> Heartbeat:
    return Heartbeat(edge_id=edge_id, build="test", epoch=epoch, sequence=sequence, requests=requests)


def _known(**beats: Heartbeat) -> ShardEdges:
    edges = ShardEdges(is_known=True)
    for edge_id, beat in beats.items():
        edges.take(edge_id, beat)
    return edges


def _edges(**by_shard: ShardEdges) -> Edges:
    edges = Edges()
    edges.by_shard.update(by_shard)
    return edges


def test_worker_is_seen_over_all_shards() -> None:
    """One entry for each id: the highest epoch, the latest heartbeat, and what it has applied of each shard."""
    old, new = ShardEdges(is_known=True), ShardEdges()
    old.take("a", _beat("a", 7, epoch=3, requests=10))
    old.take("b", _beat("b", 5, epoch=2))
    new.take("a", _beat("a", 9, epoch=2, requests=20))
    old.seen_ms["a"], new.seen_ms["a"] = 1000, 2000
    edges = _edges(old=old, new=new)
    first, second = edges.workers()
    assert (first.edge_id, first.epoch, first.heartbeat.requests) == ("a", 3, 20)
    assert [first.sequence(shard_id) for shard_id in ("old", "new", "other")] == [7, 9, 0]
    assert dict(first.seen_ms) == {"old": 1000, "new": 2000}
    assert (second.edge_id, second.epoch, set(second.by_shard)) == ("b", 2, {"old"})
    assert edges.unknown(["old", "new", "other"]) == ["new", "other"]
    new.take("a", None)
    assert set(edges.workers()[0].by_shard) == {"old"}
    old.forget()
    assert edges.workers() == []


def test_number_of_workers_is_bounded() -> None:
    """Of those that come when it is reached is known that they live, and no more; the others are heard on."""
    edges = ShardEdges()
    for number in range(EDGES_MAX + 1):
        edges.take(str(number), _beat(str(number), 1))
    assert len(edges.live) == EDGES_MAX
    assert edges.unread == {str(EDGES_MAX)}
    edges.take("0", _beat("0", 2))
    assert edges.live["0"].sequence == 2


async def _told(edges: Edges, numbers: dict[str, int], change: Callable[[], None]) -> tuple[bool, list[str], list[str]]:
    """What a waiting request is told when `change` has happened; nothing before."""
    waiting = asyncio.create_task(edges.wait(numbers, DEADLINE_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    change()
    applied = await waiting
    return applied.is_known, applied.acknowledged, applied.late


def test_edges_of_both_shards_are_waited_for() -> None:
    """An edge that is late at either is late; one without a heartbeat at a shard is not waited for there."""

    async def run() -> None:
        old = _known(a=_beat("a", 5), b=_beat("b", 5), c=_beat("c", 5))
        new = _known(a=_beat("a", 1), b=_beat("b", 3))
        edges = _edges(old=old, new=new)
        applied = await edges.wait({"old": 5, "new": 3}, 0.01)
        assert (applied.is_known, applied.acknowledged, applied.late) == (True, ["b", "c"], ["a"])

        def catch_up() -> None:
            new.take("a", _beat("a", 3))
            new.note_change(0.0)

        assert await _told(edges, {"old": 5, "new": 3}, catch_up) == (True, ["a", "b", "c"], [])

    asyncio.run(run())


def test_edge_that_comes_while_another_shard_is_waited_for_is_waited_for() -> None:
    """It is late at a shard of which all others were there already; its time is not over yet."""

    async def run() -> None:
        old, new = _known(a=_beat("a", 5)), _known(a=_beat("a", 1))
        edges = _edges(old=old, new=new)
        waiting = asyncio.create_task(edges.wait({"old": 5, "new": 3}, DEADLINE_S))
        await asyncio.sleep(0)
        old.take("b", _beat("b", 0))
        old.note_change(0.0)
        new.take("a", _beat("a", 3))
        new.note_change(0.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        old.take("b", _beat("b", 5))
        old.note_change(0.0)
        applied = await waiting
        assert (applied.is_known, applied.acknowledged, applied.late) == (True, ["a", "b"], [])

    asyncio.run(run())


def test_many_who_wait_for_many_edges_leave_the_loop_to_others() -> None:
    """A heartbeat wakes all of them; that they look at all workers each would take seconds."""

    async def run() -> None:
        live = _known(**{str(number): _beat(str(number), 5) for number in range(EDGES_MAX)})
        edges = _edges(only=live)
        waits = [asyncio.create_task(edges.wait({"only": 6}, DEADLINE_S)) for _ in range(WAITS_MAX)]
        await asyncio.sleep(0)
        began_s = time.monotonic()
        for _ in range(10):
            live.take("0", _beat("0", 6))
            live.note_change(0.0)
            await asyncio.sleep(0)
        assert time.monotonic() - began_s < 2.0
        live.forget()
        live.is_known = True
        live.note_change(0.0)
        assert all(applied.is_known and not applied.late for applied in await asyncio.gather(*waits))

    asyncio.run(run())


def test_shard_whose_edges_are_not_known_is_waited_for_until_it_leaves() -> None:
    """There may be edges of which nobody has heard; when the shard leaves the topology, they do not matter."""

    async def run() -> None:
        edges = _edges(old=_known(a=_beat("a", 5)), new=ShardEdges())
        assert not (await edges.wait({"old": 5, "new": 3}, 0.01)).is_known
        assert await _told(edges, {"old": 5, "new": 3}, lambda: edges.drop("new")) == (True, ["a"], [])

    asyncio.run(run())


@asynccontextmanager
async def _watching(servers: list[RedisServer]) -> AsyncIterator[Edges]:
    background, edges = Background(structlog.get_logger()), Edges()
    for shard in shard_list(servers):
        background.start(shard.id, EdgeWatch(shard, edges.of(shard.id)).run)
    try:
        yield edges
    finally:
        await background.stop()


async def _eventually(check: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not check():  # noqa: ASYNC110  (another process gives no signal)
            await asyncio.sleep(0.005)
    assert check(), what


def test_keys_that_are_no_edges_hold_up_nobody(shards: list[RedisServer]) -> None:
    """Names that are no text, values of another kind, documents that say nothing sensible; and after a flush."""

    async def run() -> None:
        with redis.Redis.from_url(shards[0].url) as client:
            client.set(keys.EDGE_PREFIX + b"\xff\xfe", b"x")
            client.set(keys.EDGE_PREFIX + "straße".encode(), heartbeat.encode(_beat("a", 1)))
            client.hset(keys.EDGE_PREFIX + b"hash", "a", "b")
            for number, data in enumerate((b"", b"2", b"2[]", b"2{}", b"2" + b"[" * 5000, b"\xff")):
                client.set(keys.edge_key(f"odd-{number}"), data)
            client.set(keys.edge_key("good"), heartbeat.encode(_beat("good", 1)))
            async with _watching(shards[:1]) as edges:
                await _eventually(lambda: edges.of("shard-0").is_known, "known")
                assert list(edges.of("shard-0").live) == ["good"]
                assert edges.of("shard-0").unread == {f"odd-{number}" for number in range(6)}
                client.flushall()
                await _eventually(lambda: not edges.workers() and not edges.of("shard-0").unread, "all are gone")
                client.set(keys.edge_key("good"), heartbeat.encode(_beat("good", 2)))
                await _eventually(edges.workers, "heard again")

    asyncio.run(run())


def test_workers_come_and_go_as_the_shards_say(shards: list[RedisServer]) -> None:
    """A heartbeat on one shard is enough to be there; a shard that does not answer is one whose edges are unknown."""
    ids = ["shard-0", "shard-1"]

    def put(server: RedisServer, beat: Heartbeat) -> None:
        with redis.Redis.from_url(server.url) as client:
            client.set(keys.edge_key(beat.edge_id), heartbeat.encode(beat))

    async def run() -> None:
        put(shards[0], _beat("early", 4))
        async with _watching(shards) as edges:
            await _eventually(lambda: not edges.unknown(ids), "both known")
            assert [worker.edge_id for worker in edges.workers()] == ["early"]
            put(shards[1], _beat("late", 6, epoch=2))
            await _eventually(lambda: len(edges.workers()) == 2, "the other one is heard")
            assert edges.workers()[1].epoch == 2
            shards[1].kill()
            await _eventually(lambda: edges.unknown(ids) == ["shard-1"], "unknown while it is away")
            assert [worker.edge_id for worker in edges.workers()] == ["early"]
            shards[1].start()
            await _eventually(lambda: not edges.unknown(ids), "known again")
            with redis.Redis.from_url(shards[0].url) as client:
                client.delete(keys.edge_key("early"))
            await _eventually(lambda: "early" not in [worker.edge_id for worker in edges.workers()], "it is gone")

    asyncio.run(run())
