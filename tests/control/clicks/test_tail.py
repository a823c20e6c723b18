"""The live tail: from the process that stores clicks, over the shards, to clients of the API."""

import asyncio
import json
import select
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import pytest
import redis
import structlog

from control.background import Background, Run
from control.clicks import audience, events, tail
from control.clicks.audience import Event, Follower, Wanted
from control.clicks.tail import SAMPLES_PER_S_MAX, Tail
from control.db import Database
from control.metrics import Metrics
from control.shards.connection import connect
from tests.control.clicks.depot import Segment, send
from tests.control.station import DEADLINE_S, Station, eventually, prepare, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys

STREAMS = 'pointsman_control_streams{route="followClicks"}'
SLOW = 'pointsman_click_tail_skipped_total{reason="slow"}'


def _sample(link_id: int | None, **members: Any) -> dict[str, Any]:
    return {"at_ms": 1, "link_id": link_id, "domain_id": 1, "code": None, "class": "human"} | members


def _publish(server: RedisServer, *samples: dict[str, Any], skipped: int = 0) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.publish(keys.CLICKS_TAIL, tail.encode(samples, skipped))


class Client:
    """Somebody who follows."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def event(self) -> tuple[str, dict[str, Any]]:
        """The next event; heartbeats are passed over."""
        name = ""
        for line in self._lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return name, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream has ended")

    def wait_end(self) -> None:
        """Read to the end, which there must be: what is torn off raises."""
        for _ in self._lines:
            pass

    def wait_heard(self, shards: int) -> None:
        """Read until so many shards are heard."""
        heard: set[str] = set()
        while len(heard) < shards:
            name, data = self.event()
            assert name == "shard"
            (heard.add if data["is_heard"] else heard.discard)(data["shard"])


@contextmanager
def _following(station: Station, query: str = "", shards: int = 2) -> Iterator[Client]:
    with station.client.stream("GET", f"/api/v1/clicks/tail{query}") as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        client = Client(response)
        client.wait_heard(shards)
        yield client


def test_a_click_is_told_with_the_name_of_its_link(station: Station, shards: list[RedisServer]) -> None:
    """Whichever shard it comes through; and a code that does not exist as it was asked for."""
    link = station.create("https://a.example/", code="abc")
    with _following(station) as client:
        for server in shards:
            _publish(server, _sample(link["id"]))
            name, data = client.event()
            assert (name, data["domain"], data["code"]) == ("click", "go.example", "abc")
        _publish(shards[0], _sample(None, code="wp-login"))
        assert client.event()[1]["code"] == "wp-login"
        _publish(shards[0], _sample(999))
        assert client.event()[1]["code"] is None


def test_a_click_is_told_when_it_is_stored(station: Station, shards: list[RedisServer]) -> None:
    """From an edge's frame on a stream, by the process that counts it."""
    link = station.create("https://a.example/", code="abc")
    with _following(station, "?code=abc") as client:
        send(shards[0], Segment().cut([link["id"]]))
        name, data = client.event()
        assert (name, data["code"], data["class"], data["browser"]) == ("click", "abc", "human", "Firefox")
    answer = station.client.get("/api/v1/links/abc/clicks").json()
    assert (answer["total"], answer["humans"]) == (1, 1)


def test_a_follower_hears_what_it_asked_for(station: Station, shards: list[RedisServer]) -> None:
    """One link, or one domain."""
    link = station.create("https://a.example/", code="abc")
    with _following(station, "?code=abc") as one, _following(station, "?domain=go.example") as domain:
        _publish(shards[0], _sample(link["id"], number=2), _sample(77, number=1), _sample(8, domain_id=2, number=0))
        assert one.event()[1]["number"] == 2
        assert [domain.event()[1]["number"] for _ in range(2)] == [1, 2], "in the order of the clicks"


@pytest.mark.parametrize(
    ("query", "code"),
    [("?code=none", "link_not_found"), ("?domain=none.example", "domain_not_found"), ("?cod=a", "query_invalid")],
)
def test_what_cannot_be_followed_is_a_problem(station: Station, query: str, code: str) -> None:
    """Before anything is streamed."""
    assert station.client.get(f"/api/v1/clicks/tail{query}").json()["code"] == code


def test_what_the_publisher_left_out_is_said(station: Station, shards: list[RedisServer]) -> None:
    """With its number and reason."""
    with _following(station) as client:
        _publish(shards[0], _sample(7), skipped=41)
        assert client.event()[0] == "click"
        assert client.event() == ("skipped", {"clicks": 41, "reason": "rate"})


def test_a_message_that_cannot_be_read_is_passed_over(station: Station, shards: list[RedisServer]) -> None:
    """A newer process's, for instance; and the next one is told."""
    with _following(station) as client, redis.Redis.from_url(shards[0].url) as publisher:
        for message in (b"", b"9{}", b"1[]", b'1{"clicks":1,"skipped":0}', b'1{"clicks":[1],"skipped":0}'):
            publisher.publish(keys.CLICKS_TAIL, message)
        _publish(shards[0], _sample(7, number=5))
        assert client.event()[1]["number"] == 5


