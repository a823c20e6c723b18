"""Clients that ask without a pause from threads of their own, and note every request that was not answered."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.edge.stand import DEADLINE_S, HOST

HEADERS = {"Host": HOST}


class Load:
    """What the clients have seen so far. A refused connection is no failure: nothing was promised to that client."""

    def __init__(self, port: int, path: str, context: ssl.SSLContext | None = None) -> None:
        self.answers = 0
        self.refusals = 0
        self.failures: list[str] = []
        self._port = port
        self._path = path
        self._context = context
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def end(self) -> None:
        """Let every client finish the request that it is at."""
        self._ending.set()

    def ask(self, is_kept: bool) -> None:
        """One client: until the end or the first refusal; on one connection as long as the server lets it."""
        while not self._ending.is_set():
            connection = self._connection()
            try:
                connection.connect()
                connection.auto_open = 0
                self._ask_on(connection, is_kept)
            except ConnectionRefusedError:
                with self._lock:
                    self.refusals += 1
                return
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(f"{'kept' if is_kept else 'new'}: {error!r}")
            finally:
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_S)
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=DEADLINE_S, context=self._context)

    def _ask_on(self, connection: http.client.HTTPConnection, is_kept: bool) -> None:
        while connection.sock is not None:
            connection.request("GET", self._path, headers=HEADERS if is_kept else HEADERS | {"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            with self._lock:
                self.answers += 1
                if answer.status != http.client.FOUND:
                    self.failures.append(f"status {answer.status}")
            if self._ending.is_set():
                return


@contextmanager
def under_load(
    port: int, path: str, kept: int = 3, new: int = 3, context: ssl.SSLContext | None = None
) -> Iterator[Load]:
    """A load of clients that keep their connection, and of clients that make one for each request; with TLS or not."""
    load = Load(port, path, context)
    clients = [threading.Thread(target=load.ask, args=(number < kept,)) for number in range(kept + new)]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        load.end()
        for client in clients:
            client.join(2 * DEADLINE_S)


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send a request; the head of the answer, whatever it says about the connection."""
    connection.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    return received
