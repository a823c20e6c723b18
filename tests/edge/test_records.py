"""Clients that cut, mix and flood TLS records as no library does: nobody else pays, and no answer is lost."""

import asyncio
import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from edge._cache import Cache
from edge._counters import BLOCK_BYTES, Counters
from edge._fast import Door
from edge._front import Front
from edge._roster import Roster
from edge.certificates import read
from edge.config import EdgeConfig
from edge.tls import contexts
from tests.edge.authority import SLOW, make_certificate
from tests.edge.load import exchange
from tests.edge.records import ALERT, CLOSE_NOTIFY, DATA, HANDSHAKE, KEY_UPDATE, HandmadeClient
from tests.edge.rig import until
from tests.edge.stand import DEADLINE_S, HOST, Shards, eventually
from tests.edge.test_bounds import hits
from tests.edge.test_stream import request
from tests.edge.test_tls import REQUEST, TlsEdge, folder, hello_for, shards, tls_edge, trusting

__all__ = ["folder", "shards"]  # fixtures

LAST = request("abc", "Connection: close\r\n")
FLOOD = 20_000  # records; OpenSSL takes some 10 us for each
STALL_S = 0.1
BURST = 100  # handshakes at once; more than are accepted in a turn


def shake(door: TlsEdge, folder: Path) -> HandmadeClient:
    """A client that has shaken hands."""
    return HandmadeClient(door.port, trusting(folder / "shop.crt"), folder / "keylog")


@pytest.mark.parametrize("behind", ["close_notify", "request"])
def test_answer_is_not_reset_by_a_record_behind_its_request(
    shards: Shards, folder: Path, tmp_path: Path, behind: str
) -> None:
    """A client that says at once that it sends no more, or asks more than is answered, has its answer and an end."""
    with tls_edge(tmp_path, shards, folder) as door:
        for _ in range(5):
            with shake(door, folder) as client:
                more = (ALERT, CLOSE_NOTIFY) if behind == "close_notify" else (DATA, request("abc"))
                client.socket.sendall(client.record(DATA, LAST) + client.record(*more))
                assert client.read_all().startswith(b"HTTP/1.1 302 Found\r\n")


def test_records_without_data_hold_nobody_up(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """However fast a client renews its keys, others are answered meanwhile; it is served when it asks."""
    with tls_edge(tmp_path, shards, folder) as door, shake(door, folder) as client:
        flood = b"".join(client.key_update() for _ in range(FLOOD)) + client.record(DATA, LAST)
        door.edge.get("/abc")
        sender = threading.Thread(target=client.socket.sendall, args=(flood,))
        sender.start()
        waited_s = []
        for _ in range(50):
            asked_s = time.monotonic()
            assert door.edge.get("/abc").status == 302
            waited_s.append(time.monotonic() - asked_s)
        assert client.read_all().startswith(b"HTTP/1.1 302 Found\r\n")
        sender.join()
        assert max(waited_s) < STALL_S


@pytest.mark.parametrize("is_cut", [False, True])
def test_burst_of_handshakes_holds_nobody_up(shards: Shards, folder: Path, tmp_path: Path, is_cut: bool) -> None:
    """They take a share of each turn, at the accept and, where a ClientHello comes in two parts, after it."""
    make_certificate(folder, "shop", HOST, kind=SLOW)
    hello = hello_for(HOST)
    with (
        tls_edge(tmp_path, shards, folder) as door,
        socket.create_connection(("127.0.0.1", door.edge.port), DEADLINE_S) as ahead,
        ExitStack() as stack,
    ):
        exchange(ahead, REQUEST)
        burst = [stack.enter_context(socket.create_connection(("127.0.0.1", door.port))) for _ in range(BURST)]
        if is_cut:
            send_each(burst, hello[:1])
            eventually(lambda: door.edge.metric("connections_open") == BURST + 1, "all are accepted")
        send_each(burst, hello[1:] if is_cut else hello)
        answers = 0
        while len(select.select(burst, [], [], 0)[0]) < BURST:
            exchange(ahead, REQUEST)
            answers += 1
        # One for each two or three handshakes; without a share of its own, it would be one or two in all.
        assert answers > BURST // 16


def send_each(clients: Iterable[socket.socket], data: bytes) -> None:
    """The same bytes to the edge from all of them."""
    for client in clients:
        client.sendall(data)


def test_half_a_key_update_does_not_keep_the_worker_busy(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """OpenSSL writes nothing before it has the rest: a client in whose way the 408 is so is dropped."""
    settings = {"head_timeout_ms": 200, "unsent_timeout_ms": 60_000}
    with tls_edge(tmp_path, shards, folder, **settings) as door, shake(door, folder) as client:
        client.socket.sendall(client.record(DATA, b"GET /abc HTTP/1.1\r\n"))
        client.socket.sendall(client.record(HANDSHAKE, KEY_UPDATE[:4]))
        eventually(lambda: hits(door.edge, "head_time") == 1, "the head's time is over")
        eventually(lambda: door.edge.metric("connections_open") == 0, "the client is dropped")
        assert door.edge.metric("unsent_bytes") == 0


def test_client_over_its_limit_has_abandoned_no_handshake(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """It is counted once, as what it met."""
    with tls_edge(tmp_path, shards, folder, client_connections_max=1) as door, shake(door, folder):
        with pytest.raises((ConnectionResetError, ssl.SSLError)), door.connect(trusting(folder / "shop.crt")):
            pass
        assert hits(door.edge, "client_connections") == 1
        assert door.edge.metric("tls_failures_total") == 0


def test_refused_client_leaves_no_error_to_other_connections(folder: Path) -> None:
    """A worker speaks TLS with its shards and PostgreSQL, too, through Python's ssl and the same OpenSSL."""

    async def main() -> None:
        counters = Counters(bytearray(BLOCK_BYTES), 0)
        config = msgspec.convert({"seeds": ("redis://127.0.0.1:1",)}, EdgeConfig)
        front = Front(counters, Cache(65536), Cache(65536), _unasked, _unasked, config)
        loop = asyncio.get_running_loop()
        door = Door(loop, Roster(front, loop, config))
        with socket.create_server(("127.0.0.1", 0)) as entry, socket.socket() as client:
            door.listen(entry, contexts(read(str(folder))))
            other = _shaken(folder)
            client.connect(entry.getsockname())
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: counters.get("tls_refused") == 1)
            with pytest.raises(ssl.SSLWantReadError):
                other.read(1)
            door.close()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def _unasked(*_: object) -> None:
    raise AssertionError("no link is asked for")


def _shaken(folder: Path) -> ssl.SSLObject:
    """A client's side of a TLS connection in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "shop.crt", folder / "shop.key")
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting(folder / "shop.crt").wrap_bio(to_client, to_server, server_hostname=HOST)
    for step in (client.do_handshake, server.do_handshake, client.do_handshake, server.do_handshake, client.read):
        with contextlib.suppress(ssl.SSLWantReadError):
            step()
    return client
