"""Rolling restarts, drains and crashes under load: no request fails, no total goes down, no worker is lost."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.edge.load import exchange, under_load
from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge, stalled
from tests.stack.fixtures import RedisFactory

REQUEST = f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard with one link."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/")
    return made


def pids(edge: Edge) -> set[int]:
    """The processes that serve."""
    return {worker["pid"] for worker in edge.workers()}


def is_pending(pid: int, signum: signal.Signals) -> bool:
    """Whether a stopped process will find this signal when it goes on."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (signum - 1) & 1)


def roll(edge: Edge, result: str = "completed") -> None:
    """Roll and wait for the result."""
    labels = f'{{result="{result}"}}'
    before = edge.metric("rolls_total", labels)
    edge.process.send_signal(signal.SIGHUP)
    eventually(lambda: edge.metric("rolls_total", labels) > before, f"the roll is {result}")


def test_rolls_under_load_fail_no_request(shards: Shards, tmp_path: Path) -> None:
    """SIGHUP three times: every process is another one, every request is answered, totals only rise."""
    with (
        running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as edge,
        under_load(edge.port, "/abc") as load,
    ):
        for _ in range(3):
            old, answered = pids(edge), edge.metric("answers_total")
            roll(edge)
            assert pids(edge).isdisjoint(old)
            assert edge.metric("answers_total") >= answered
            seen = load.answers
            eventually(lambda seen=seen: load.answers > seen + 100, "the load goes on")  # type: ignore[misc]
        load.end()
    assert load.failures == []
    assert load.refusals == 0


def test_totals_are_exact_over_generations(shards: Shards, tmp_path: Path) -> None:
    """What ended workers have counted stays counted, also when they were killed."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        for _ in range(5):
            edge.get("/abc")
        roll(edge)
        edge.get("/abc")
        (pid,) = pids(edge)
        os.kill(pid, signal.SIGKILL)
        assert edge.get("/abc").status == 302
        assert edge.metric("answers_total", '{status="302"}') == 7
        assert edge.metric("worker_starts_total") == 3
        assert edge.metric("worker_crashes_total") == 1


def test_stop_under_load_answers_every_accepted_connection(shards: Shards, tmp_path: Path) -> None:
    """SIGTERM: who was let in is answered, who comes later is refused."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as edge:
        with under_load(edge.port, "/abc", kept=4, new=4) as load:
            eventually(lambda: load.answers > 200, "the load runs")
            edge.process.send_signal(signal.SIGTERM)
            assert edge.process.wait(DEADLINE_S) == 0
            eventually(lambda: load.refusals == 8, "every client was refused in the end")
        assert load.failures == []


def test_stop_answers_connections_that_were_not_yet_accepted(shards: Shards, tmp_path: Path) -> None:
    """What the kernel has queued, or holds back until the client speaks, is accepted and answered at a stop."""
    # The worker is stopped for more than a second: its shard must not be out of time when it goes on.
    settings: dict[str, Any] = {
        "unix_socket": tmp_path / "edge.sock",
        "reply_timeout_ms": 9000,
        "ping_timeout_ms": 9000,
    }
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        (pid,) = pids(edge)
        os.kill(pid, signal.SIGSTOP)
        clients = [socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S) for _ in range(20)]
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].connect(str(tmp_path / "edge.sock"))
        edge.process.send_signal(signal.SIGTERM)
        eventually(lambda: edge.admin("/readyz").body.startswith(b'{"status":"draining"'), "the edge drains")
        eventually(lambda: is_pending(pid, signal.SIGTERM), "the worker is asked to drain")
        os.kill(pid, signal.SIGCONT)
        for client in clients:
            with client:
                assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


def test_idle_connection_may_ask_once_more_and_is_closed(shards: Shards, tmp_path: Path) -> None:
    """Draining: the idle connection's next answer closes it; one that asks nothing is closed after drain_idle_ms."""
    with running_edge(
        tmp_path / "edge", [shards.servers[0].url], drain_ms=9000, drain_idle_ms=2000, ready_timeout_ms=60_000
    ) as edge:
        asking, silent = (socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S) for _ in range(2))
        with asking, silent:
            for client in (asking, silent):
                assert b"Connection: close" not in exchange(client, REQUEST)
            old = pids(edge)
            edge.process.send_signal(signal.SIGHUP)
            eventually(lambda: pids(edge) != old, "the successor serves")
            eventually(lambda: b"\r\nConnection: close\r\n" in exchange(asking, REQUEST), "the predecessor drains")
            assert asking.recv(1) == b""
            assert silent.recv(1) == b""
        eventually(lambda: edge.metric("rolls_total", '{result="completed"}') == 1, "the roll is completed")
        assert edge.metric("connections_cut_total") == 0


