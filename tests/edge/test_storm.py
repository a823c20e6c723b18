"""Whatever clients send, and however they leave: the worker stays, answers others, and holds on to nothing."""

import contextlib
import random
import socket
import struct
from pathlib import Path

import pytest

from tests.edge.stand import HOST, Edge, Shards, eventually, running_edge
from tests.edge.test_bounds import connect
from tests.stack.fixtures import RedisFactory

CORPUS = sorted((Path(__file__).parent / "corpus" / "http").iterdir())
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds: close resets


def send_in_pieces(client: socket.socket, data: bytes, chance: random.Random) -> None:
    """The bytes at random splits; the edge may close in between."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):
        while data:
            size = chance.randint(1, max(1, len(data) // 3))
            client.sendall(data[:size])
            data = data[size:]


def leave(client: socket.socket, chance: random.Random) -> None:
    """As clients do: read all, half close, close, or reset."""
    way = chance.randrange(4)
    with contextlib.suppress(OSError):
        if way == 0:
            client.shutdown(socket.SHUT_WR)
        if way <= 1:
            client.settimeout(0.05)
            while client.recv(65536):
                pass
        if way == 3:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def is_served(edge: Edge) -> bool:
    """Whether an ordinary request is answered rightly."""
    answer = edge.get("/abc")
    return (answer.status, answer.location) == (302, "https://example.com/")


@pytest.mark.parametrize("seed", [1, 2])
def test_every_input_of_the_corpus_is_survived(redis_factory: RedisFactory, tmp_path: Path, seed: int) -> None:
    """Alone, and behind and before good requests; afterwards nothing is left of it."""
    chance = random.Random(seed)
    good = f"GET /abc HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    shards = Shards([redis_factory()])
    shards.put("abc", "https://example.com/")
    settings = {"unknown_codes_per_s": 0, "linger_timeout_ms": 200, "head_timeout_ms": 500, "idle_timeout_ms": 500}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        pid = edge.workers()[0]["pid"]
        for number, file in enumerate(CORPUS):
            client = connect(edge)
            send_in_pieces(client, chance.choice((b"", good)) + file.read_bytes() + chance.choice((b"", good)), chance)
            leave(client, chance)
            if number % 50 == 0:
                assert is_served(edge)
        assert is_served(edge)
        eventually(lambda: edge.metric("connections_open") == 0, "every connection is closed")
        assert edge.workers()[0]["pid"] == pid
        assert edge.metric("connection_failures_total") == 0
        assert edge.metric("unsent_bytes") == 0
        assert edge.metric("waiters") == 0
