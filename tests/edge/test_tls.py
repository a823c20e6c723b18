"""TLS at the edge, by real clients: which certificate is shown, what is spoken, and what happens on a reload."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from control.dev.ports import free_ports
from edge.config import variable
from tests.edge.authority import make_certificate
from tests.edge.load import exchange, under_load
from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge
from tests.edge.test_supervisor import run_edge
from tests.stack.fixtures import RedisFactory

REQUEST = f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
ASK_TLS_1_1 = "DEFAULT@SECLEVEL=0"  # else this client would not even offer it


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard with one link."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with certificates for sho.rt, and for every name under wild.example."""
    made = tmp_path / "tls"
    make_certificate(made, "shop", HOST)
    make_certificate(made, "wild", "*.wild.example")
    return made


class TlsEdge:
    """A running edge and its port for TLS."""

    def __init__(self, edge: Edge, port: int) -> None:
        self.edge = edge
        self.port = port

    @contextmanager
    def connect(
        self, context: ssl.SSLContext, host: str | None = HOST, session: ssl.SSLSession | None = None
    ) -> Iterator[ssl.SSLSocket]:
        """A TLS connection that has shaken hands."""
        plain = socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)
        with context.wrap_socket(plain, server_hostname=host, session=session) as client:
            yield client


@contextmanager
def tls_edge(tmp_path: Path, shards: Shards, folder: Path, **settings: Any) -> Iterator[TlsEdge]:
    """An edge with TLS."""
    (port,) = free_ports(1)
    with running_edge(tmp_path / "edge", [shards.servers[0].url], tls_port=port, tls_dir=folder, **settings) as edge:
        yield TlsEdge(edge, port)


def trusting(*chains: Path) -> ssl.SSLContext:
    """A client that trusts these certificates and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for chain in chains:
        context.load_verify_locations(chain)
    return context


def test_each_host_gets_its_certificate_and_the_same_answer(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """SNI selects exactly, then by wildcard; the answer is that of plain HTTP; ALPN is http/1.1."""
    with tls_edge(tmp_path, shards, folder) as door:
        for name, host in (("shop", HOST), ("wild", "a.wild.example")):
            context = trusting(folder / f"{name}.crt")
            context.set_alpn_protocols(["h2", "http/1.1"])
            with door.connect(context, host) as client:
                assert client.selected_alpn_protocol() == "http/1.1"
                assert client.version() == "TLSv1.3"
                encrypted = exchange(client, REQUEST)
        with socket.create_connection(("127.0.0.1", door.edge.port), DEADLINE_S) as client:
            plain = exchange(client, REQUEST)
        assert [line for line in encrypted.splitlines() if not line.startswith(b"Date:")] == [
            line for line in plain.splitlines() if not line.startswith(b"Date:")
        ]
        assert door.edge.metric("tls_handshakes_total", '{kind="full"}') == 2
        assert door.edge.metric("certificate_expires_in_seconds", '{certificate="shop"}') > 29 * 86_400


@pytest.mark.parametrize("host", ["unknown.example", "a.b.wild.example", "wild.example", None])
def test_unknown_host_is_refused_unless_there_is_a_default(
    shards: Shards, folder: Path, tmp_path: Path, host: str | None
) -> None:
    """Without the pair `default`: unrecognized_name. With it, after a SIGHUP: that one."""
    context = trusting(folder / "shop.crt")
    context.check_hostname = False
    with tls_edge(tmp_path, shards, folder) as door:
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"), door.connect(context, host):
            pass
        eventually(lambda: door.edge.metric("tls_failures_total", '{reason="refused"}') == 1, "it is counted")
        chain = make_certificate(folder, "default")
        door.edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: door.edge.metric("rolls_total", '{result="completed"}') == 1, "the certificates are read")
        context = trusting(chain)
        context.check_hostname = False
        with door.connect(context, host) as client:
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_old_protocols_and_ciphers_are_refused(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """TLS 1.1 and suites without forward secrecy are not spoken; TLS 1.2 is."""
    old = trusting(folder / "shop.crt")
    old.set_ciphers(ASK_TLS_1_1)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    weak, good = trusting(folder / "shop.crt"), trusting(folder / "shop.crt")
    weak.maximum_version = good.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    with tls_edge(tmp_path, shards, folder) as door:
        for context in (old, weak):
            with pytest.raises(ssl.SSLError), door.connect(context):
                pass
        with door.connect(good) as client:
            assert client.version() == "TLSv1.2"
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_is_resumed(shards: Shards, folder: Path, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A client that comes back shakes hands in short; the selected certificate still holds."""
    context = trusting(folder / "shop.crt")
    context.minimum_version = context.maximum_version = version
    with tls_edge(tmp_path, shards, folder) as door:
        with door.connect(context) as client:
            exchange(client, REQUEST)  # TLS 1.3 sends its tickets with the first bytes
            session = client.session
        with door.connect(context, session=session) as client:
            assert client.session_reused
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")
        assert door.edge.metric("tls_handshakes_total", '{kind="resumed"}') == 1


