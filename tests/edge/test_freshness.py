"""I4: changes reach L1 by push; when the push channel is not proven alive, L1 is not trusted."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.edge.stand import Edge, Shards, eventually, insert_link, migrate, running_edge, stalled
from tests.stack.fixtures import RedisFactory
from wire import heartbeat, keys


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two whole shards."""
    return Shards([redis_factory() for _ in range(2)])


@pytest.fixture
def edge(shards: Shards, tmp_path: Path) -> Iterator[Edge]:
    """An edge with two workers, without an origin."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as running:
        yield running


def ask_all(edge: Edge, path: str) -> set[tuple[int, str | None]]:
    """The answers to enough connections that each worker has had some."""
    return {(answer.status, answer.location) for answer in (edge.get(path) for _ in range(24))}


def wait_for_sleep(client: redis.Redis, key: bytes, slept_ms: int) -> None:
    """Wait until the key has aged by so much more."""
    started = client.pttl(key)
    eventually(lambda: started - client.pttl(key) > slept_ms, "the trust has run out")


def wait_for_location(edge: Edge, code: str, location: str) -> None:
    """Wait until the code redirects there."""
    eventually(lambda: edge.get(f"/{code}").location == location, f"{location} is served")


def test_change_is_pushed_to_every_worker(edge: Edge, shards: Shards) -> None:
    """A cached link that changes, is deleted, and comes back."""
    shards.put("abc", "https://one.example/")
    assert ask_all(edge, "/abc") == {(302, "https://one.example/")}
    shards.put("abc", "https://two.example/", version=2)
    eventually(lambda: ask_all(edge, "/abc") == {(302, "https://two.example/")}, "the change is seen")
    shards.delete("abc")
    eventually(lambda: ask_all(edge, "/abc") == {(404, None)}, "the deletion is seen")
    shards.put("abc", "https://three.example/", version=10)
    eventually(lambda: ask_all(edge, "/abc") == {(302, "https://three.example/")}, "the new link is seen")


def test_cached_absence_ends_when_the_link_is_created(edge: Edge, shards: Shards) -> None:
    """A 404 that is in L1 does not outlive the link's creation."""
    assert ask_all(edge, "/new") == {(404, None)}
    assert edge.metric("l1_entries", '{kind="absence"}') >= 0
    shards.put("new", "https://example.com/")
    eventually(lambda: ask_all(edge, "/new") == {(302, "https://example.com/")}, "the link is seen")


def test_flushed_shard_is_distrusted_whole(edge: Edge, shards: Shards) -> None:
    """FLUSHALL drops the fence with the links: nothing is answered from L1, and no 404 is said without an origin."""
    code = shards.code_of(0)
    shards.put(code, "https://example.com/")
    assert edge.get(f"/{code}").status == 302
    with shards.client(0) as client:
        client.flushall()
    never_seen = shards.code_of(0, prefix="never")
    eventually(lambda: edge.get(f"/{never_seen}").status == 503, "an absence at an unfenced shard is no 404")


def test_worker_that_slept_does_not_answer_from_the_past(shards: Shards, tmp_path: Path) -> None:
    """SIGSTOP across a change: a request that waited in the socket gets the new target when the worker wakes.

    1. The link is in L1. 2. The worker sleeps until its trust has run out. 3. The link changes; the push waits in the
    worker's socket, as does a client's request. 4. The worker wakes and may see the request first.
    """
    settings = {"ping_timeout_ms": 300, "reply_timeout_ms": 200, "ping_interval_ms": 50}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], workers=1, **settings) as edge:
        (worker,) = edge.workers()
        for change in range(1, 11):
            code = shards.code_of(change % 2, prefix=f"c{change}-")
            shards.put(code, "https://old.example/")
            assert edge.get(f"/{code}").location == "https://old.example/"
            os.kill(worker["pid"], signal.SIGSTOP)
            try:
                with shards.client(change % 2) as client:
                    key = keys.edge_key("test.0")
                    # Redis's own clock says when the worker has slept for longer than it trusts anything.
                    wait_for_sleep(client, key, 400)
                shards.put(code, "https://new.example/", version=2)
            finally:
                os.kill(worker["pid"], signal.SIGCONT)
            assert edge.get(f"/{code}").location in ("https://new.example/", None)
            wait_for_location(edge, code, "https://new.example/")


def test_stalled_shard_is_noticed_and_bypassed(shards: Shards, tmp_path: Path, database_url: str) -> None:
    """A shard that hangs without closing anything costs each request its reply timeout at most; then it is bypassed."""
    migrate(database_url)
    code = shards.code_of(1)
    insert_link(database_url, code, "https://origin.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], origin_url=database_url) as edge:
        shards.put(code, "https://shard.example/")
        assert edge.get(f"/{code}").location == "https://shard.example/"
        with stalled(shards.servers[1]):
            eventually(lambda: edge.get(f"/{code}").location == "https://origin.example/", "PostgreSQL answers")
            eventually(lambda: edge.metric("shard_timeouts_total") >= 1, "the silence is counted")
            eventually(lambda: edge.workers()[0]["shards_trusted"] == 1, "the shard is not trusted")
        eventually(lambda: edge.get(f"/{code}").location == "https://shard.example/", "the shard is used again")


def test_sequence_is_acknowledged_after_its_pushes(edge: Edge, shards: Shards) -> None:
    """Each worker writes into its heartbeat the highest pm:seq whose invalidations it has applied."""
    with shards.client(0) as client:
        for sequence in range(1, 20):
            client.set(keys.SEQUENCE, sequence)

        def applied() -> list[int]:
            values = client.mget([keys.edge_key(f"test.{worker}") for worker in range(2)])
            return [heartbeat.decode(value).sequence for value in values if value is not None]

        eventually(lambda: applied() == [19, 19], "both workers have acknowledged")


def test_heartbeat_comes_before_the_first_answer_and_expires(shards: Shards, tmp_path: Path) -> None:
    """Control knows of a worker before any client does, and forgets one that is gone."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]):
        for number in range(2):
            with shards.client(number) as client:
                value = client.get(keys.edge_key("test.0"))
                assert value is not None
                assert heartbeat.decode(value).epoch == 1
                assert 0 < client.pttl(keys.edge_key("test.0")) <= heartbeat.EXPIRES_MS