def test_a_lost_shard_is_said_and_heard_again(station: Station, shards: list[RedisServer]) -> None:
    """Its clicks are missing meanwhile; they are stored all the same."""
    with _following(station) as client:
        shards[1].kill()
        assert client.event() == ("shard", {"shard": "shard-1", "is_heard": False})
        shards[1].start()
        assert client.event() == ("shard", {"shard": "shard-1", "is_heard": True})
        _publish(shards[1], _sample(7, number=5))
        assert client.event()[1]["number"] == 5


def test_silence_ends_no_subscription(station: Station, shards: list[RedisServer]) -> None:
    """A shard over which nothing comes for seconds is asked whether it is there, and heard on."""
    with _following(station) as client, redis.Redis.from_url(shards[0].url) as shard:
        eventually(
            lambda: [int(one["age"]) >= 3 for one in shard.client_list("pubsub")] == [True], "three silent seconds"
        )
        _publish(shards[0], _sample(7, number=5))
        name, data = client.event()
        assert (name, data.get("number")) == ("click", 5)


def test_a_shard_that_hangs_is_said(station: Station, shards: list[RedisServer]) -> None:
    """It is still connected, but does not answer."""
    with _following(station) as client:
        shards[1].pause()
        try:
            assert client.event() == ("shard", {"shard": "shard-1", "is_heard": False})
        finally:
            shards[1].resume()
        assert client.event() == ("shard", {"shard": "shard-1", "is_heard": True})


def test_a_slow_reader_is_told_how_much_it_missed(station: Station, shards: list[RedisServer]) -> None:
    """Its queue is bounded; what does not fit is counted, and the others are not held up."""
    request = f"GET /api/v1/clicks/tail HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {station.key}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", station.port)) as slow, _following(station) as quick:
        slow.sendall(request.encode())
        eventually(lambda: station.metric(STREAMS) == 2, "both follow")
        many = [_sample(7, filling="x" * 2000) for _ in range(300)]

        def is_full() -> bool:
            _publish(shards[0], *many)
            for _ in many:
                quick.event()
            return station.metric(SLOW) > 0

        eventually(is_full, "the slow reader's queue is full")
        slow.settimeout(DEADLINE_S)
        read = b""
        while b'"reason":"slow"' not in read[-200_000:]:
            read += slow.recv(1 << 20)
        assert b"event: skipped" in read


def test_a_client_that_goes_is_forgotten(station: Station, shards: list[RedisServer]) -> None:
    """At once, and with the last one the subscriptions end."""
    with _following(station):
        assert station.metric(STREAMS) == 1
    eventually(lambda: station.metric(STREAMS) == 0, "nobody follows")

    def listeners() -> int:
        with redis.Redis.from_url(shards[0].url) as client:
            return int(client.pubsub_numsub(keys.CLICKS_TAIL)[0][1])

    eventually(lambda: listeners() == 0, "no subscription is left")


class Watched(Background):
    """Remembers what was started."""

    def __init__(self) -> None:
        super().__init__(structlog.get_logger())
        self.started: list[str] = []

    def start(self, name: str, run: Run) -> None:
        """Note the name, and start."""
        self.started.append(name)
        super().start(name, run)