def test_session_is_resumed_by_any_worker(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """The kernel spreads connections over the workers; each of them can open a ticket of the others."""
    context = trusting(folder / "shop.crt")
    with tls_edge(tmp_path, shards, folder, workers=4) as door:
        with door.connect(context) as client:
            exchange(client, REQUEST)
            session = client.session
        for _ in range(40):
            with door.connect(context, session=session) as client:
                assert client.session_reused
        served = door.edge.metric("connections_opened_total")
        assert served >= 41


def test_session_from_before_a_roll_costs_a_full_handshake_only(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """With the certificates the ticket's key is renewed: the client is served all the same."""
    context = trusting(folder / "shop.crt")
    with tls_edge(tmp_path, shards, folder) as door:
        with door.connect(context) as client:
            exchange(client, REQUEST)
            session = client.session
        door.edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: door.edge.metric("rolls_total", '{result="completed"}') == 1, "the worker is another one")
        with door.connect(context, session=session) as client:
            assert not client.session_reused
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


def test_reload_shows_a_renewed_certificate(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """SIGHUP: connections made before go on, new ones see the new certificate."""
    with tls_edge(tmp_path, shards, folder) as door, door.connect(trusting(folder / "shop.crt")) as before:
        exchange(before, REQUEST)
        old = before.getpeercert(binary_form=True)
        make_certificate(folder, "shop", HOST)
        pid = door.edge.workers()[0]["pid"]
        door.edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: door.edge.workers()[0]["pid"] != pid, "the successor serves")
        eventually(lambda: b"\r\nConnection: close\r\n" in exchange(before, REQUEST), "the predecessor drains")
        with door.connect(trusting(folder / "shop.crt")) as client:
            assert client.getpeercert(binary_form=True) != old


def test_reload_of_a_bad_certificate_is_refused(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """No worker is touched, the old certificate stays, also in a worker that is started again; it is reported."""
    context = trusting(folder / "shop.crt")
    with tls_edge(tmp_path, shards, folder) as door:
        pid = door.edge.workers()[0]["pid"]
        shutil.copy(folder / "wild.key", folder / "shop.key")
        door.edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: door.edge.metric("rolls_total", '{result="refused"}') == 1, "the roll is refused")
        assert [worker["pid"] for worker in door.edge.workers()] == [pid]
        assert b'"last_roll":"refused"' in door.edge.admin("/readyz").body
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: door.edge.metric("worker_crashes_total") == 1, "the crash is counted")
        eventually(door.edge.is_ready, "another worker serves")
        with door.connect(context) as client:
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


def test_bad_certificate_at_the_start_is_refused(folder: Path, tmp_path: Path) -> None:
    """Exit code 1, one line with the file."""
    port, tls_port, admin_port = free_ports(3)
    (folder / "shop.key").unlink()
    refused = run_edge(
        {
            variable("seeds"): "redis://127.0.0.1:1",
            variable("port"): str(port),
            variable("admin_port"): str(admin_port),
            variable("tls_port"): str(tls_port),
            variable("tls_dir"): str(folder),
            variable("state_dir"): str(tmp_path),
        }
    )
    assert refused.returncode == 1
    assert refused.stderr == f"edge: {folder}/shop.key is missing: a certificate and its key go together\n"


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
def test_client_that_does_not_finish_its_handshake_is_dropped(
    shards: Shards, folder: Path, tmp_path: Path, begun: bytes
) -> None:
    """After tls_handshake_timeout_ms, whatever it has sent; it is counted."""
    with (
        tls_edge(tmp_path, shards, folder, tls_handshake_timeout_ms=200) as door,
        socket.create_connection(("127.0.0.1", door.port), DEADLINE_S) as client,
    ):
        client.sendall(begun)
        assert client.recv(1) == b""
        eventually(lambda: door.edge.metric("tls_failures_total", '{reason="abandoned"}') == 1, "it is counted")


