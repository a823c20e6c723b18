"""No click is lost without a count: workers are killed under load, disks are full, the backlog reaches its bound."""

import os
import random
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.edge.clickbook import recorded, recover_all, reports
from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge
from tests.stack.fixtures import RedisFactory

REQUEST: Final = f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: test\r\n\r\n".encode()
UNKNOWN: Final = REQUEST.replace(b"/abc", b"/none")
SEGMENT: Final = 65_536
WORKERS: Final = 4
KILLS: Final = 12
SEED: Final = 4


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One shard with one link."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/", link_id=7)
    return made


class Clients:
    """Clients that ask for one link without a pause, each over a connection that it opens again when it is lost."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.unanswered = 0  # requests sent whose answer did not come: nobody can know what became of them
        self._port = port
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def end(self) -> None:
        """Let every client finish the request that it is at."""
        self._ending.set()

    def wait_for(self, count: int) -> None:
        """Until so many more answers have come."""
        until = self.answers + count
        eventually(lambda: self.answers >= until, "clients are answered")

    def ask(self) -> None:
        """One client, until the end."""
        while not self._ending.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), DEADLINE_S) as connection:
                    self._ask_on(connection)
            except OSError:
                continue  # a connection that was not made: nothing was asked on it

    def _ask_on(self, connection: socket.socket) -> None:
        while not self._ending.is_set():
            answer = b""
            try:
                connection.sendall(REQUEST)
                while b"\r\n\r\n" not in answer:
                    received = connection.recv(65_536)
                    if not received:
                        raise ConnectionError
                    answer += received
            except OSError:
                with self._lock:
                    self.unanswered += 1
                return
            assert answer.startswith(b"HTTP/1.1 302 ")
            with self._lock:
                self.answers += 1


@contextmanager
def asking(port: int, count: int) -> Iterator[Clients]:
    """So many clients, until the end of the block."""
    clients = Clients(port)
    threads = [threading.Thread(target=clients.ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.end()
        for thread in threads:
            thread.join()


def test_workers_killed_under_load_lose_no_click(shards: Shards, tmp_path: Path) -> None:
    """I2: at whatever instant, what a client was answered is on record, and nothing else but what was asked."""
    chance = random.Random(SEED)
    seeds = [shards.servers[0].url]
    settings: dict[str, Any] = {"click_seal_ms": 50, "click_segment_bytes": 4 * SEGMENT}
    with (
        running_edge(tmp_path, seeds, WORKERS, **settings) as edge,
        asking(edge.port, 8) as clients,
    ):
        for kill in range(KILLS):
            clients.wait_for(chance.randrange(50, 1000))
            kill_worker(edge, kill % WORKERS)
        eventually(edge.is_ready, "all workers serve")
    final = recover_all(tmp_path)
    assert len(final) == WORKERS + KILLS
    served = sum(report.served for report in final)
    assert clients.answers <= served <= clients.answers + clients.unanswered
    assert len(recorded(tmp_path)) == sum(report.recorded for report in final)
    assert sum(report.dropped["torn"] for report in final) == 0


def kill_worker(edge: Edge, worker: int) -> None:
    """Kill a worker that serves, and wait until its slot knows."""
    pid = eventually(lambda: (row := edge.workers()[worker])["is_ready"] and row["pid"], "the worker serves")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in pids(edge), "another worker is in its place")


def pids(edge: Edge) -> set[int]:
    """The processes of all workers."""
    return {worker["pid"] for worker in edge.workers()}


def ask(edge: Edge, sent: bytes, count: int) -> None:
    """So many requests, one after the other, all answered."""
    with socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S) as client:
        for _ in range(count):
            client.sendall(sent)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += client.recv(65_536)


def ask_until(edge: Edge, sent: bytes, condition: Callable[[], object], what: str) -> None:
    """Ask, some hundred times each, until the condition holds."""

    def holds() -> object:
        ask(edge, sent, 300)
        return condition()

    eventually(holds, what)


def test_full_disk_drops_clicks_and_counts_them(shards: Shards, tmp_path: Path) -> None:
    """Redirects go on; what was recorded stays; when there is room again, so are clicks."""
    with running_edge(tmp_path, [shards.servers[0].url], click_segment_bytes=SEGMENT) as edge:
        (pid,) = pids(edge)
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (SEGMENT // 2, limits[1]))
        ask(edge, REQUEST, 4000)
        # Two segments of some 1,380 clicks were there before; a third cannot be made.
        dropped = eventually(lambda: edge.metric("clicks_dropped_total", '{reason="disk_full"}'), "clicks are dropped")
        assert edge.metric("click_failures_total") > 0
        (report,) = reports(tmp_path)
        assert report.recorded + sum(report.dropped.values()) == report.served == 4000
        assert report.dropped["disk_full"] == dropped
        assert report.recorded < 3000
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        eventually(lambda: edge.metric("click_segments_total") > 2, "there is a segment again")
        ask(edge, REQUEST, 10)
        (report,) = reports(tmp_path)
        assert (report.served, report.recorded) == (4010, 4010 - sum(report.dropped.values()))
    assert len(recorded(tmp_path)) == report.recorded


def test_full_backlog_drops_unknown_codes_first(shards: Shards, tmp_path: Path) -> None:
    """Nobody ships here. From half of the bound on only links are recorded, at the bound nothing."""
    settings: dict[str, Any] = {
        "click_segment_bytes": SEGMENT,
        "click_backlog_bytes": 2**20,
        "unknown_codes_per_s": 0,
        "connection_requests_max": 100_000,
    }
    with running_edge(tmp_path, [shards.servers[0].url], **settings) as edge:
        ask(edge, UNKNOWN, 100)
        assert edge.metric("unknown_clicks_dropped_total") == 0
        ask_until(edge, REQUEST, lambda: crowded(edge) > 2**19, "half of the backlog is used")
        ask_until(edge, UNKNOWN, lambda: edge.metric("unknown_clicks_dropped_total"), "unknown codes are dropped")
        assert edge.metric("clicks_dropped_total", '{reason="backlog_full"}') == 0
        full = '{reason="backlog_full"}'
        ask_until(edge, REQUEST, lambda: edge.metric("clicks_dropped_total", full), "links are dropped")
        used = sum(path.stat().st_size for path in (tmp_path / "clicks").glob("*.segment"))
        assert 2**20 - SEGMENT < used <= 2**20
        (report,) = reports(tmp_path)
        assert report.served == edge.metric("answers_total", '{status="302"}')
        # What is stored is deleted, and makes room.
        first = min((tmp_path / "clicks").glob("*.segment"))
        first.unlink()
        segments = edge.metric("click_segments_total")
        eventually(lambda: edge.metric("click_segments_total") == segments + 1, "another segment is made")
        dropped = edge.metric("clicks_dropped_total")
        ask(edge, REQUEST, 10)
        assert edge.metric("clicks_dropped_total") == dropped


def crowded(edge: Edge) -> int:
    """How many bytes the worker has seen in the directory."""
    return edge.metric("click_directory_bytes", '{worker="0"}')


def test_edge_serves_without_a_directory_for_clicks(shards: Shards, tmp_path: Path) -> None:
    """Every click is counted as dropped, until the directory can be made: then those are in the ledger too."""
    obstacle = tmp_path / "clicks"
    obstacle.touch()
    with running_edge(tmp_path, [shards.servers[0].url]) as edge:
        ask(edge, REQUEST, 20)
        assert edge.metric("clicks_dropped_total", '{reason="no_segment"}') == 20
        obstacle.unlink()
        eventually(lambda: edge.metric("click_segments_total"), "a segment is made")
        ask(edge, REQUEST, 5)
        (report,) = reports(tmp_path)
        assert (report.served, report.recorded, report.dropped["no_segment"]) == (25, 5, 20)


def test_clicks_are_synced_in_the_interval_that_is_set(shards: Shards, tmp_path: Path) -> None:
    """The worker goes on meanwhile, and nothing fails."""
    settings = {"click_sync_ms": 20, "click_segment_bytes": SEGMENT}
    with running_edge(tmp_path, [shards.servers[0].url], **settings) as edge:
        ask(edge, REQUEST, 3000)
        assert edge.metric("click_failures_total") == 0
    (report,) = reports(tmp_path)
    assert (report.served, report.recorded) == (3000, len(recorded(tmp_path)))
