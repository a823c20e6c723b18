"""The supervisor: workers are replaced, ports are refused clearly, settings are checked, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.config import EdgeConfig, variable
from tests.edge.stand import DEADLINE_S, HOST, Shards, eventually, running_edge, stalled
from tests.stack.fixtures import RedisFactory


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard with one link."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/")
    return made


def run_edge(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Start an edge that is to refuse."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_EDGE_")}
    command = [sys.executable, "-m", "edge"]
    return subprocess.run(command, env=clean | environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_killed_worker_is_replaced_and_its_waiting_connections_are_answered(shards: Shards, tmp_path: Path) -> None:
    """SIGKILL of the only worker: a connection made while none runs is answered by the successor."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        (worker,) = edge.workers()
        os.kill(worker["pid"], signal.SIGKILL)
        with socket.create_connection(("127.0.0.1", edge.port), DEADLINE_S) as connection:
            connection.sendall(f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        assert received.startswith(b"HTTP/1.1 302 Found\r\n")
        eventually(edge.is_ready, "the edge is ready again")
        assert edge.workers()[0]["pid"] != worker["pid"]
        assert edge.metric("worker_starts_total") == 2


def test_killed_supervisor_leaves_no_worker(shards: Shards, tmp_path: Path) -> None:
    """SIGKILL of the supervisor ends its workers too."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as edge:
        pids = [worker["pid"] for worker in edge.workers()]
        edge.process.kill()
        eventually(lambda: not any(is_running(pid) for pid in pids), "no worker is left")


def test_stop_lets_a_waiting_request_finish(shards: Shards, tmp_path: Path) -> None:
    """SIGTERM while a lookup is under way: the client still gets its answer."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], reply_timeout_ms=2000, ping_timeout_ms=5000) as edge:
        answers: list[int] = []
        client = threading.Thread(target=lambda: answers.append(edge.get("/abc").status))
        with stalled(shards.servers[0]):
            before = edge.metric("connections_opened_total")
            client.start()
            eventually(lambda: edge.metric("connections_opened_total") > before, "the client is connected")
            edge.process.send_signal(signal.SIGTERM)
        client.join(DEADLINE_S)
        assert answers == [302]
        assert edge.process.wait(DEADLINE_S) == 0


def test_taken_port_is_refused_in_one_line(shards: Shards, tmp_path: Path) -> None:
    """Exit code 1 and a line that names the address; SO_REUSEPORT of others does not let a second server in."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {
            variable("seeds"): shards.servers[0].url,
            variable("port"): str(port),
            variable("state_dir"): str(tmp_path),
        }
        refused = run_edge(environ)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"edge: cannot listen on 127.0.0.1:{port}: Address already in use; free the port or set another one\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seeds", "127.0.0.1:6379"),
        ("seeds", "redis://127.0.0.1:1,http://127.0.0.1:1"),
        ("seeds", "redis://127.0.0.1:port"),
        ("port", "0"),
        ("port", "x"),
        ("workers", "0"),
        ("cache_bytes", "12"),
        ("unknown_host", "maybe"),
        ("id", "a b"),
        ("origin_ttl_ms", "5000"),
        ("origin_url", "mysql://127.0.0.1/links"),
        ("origin_url", "postgresql://127.0.0.1:port/links"),
        ("refreshes_max", "-1"),
        ("log_level", "loud"),
    ],
)
def test_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    """Exit code 2 and one line with the variable's name (I7)."""
    refused = run_edge({variable("seeds"): "redis://127.0.0.1:1", variable(name): value})
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"edge: {variable(name)}: ")
    assert refused.stderr.count("\n") == 1


def test_missing_seeds_and_unknown_settings_are_named() -> None:
    """A typo in a variable's name is no silent default."""
    assert variable("seeds") in run_edge({}).stderr
    stray = run_edge({variable("seeds"): "redis://127.0.0.1:1", "POINTSMAN_EDGE_PROT": "80"})
    assert (stray.returncode, "POINTSMAN_EDGE_PROT" in stray.stderr) == (2, True)


def test_every_setting_has_a_variable_of_its_own() -> None:
    """No two fields share a name in the environment."""
    names = [variable(field) for field in EdgeConfig.__struct_fields__]
    assert len(names) == len(set(names))


def test_admin_port_answers_its_pages_and_nothing_else(shards: Shards, tmp_path: Path) -> None:
    """Health, readiness, metrics; anything else is 404 and says what there is."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        assert edge.admin("/healthz").body == b'{"status":"ok","silent_workers":[]}'
        assert edge.admin("/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert (edge.admin("/other").status, b"/metrics" in edge.admin("/other").body) == (404, True)


def test_hung_worker_is_reported(shards: Shards, tmp_path: Path) -> None:
    """A worker whose loop does not turn makes /healthz fail."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as edge:
        pid = edge.workers()[1]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: edge.admin("/healthz").status == 503, "the worker is reported")
            assert b'"silent_workers":[1]' in edge.admin("/healthz").body
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: edge.admin("/healthz").status == 200, "the worker is back")
