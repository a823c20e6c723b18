"""A server that answers as it is told, for what measures servers."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ANSWER = b"HTTP/1.1 302 Found\r\nlocation: https://example.com/a\r\nContent-Length: 3\r\n\r\nabc"
ACCEPT_S = 10


@dataclass
class Script:
    """What the server answers, and a pause that it makes once, before its n-th answer."""

    answer: bytes = ANSWER
    pause_at: int = 0
    pause_s: float = 0.0
    closes_after: int = 0  # answers of a connection, then it is closed; 0: never
    peers: set[str] = field(default_factory=set)  # client addresses that came


@contextmanager
def scripted(script: Script) -> Iterator[int]:
    """The server's port, as long as the block lasts. It serves one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(ACCEPT_S)
        thread = threading.Thread(target=_serve, args=(listener, script), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        thread.join(ACCEPT_S)


def _serve(listener: socket.socket, script: Script) -> None:
    answered = 0
    while True:
        try:
            peer, address = listener.accept()
        except OSError:
            return
        script.peers.add(address[0])
        with peer:
            answered = _converse(peer, script, answered)


def _converse(peer: socket.socket, script: Script, answered: int) -> int:
    first = answered
    peer.settimeout(ACCEPT_S)
    try:
        while peer.recv(4096):
            answered += 1
            if answered == script.pause_at:
                time.sleep(script.pause_s)  # the fault that is tested, no wait of the test
            peer.sendall(script.answer)
            if script.closes_after and answered - first == script.closes_after:
                break
    except OSError:
        pass  # the client is gone
    return answered
