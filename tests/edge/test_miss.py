"""The miss: one look-up for a herd, one MGET for a loop turn, bounds that reject instead of queueing."""

import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge, stalled
from tests.stack.fixtures import RedisFactory

CLIENTS = 60
HERD = 10_000


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard."""
    return Shards([redis_factory()])


@contextmanager
def waiting_clients(edge: Edge, codes: list[str]) -> Iterator[list[socket.socket]]:
    """Connections that have each sent a request for one of the codes."""
    with ExitStack() as stack:
        clients = []
        for code in codes:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S))
            client.sendall(f"GET /{code} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            clients.append(client)
        yield clients


def read_all(client: socket.socket) -> bytes:
    """Everything until the edge closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def mget_calls(shards: Shards) -> int:
    """How many MGETs the shard has answered."""
    with shards.client(0) as client:
        return int(client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])


def test_herd_for_one_cold_link_makes_one_lookup(shards: Shards, tmp_path: Path) -> None:
    """All that come while the look-up is under way wait for it."""
    shards.put("cold", "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], reply_timeout_ms=5000, ping_timeout_ms=9000) as edge:
        before = mget_calls(shards)
        with stalled(shards.servers[0]) as resume, waiting_clients(edge, ["cold"] * CLIENTS) as clients:
            eventually(lambda: edge.metric("flights_joined_total") == CLIENTS - 1, "all have joined")
            resume()
            answers = [read_all(client) for client in clients]
        assert all(answer.startswith(b"HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\n") for answer in answers)
        assert mget_calls(shards) == before + 1


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for a herd's sockets here and, inherited, in the edge."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HERD + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the hard limit of open files is {hard}; {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
def test_herd_of_ten_thousand_makes_one_lookup(shards: Shards, tmp_path: Path) -> None:
    """10,000 connections at once, one cold link: Redis is asked once, and every one is answered rightly."""
    shards.put("cold", "https://example.com/")
    # Nothing stays in L1, so that no inspection asks for it.
    settings = {"reply_timeout_ms": 60_000, "ping_timeout_ms": 60_000, "client_connections_max": HERD, "ttl_ms": 1}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        before = mget_calls(shards)
        with stalled(shards.servers[0]) as resume, waiting_clients(edge, ["cold"] * HERD) as clients:
            eventually(lambda: edge.metric("flights_joined_total") == HERD - 1, "all have joined")
            eventually(lambda: edge.metric("waiters") == HERD, "all wait")
            assert edge.metric("flights", '{kind="miss"}') == 1
            resume()
            answers = {read_all(client).partition(b"\r\nCache-Control")[0] for client in clients}
        assert answers == {b"HTTP/1.1 302 Found\r\nLocation: https://example.com/"}
        assert edge.metric("answers_by_tier_total", '{tier="shard"}') == HERD
        assert mget_calls(shards) == before + 1
        eventually(lambda: edge.metric("waiters") == edge.metric("flights", '{kind="miss"}') == 0, "nobody waits")


def test_misses_of_one_loop_turn_go_out_as_one_mget(shards: Shards, tmp_path: Path) -> None:
    """Requests for different links that are read together are looked up together."""
    codes = [f"c{n}" for n in range(CLIENTS)]
    for code in codes:
        shards.put(code, f"https://example.com/{code}")
    settings = {"reply_timeout_ms": 5000, "ping_timeout_ms": 9000}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        # The connections are open before the worker sleeps, so that on waking it reads all requests in one turn.
        with ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S)) for _ in codes
            ]
            eventually(lambda: edge.metric("connections_opened_total") >= CLIENTS, "all are accepted")
            before = mget_calls(shards)
            pid = edge.workers()[0]["pid"]
            os.kill(pid, signal.SIGSTOP)
            for client, code in zip(clients, codes, strict=True):
                client.sendall(f"GET /{code} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            os.kill(pid, signal.SIGCONT)
            answers = [read_all(client) for client in clients]
        for code, answer in zip(codes, answers, strict=True):
            assert f"Location: https://example.com/{code}\r\n".encode() in answer
        assert mget_calls(shards) - before <= CLIENTS // 10


def test_full_flight_table_rejects_at_once(shards: Shards, tmp_path: Path) -> None:
    """With flights_max look-ups under way the next cold link is 503; hits go on."""
    shards.put("hot", "https://example.com/")
    settings = {"flights_max": 5, "reply_timeout_ms": 5000, "ping_timeout_ms": 9000}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        assert edge.get("/hot").status == 302
        codes = [f"cold{n}" for n in range(5)]
        with stalled(shards.servers[0]) as resume, waiting_clients(edge, codes) as clients:
            eventually(lambda: edge.get("/cold-more").status == 503, "the table is full")
            assert edge.get("/hot").status == 302
            assert edge.metric("flights_rejected_total") >= 1
            resume()
            assert all(read_all(client).startswith(b"HTTP/1.1 404") for client in clients)


def test_client_that_leaves_while_it_waits_harms_nobody(shards: Shards, tmp_path: Path) -> None:
    """The look-up of a client that has gone is still good for those that stayed."""
    shards.put("cold", "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], reply_timeout_ms=5000, ping_timeout_ms=9000) as edge:
        with stalled(shards.servers[0]) as resume, waiting_clients(edge, ["cold"]) as (staying,):
            with waiting_clients(edge, ["cold"] * 10):
                eventually(lambda: edge.metric("flights_joined_total") == 10, "all have joined")
            resume()
            assert read_all(staying).startswith(b"HTTP/1.1 302")
        assert edge.get("/cold").status == 302