def test_handshakes_under_way_count_in_the_limits(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Of connections of one client, whether they have shaken hands or not; one that leaves makes room."""
    with tls_edge(tmp_path, shards, folder, client_connections_max=2) as door, contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", door.port), DEADLINE_S)) for _ in range(2)]
        for client in held:
            client.sendall(b"\x16\x03\x01")
        eventually(lambda: door.edge.metric("connections_open") == 2, "both are counted")
        with pytest.raises((ConnectionResetError, ssl.SSLError)), door.connect(trusting(folder / "shop.crt")):
            pass
        assert door.edge.metric("limits_total", '{limit="client_connections"}') == 1
        held[0].close()
        eventually(lambda: door.edge.metric("connections_open") == 1, "one has left")
        with door.connect(trusting(folder / "shop.crt")) as client:
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshake_and_request_may_come_byte_by_byte(
    shards: Shards, folder: Path, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """However the records are cut, and several of them in one segment: the answers are whole and in order."""
    context = trusting(folder / "shop.crt")
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    with (
        tls_edge(tmp_path, shards, folder) as door,
        socket.create_connection(("127.0.0.1", door.port), DEADLINE_S) as plain,
    ):

        def pump() -> None:
            for byte in outgoing.read():
                plain.sendall(bytes((byte,)))

        def until_done(step: Any) -> Any:
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    pump()
                    incoming.write(plain.recv(65536))
                else:
                    pump()
                    return result

        until_done(client.do_handshake)
        for _ in range(3):
            client.write(REQUEST)
        answers = b""
        while answers.count(b"\r\n\r\n") < 3:
            answers += until_done(lambda: client.read(65536))
        assert answers.count(b"HTTP/1.1 302 Found\r\n") == 3


def test_hostile_bytes_are_refused_and_reach_no_log(
    shards: Shards, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Plain HTTP, noise, and a host name of control characters end their connection; nothing of them is logged."""
    hello = hello_for("a" * 8).replace(b"a" * 8, b"\x1b[31m\xff\n.")
    with tls_edge(tmp_path, shards, folder) as door:
        for data in (REQUEST, b"\x16\x03\x01\x00\x05\x01noise", hello):
            with socket.create_connection(("127.0.0.1", door.port), DEADLINE_S) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(65536):
                        pass
        eventually(lambda: door.edge.metric("tls_failures_total") == 3, "all are counted")
        assert door.edge.get("/abc").status == 302
    logged = capfd.readouterr().err
    assert "31m" not in logged
    assert [line for line in logged.splitlines() if "[info" not in line] == []


def hello_for(host: str) -> bytes:
    """The first bytes of a client that names this host."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_roll_and_stop_under_load_fail_no_request(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """SIGHUP, then SIGTERM, with clients that keep their TLS connection and clients that do not."""
    context = trusting(make_certificate(folder, "default"))
    context.check_hostname = False
    with tls_edge(tmp_path, shards, folder, workers=2) as door:
        with under_load(door.port, "/abc", kept=3, new=3, context=context) as load:
            door.edge.process.send_signal(signal.SIGHUP)
            eventually(lambda: door.edge.metric("rolls_total", '{result="completed"}') == 1, "the roll is completed")
            seen = load.answers
            eventually(lambda: load.answers > seen + 50, "the load goes on")
            door.edge.process.send_signal(signal.SIGTERM)
            assert door.edge.process.wait(DEADLINE_S) == 0
            eventually(lambda: load.refusals == 6, "every client was refused in the end")
        assert load.failures == []


def test_drain_lets_a_handshake_under_way_finish(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """A client that was connected before SIGTERM, and shakes hands after it, is answered."""
    with tls_edge(tmp_path, shards, folder, drain_idle_ms=4000) as door:
        plain = socket.create_connection(("127.0.0.1", door.port), DEADLINE_S)
        door.edge.process.send_signal(signal.SIGTERM)
        eventually(lambda: door.edge.admin("/readyz").body.startswith(b'{"status":"draining"'), "the edge drains")
        context = trusting(folder / "shop.crt")
        with context.wrap_socket(plain, server_hostname=HOST) as client:
            assert exchange(client, REQUEST).startswith(b"HTTP/1.1 302 Found\r\n")
        assert door.edge.process.wait(DEADLINE_S) == 0
