"""Where the edge listens: IPv4, IPv6, Unix sockets; what cannot be listened on is refused and changes nothing."""

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from control.dev.ports import free_ports
from edge.config import HOSTS_MAX, UNIX_PATH_BYTES_MAX, ConfigError, load, variable
from tests.edge.load import exchange
from tests.edge.stand import DEADLINE_S, HOST, Shards, eventually, running_edge
from tests.edge.test_supervisor import run_edge
from tests.stack.fixtures import RedisFactory

REQUEST = f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard with one link."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/")
    return made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The settings of an edge that is to refuse: no shard is there."""
    port, admin_port = free_ports(2)
    return {
        variable("seeds"): "redis://127.0.0.1:1",
        variable("state_dir"): str(tmp_path),
        variable("port"): str(port),
        variable("admin_port"): str(admin_port),
    }


def ask_unix(path: Path) -> bytes:
    """One request over a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        return exchange(client, REQUEST)


def test_several_addresses_are_served(shards: Shards, tmp_path: Path) -> None:
    """IPv4, IPv6 in both spellings and a Unix socket answer alike, before and after a roll."""
    path = tmp_path / "edge.sock"
    with running_edge(
        tmp_path / "edge", [shards.servers[0].url], workers=2, host="127.0.0.1, [::1]", unix_socket=path
    ) as edge:
        for _ in range(2):
            for host in ("127.0.0.1", "::1"):
                with socket.create_connection((host, edge.port), DEADLINE_S) as client:
                    assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")
            assert ask_unix(path).startswith(b"HTTP/1.1 302 Found\r\n")
            done = edge.metric("rolls_total", '{result="completed"}')
            edge.process.send_signal(signal.SIGHUP)
            eventually(lambda done=done: edge.metric("rolls_total", '{result="completed"}') > done, "rolled")  # type: ignore[misc]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_all_interfaces_of_both_families_stand_side_by_side(shards: Shards, tmp_path: Path) -> None:
    """0.0.0.0 and :: on one port do not get into each other's way."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], host="0.0.0.0,::") as edge:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, edge.port), DEADLINE_S) as client:
                assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


def test_unix_socket_of_a_killed_edge_is_replaced(shards: Shards, tmp_path: Path) -> None:
    """A file that nobody listens on is no obstacle; its mode is the setting's."""
    path = tmp_path / "edge.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running_edge(tmp_path / "edge", [shards.servers[0].url], unix_socket=path, unix_socket_mode="0600"):
        assert ask_unix(path).startswith(b"HTTP/1.1 302 Found\r\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_unix_socket_in_use_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    """Exit code 1, the path is named, and the other's socket still works."""
    path = tmp_path / "edge.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        refused = run_edge(environ | {variable("unix_socket"): str(path)})
        assert refused.returncode == 1
        assert refused.stderr == (
            f"edge: cannot listen on unix:{path}: another process listens there; stop it or set another path\n"
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize(("make", "message"), [("file", "no socket"), ("directory", "no socket"), ("", "No such file")])
def test_unix_socket_that_cannot_be_made_is_refused(
    tmp_path: Path, environ: dict[str, str], make: str, message: str
) -> None:
    """What lies at the path is not touched; a directory that is not there is named."""
    path = tmp_path / "taken" if make else tmp_path / "none" / "edge.sock"
    if make == "file":
        path.write_text("data")
    elif make == "directory":
        path.mkdir()
    refused = run_edge(environ | {variable("unix_socket"): str(path)})
    assert (refused.returncode, message in refused.stderr, refused.stderr.count("\n")) == (1, True, 1)
    assert path.exists() == bool(make)


def test_second_edge_on_the_same_port_is_refused(shards: Shards, tmp_path: Path, environ: dict[str, str]) -> None:
    """SO_REUSEPORT lets the workers share a port, not two edges of one user."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        refused = run_edge(environ | {variable("port"): str(edge.port)})
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{edge.port}: Address already in use" in refused.stderr


def test_address_that_is_not_here_is_refused_and_none_stays_open(environ: dict[str, str]) -> None:
    """One bad address of several ends the start."""
    refused = run_edge(environ | {variable("host"): "127.0.0.1,192.0.2.1"})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"edge: cannot listen on 192.0.2.1:{environ[variable('port')]}: ")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "127.0.0.1,,::1"),
        ("host", "127.0.0.1,127.0.0.1"),
        ("host", "::1,[::1]"),
        ("host", "1::2::3"),
        ("host", "a b"),
        ("host", ",".join(f"127.0.0.{n}" for n in range(1, HOSTS_MAX + 2))),
        ("unix_socket", "/" + "a" * UNIX_PATH_BYTES_MAX),
        ("unix_socket_mode", "999"),
        ("tls_port", "8080"),
        ("tls_port", "8443"),
        ("tls_port", "65536"),
        ("tls_handshake_timeout_ms", "0"),
        ("drain_idle_ms", "0"),
        ("ready_timeout_ms", "0"),
    ],
)
def test_setting_that_cannot_be_used_is_named(field: str, value: str) -> None:
    """What is wrong with where to listen is said before anything is opened (I7)."""
    with pytest.raises(ConfigError, match=f"^{variable(field)}: "):
        load({variable("seeds"): "redis://127.0.0.1:1", variable("port"): "8080", variable(field): value})


def test_most_hosts_that_are_allowed_can_be_set() -> None:
    """The limit itself is no error."""
    hosts = [f"127.0.0.{n}" for n in range(1, HOSTS_MAX + 1)]
    config = load({variable("seeds"): "redis://127.0.0.1:1", variable("host"): ", ".join(hosts)})
    assert list(config.hosts) == hosts


def test_removed_socket_file_is_not_missed_at_the_end(shards: Shards, tmp_path: Path) -> None:
    """Somebody else's file at the path stays when the edge ends."""
    path = tmp_path / "edge.sock"
    with running_edge(tmp_path / "edge", [shards.servers[0].url], unix_socket=path):
        other = tmp_path / "other"
        other.write_text("data")
        os.replace(other, path)
    assert path.read_text() == "data"