def test_connection_that_never_ends_is_cut_after_drain_ms(shards: Shards, tmp_path: Path) -> None:
    """A client that has begun a request and does not go on holds the drain up for drain_ms, and is counted."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], drain_ms=300, drain_idle_ms=100) as edge:
        with socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S) as client:
            client.sendall(REQUEST[:20])
            eventually(lambda: edge.metric("connections_open") == 1, "the client is accepted")
            roll(edge)
            assert client.recv(1) == b""
        assert edge.metric("connections_cut_total") == 1


def test_successor_that_does_not_become_ready_is_given_up(shards: Shards, tmp_path: Path) -> None:
    """It takes no client, the worker stays, the roll stops and is reported; the next one succeeds."""
    with running_edge(
        tmp_path / "edge", [shards.servers[0].url], workers=2, ready_timeout_ms=2500, connect_timeout_ms=100
    ) as edge:
        old = pids(edge)
        with under_load(edge.port, "/abc") as load:
            eventually(lambda: load.answers > 100, "every worker holds the link")
            with stalled(shards.servers[0]):
                roll(edge, "failed")
        assert load.failures == []
        assert pids(edge) == old
        assert b'"last_roll":"failed"' in edge.admin("/readyz").body
        assert edge.get("/abc").status == 302
        roll(edge)
        assert pids(edge).isdisjoint(old)


def test_crash_while_a_successor_starts_ends_the_roll(shards: Shards, tmp_path: Path) -> None:
    """The slot gets a worker at once, not after the successor's time is over."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], ready_timeout_ms=60_000) as edge:
        with stalled(shards.servers[0]):
            edge.process.send_signal(signal.SIGHUP)
            eventually(lambda: edge.metric("worker_starts_total") == 2, "the successor was started")
            os.kill(edge.workers()[0]["pid"], signal.SIGKILL)
            eventually(lambda: edge.metric("rolls_total", '{result="failed"}') == 1, "the roll ends")
            eventually(lambda: edge.metric("worker_starts_total") == 3, "another worker was started")
        eventually(edge.is_ready, "it serves")
        assert edge.get("/abc").status == 302
        roll(edge)


def test_signals_during_a_roll_ask_for_one_more(shards: Shards, tmp_path: Path) -> None:
    """Any number of SIGHUPs while one roll runs: two rolls in all."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: b'"last_roll":"running"' in edge.admin("/readyz").body, "the roll runs")
        for _ in range(5):
            edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: edge.metric("rolls_total", '{result="completed"}') == 2, "two rolls are completed")
        assert edge.metric("worker_starts_total") == 3
        assert b'"last_roll":"completed"' in edge.admin("/readyz").body


def test_stop_during_a_roll_leaves_nothing(shards: Shards, tmp_path: Path) -> None:
    """SIGTERM while a successor starts: it ends too, and so does the edge, in order."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        with stalled(shards.servers[0]):
            edge.process.send_signal(signal.SIGHUP)
            eventually(lambda: edge.metric("worker_starts_total") == 2, "the successor was started")
            edge.process.send_signal(signal.SIGTERM)
            assert edge.process.wait(DEADLINE_S) == 0
        with pytest.raises(ConnectionRefusedError):
            edge.get("/abc")


def test_worker_that_crashes_again_and_again_is_reported(shards: Shards, tmp_path: Path) -> None:
    """Each crash is counted, and those in a row; a start that follows one is no reason to call the edge dead."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        for crash in range(1, 4):
            os.kill(edge.workers()[0]["pid"], signal.SIGKILL)
            eventually(lambda crash=crash: edge.metric("worker_crashes_total") == crash, "it is counted")  # type: ignore[misc]
            assert (edge.admin("/readyz").status, edge.admin("/healthz").status) == (503, 200)
            eventually(edge.is_ready, "another worker serves")
            assert edge.workers()[0]["crashes_in_a_row"] == crash
        roll(edge)
        assert edge.workers()[0]["crashes_in_a_row"] == 0


def test_worker_may_open_as_many_descriptors_as_the_system_allows(shards: Shards, tmp_path: Path) -> None:
    """The soft limit is the hard one."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        limits = Path(f"/proc/{edge.workers()[0]['pid']}/limits").read_text().splitlines()
        soft, hard = next(line for line in limits if line.startswith("Max open files")).split()[3:5]
        assert soft == hard


def test_signals_to_the_process_group_are_the_supervisors(shards: Shards, tmp_path: Path) -> None:
    """SIGHUP and SIGINT at a worker, as a terminal sends them to all, change nothing there."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        (pid,) = pids(edge)
        for signum in (signal.SIGHUP, signal.SIGINT):
            os.kill(pid, signum)
        for _ in range(20):
            assert edge.get("/abc").status == 302
        assert (pids(edge), edge.metric("worker_crashes_total")) == ({pid}, 0)


def test_crash_under_load_fails_only_what_was_connected(shards: Shards, tmp_path: Path) -> None:
    """SIGKILL of one of two workers: its connections are reset, no later client fails, and it is reported."""
    with (
        running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as edge,
        under_load(edge.port, "/abc", kept=4, new=4) as load,
    ):
        eventually(lambda: load.answers > 200, "the load runs")
        killed = edge.workers()[0]["pid"]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: edge.metric("worker_crashes_total") == 1, "the crash is counted")
        eventually(lambda: edge.is_ready() and killed not in pids(edge), "another worker serves")
        assert edge.workers()[0]["crashes_in_a_row"] == 1
        failed = len(load.failures)
        assert failed <= 8  # one for each client at most
        seen = load.answers
        eventually(lambda: load.answers > seen + 200, "the load goes on")
        assert len(load.failures) == failed
        assert load.refusals == 0