def test_a_follower_that_goes_while_shards_are_looked_up_leaves_nothing(
    database_url: str, shards: list[RedisServer]
) -> None:
    """The last one is gone when the answer of PostgreSQL comes: what is begun then ends at once."""
    prepare(database_url, shards)

    async def until(is_true: Callable[[], Awaitable[Any]]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not await is_true():
                pass

    async def run(database: Database) -> None:
        background = Watched()
        followed = audience.Audience(database, background, Metrics())
        blocker = await asyncpg.connect(database_url)
        await blocker.execute("BEGIN")
        await blocker.execute("LOCK TABLE topologies IN ACCESS EXCLUSIVE MODE")
        background.start("audience", followed.run)
        async with followed.join(Wanted()):
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'topologies'::regclass AND NOT granted"
            await until(lambda: blocker.fetchval(waiting))
        await blocker.execute("ROLLBACK")

        async def has_looked() -> bool:
            return await blocker.fetchval("SELECT true") and "tail shard-1" in background.started

        async def has_left() -> bool:
            return await blocker.fetchval("SELECT true") and set(background.pulses) == {"audience"}

        await until(has_looked)
        await until(has_left)
        await background.stop()
        await blocker.close()

    with_database(database_url, run)


def test_followers_are_bounded(station: Station) -> None:
    """One too many gets a problem, and room is made by one who goes."""
    request = f"GET /api/v1/clicks/tail HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {station.key}\r\n\r\n".encode()
    followers = [socket.create_connection(("127.0.0.1", station.port)) for _ in range(audience.FOLLOWERS_MAX)]
    for follower in followers:
        follower.sendall(request)
    eventually(lambda: station.metric(STREAMS) == audience.FOLLOWERS_MAX, "all follow")
    answer = station.client.get("/api/v1/clicks/tail")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_tails")
    for follower in followers:
        follower.close()
    eventually(lambda: station.metric(STREAMS) == 0, "nobody follows")
    with _following(station):
        pass


def test_a_stop_of_control_ends_the_tail(station: Station) -> None:
    """In time, and with the end of the answer: the client may come again."""
    with _following(station) as client:
        station.server.stop()
        client.wait_end()
    assert "is_in_time=True" in station.log.read_text()


def test_a_tail_that_nobody_hears_is_not_published(redis_factory: RedisFactory) -> None:
    """A shard is asked once a second at most, and not told of any click."""
    server = redis_factory()

    async def run() -> tuple[int, int]:
        connection = await connect("shard-0", server.url)
        publisher = Tail()
        for _ in range(100):
            await publisher.offer(connection, 1, lambda _: [_sample(7)])
        await connection.close()
        with redis.Redis.from_url(server.url) as client:
            stats: Any = client.info("commandstats")
            return stats.get("cmdstat_pubsub|numsub", {}).get("calls", 0), stats.get("cmdstat_publish", {}).get(
                "calls", 0
            )

    asked, published = asyncio.run(run())
    assert published == 0
    assert 1 <= asked < 100


def test_a_tail_has_a_highest_rate(redis_factory: RedisFactory) -> None:
    """The newest are published, and how many more there were."""
    server = redis_factory()
    with redis.Redis.from_url(server.url) as client, client.pubsub() as heard:
        heard.subscribe(keys.CLICKS_TAIL)
        assert heard.get_message(timeout=DEADLINE_S)["type"] == "subscribe"

        async def run() -> None:
            connection = await connect("shard-0", server.url)
            publisher = Tail()
            await publisher.offer(connection, SAMPLES_PER_S_MAX + 30, lambda count: list(map(_sample, range(count))))
            await publisher.offer(connection, 1, lambda _: [_sample(1)])
            await connection.execute("PUBLISH", keys.CLICKS_TAIL, b"end")
            await connection.close()

        asyncio.run(run())
        samples, skipped = tail.decode(heard.get_message(timeout=DEADLINE_S)["data"])
        assert [sample["link_id"] for sample in samples] == list(range(SAMPLES_PER_S_MAX))
        assert skipped == 30
        assert heard.get_message(timeout=DEADLINE_S)["data"] == b"end"


def test_what_no_message_came_of_is_said_with_the_next(
    redis_factory: RedisFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that come when a second's samples are spent are counted all the same."""
    server = redis_factory()
    with redis.Redis.from_url(server.url) as client, client.pubsub() as heard:
        heard.subscribe(keys.CLICKS_TAIL)
        assert heard.get_message(timeout=DEADLINE_S)["type"] == "subscribe"

        async def run() -> None:
            connection = await connect("shard-0", server.url)
            publisher = Tail()
            for count in (SAMPLES_PER_S_MAX + 30, 400, 12):
                await publisher.offer(connection, count, lambda count: list(map(_sample, range(count))))
            monkeypatch.setattr(tail, "_WINDOW_S", 0.0)
            await publisher.offer(connection, 1, lambda _: [_sample(1)])
            await connection.close()

        asyncio.run(run())
        messages = [tail.decode(heard.get_message(timeout=DEADLINE_S)["data"]) for _ in range(2)]
        assert [(len(samples), skipped) for samples, skipped in messages] == [(SAMPLES_PER_S_MAX, 30), (1, 412)]


def test_silence_has_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment, so that no proxy takes the connection for dead; and after its time the stream ends with an event."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(events, "STREAM_S_MAX", 0.1)

    async def run() -> list[bytes]:
        nobody: Any = None
        return [chunk async for chunk in events.events(audience.Audience(nobody, nobody, nobody), Wanted())]

    first, *beats, last = asyncio.run(run())
    assert first == b"retry: 2000\n\n"
    assert beats
    assert set(beats) == {b": alive\n\n"}
    assert last == b'event: end\ndata: {"reason":"time"}\n\n'


def test_a_queue_is_bounded() -> None:
    """What it has room for is kept in order."""
    follower = Follower(Wanted())
    given = [follower.give(Event("click", {"number": number})) for number in range(audience.QUEUE_EVENTS_MAX + 3)]
    assert given.count(False) == 3
    taken = asyncio.run(follower.take(0))
    assert [event.data["number"] for event in taken] == list(range(audience.QUEUE_EVENTS_MAX))
    assert follower.give(Event("click", {}))


def test_a_half_closed_connection_counts_as_gone(station: Station) -> None:
    """Nothing will be asked over it any more."""
    request = f"GET /api/v1/clicks/tail HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {station.key}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", station.port)) as client:
        client.sendall(request)
        eventually(lambda: station.metric(STREAMS) == 1, "it follows")
        client.shutdown(socket.SHUT_WR)
        assert select.select([client], [], [], DEADLINE_S)[0]
        eventually(lambda: station.metric(STREAMS) == 0, "it is gone")
