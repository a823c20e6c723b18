"""A shard that is alive and slow: its breaker opens, nobody waits for it any more, and it closes again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.edge.stand import Edge, Shards, eventually, insert_link, migrate, running_edge
from tests.stack.fixtures import RedisFactory

STALL_MS = 400
# Look-ups are overdue within a stall, pings are not.
SETTINGS = {"reply_timeout_ms": 100, "ping_timeout_ms": 3000}


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two whole shards."""
    return Shards([redis_factory() for _ in range(2)])


@contextmanager
def slowed(shards: Shards, number: int) -> Iterator[None]:
    """A shard that stands still for STALL_MS again and again, by its own clock, and answers in between."""
    is_over = threading.Event()

    def stall() -> None:
        with shards.client(number) as client:
            while not is_over.is_set():
                client.client_pause(STALL_MS, all=True)
                client.ping()  # is answered when the stall ends

    thread = threading.Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def mget_calls(shards: Shards, number: int) -> int:
    """How many MGETs the shard has answered."""
    with shards.client(number) as client:
        return int(client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])


def breakers(edge: Edge, state: str) -> int:
    """How many workers' breakers of the first shard are in the state."""
    return edge.metric("shard_breakers", f'{{shard="shard-0",state="{state}"}}')


def openings(edge: Edge) -> int:
    """How often they came into the state open."""
    return edge.metric("shard_breaker_transitions_total", '{shard="shard-0",to="open"}')


def test_slow_shard_is_left_alone_and_taken_back(shards: Shards, database_url: str, tmp_path: Path) -> None:
    """While the breaker is open its links come from PostgreSQL without a look-up; the other shard is not touched."""
    migrate(database_url)
    hot, other = shards.code_of(0, "hot"), shards.code_of(1, "other")
    cold = [code for code in (f"cold{n}" for n in range(2000)) if shards.owner(code) == 0]
    codes = iter(cold)
    for code in (hot, other):
        shards.put(code, f"https://shard.example/{code}")
    insert_link(database_url, "unused", "https://origin.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=database_url, **SETTINGS) as edge:
        assert edge.get(f"/{hot}").status == 302

        def opened_often() -> bool:
            # Not one 503 on the way: whatever the shard does, PostgreSQL says that there is no such link (I5).
            assert edge.get(f"/{next(codes)}").status == 404
            return openings(edge) >= 3 and breakers(edge, "open") == 1

        with slowed(shards, 0):
            eventually(opened_often, "the breaker has opened, for a second or more by now")
            asked, from_origin = mget_calls(shards, 0), edge.metric("answers_by_tier_total", '{tier="origin"}')
            timeouts = edge.metric("shard_timeouts_total")
            answers = [edge.get(f"/{next(codes)}").status for _ in range(5)]
            assert (answers, breakers(edge, "open")) == ([404] * 5, 1)
            assert edge.metric("answers_by_tier_total", '{tier="origin"}') == from_origin + 5
            assert (mget_calls(shards, 0), edge.metric("shard_timeouts_total")) == (asked, timeouts)
            assert edge.get(f"/{hot}").location == f"https://shard.example/{hot}"
            assert edge.metric("answers_by_tier_total", '{tier="l1"}') >= 1
            assert edge.get(f"/{other}").location == f"https://shard.example/{other}"
            assert edge.workers()[0]["shards_trusted"] == 2

        def is_closed() -> bool:
            assert edge.get(f"/{next(codes)}").status == 404
            return breakers(edge, "closed") == 1

        eventually(is_closed, "the breaker is closed again")
        asked = mget_calls(shards, 0)
        assert edge.get(f"/{next(codes)}").status == 404
        assert mget_calls(shards, 0) == asked + 1


def test_one_stall_opens_nothing(shards: Shards, database_url: str, tmp_path: Path) -> None:
    """A fork or a slow disk, once: what is overdue comes from PostgreSQL, however much it is, and the shard is kept."""
    migrate(database_url)
    codes = [code for code in (f"cold{n}" for n in range(100)) if shards.owner(code) == 0]
    insert_link(database_url, "unused", "https://origin.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=database_url, **SETTINGS) as edge:
        with shards.client(0) as client:
            client.client_pause(STALL_MS, all=True)
            assert {edge.get(f"/{code}").status for code in codes[:20]} == {404}
            client.ping()
        assert edge.metric("shard_timeouts_total") >= 1
        eventually(lambda: edge.workers()[0]["shards_trusted"] == 2, "the stall is over")
        assert openings(edge) == 0


def test_slow_shard_without_an_origin_is_503_and_not_404(shards: Shards, tmp_path: Path) -> None:
    """I5: an open breaker is no authority."""
    codes = iter([code for code in (f"cold{n}" for n in range(2000)) if shards.owner(code) == 0])
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **SETTINGS) as edge, slowed(shards, 0):

        def is_refused_by_the_breaker() -> bool:
            is_open = breakers(edge, "open") == 1
            return edge.get(f"/{next(codes)}").status == 503 and is_open and breakers(edge, "open") == 1

        eventually(is_refused_by_the_breaker, "the breaker is open and nobody else knows")


def test_latency_of_a_slow_shard_is_measured(shards: Shards, tmp_path: Path) -> None:
    """The histogram has a look-up's whole time, though nobody waited for its end."""
    code = shards.code_of(0)
    shards.put(code, "https://shard.example/")
    settings = SETTINGS | {"ttl_ms": 1}  # what L1 holds is compared with its shard now and then: another look-up
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:

        def count(le: str) -> int:
            return edge.metric("shard_lookup_seconds_bucket", f'{{shard="shard-0",le="{le}"}}')

        assert edge.get(f"/{code}").status == 302
        assert edge.metric("shard_lookup_seconds_count", '{shard="shard-0"}') == 1
        fast = count("0.25")
        with shards.client(0) as client:
            client.client_pause(STALL_MS, all=True)
            assert edge.get(f"/{shards.code_of(0, 'late')}").status == 503
        eventually(lambda: edge.metric("shard_lookup_seconds_count", '{shard="shard-0"}') == 2, "the reply has come")
        assert (count("0.25"), count("+Inf")) == (fast, 2)
        assert edge.metric("shard_lookup_seconds_count", '{shard="shard-1"}') == 0
