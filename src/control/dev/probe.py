"""Questions to a server on this machine: are you there, do you take work? Each takes a fraction of a second."""

import http.client
import socket
import struct
from typing import Final

from control.dev.ports import LOOPBACK

TIMEOUT_S: Final = 0.5
PROTOCOL_3_0: Final = 196_608


def answers_redis(port: int) -> bool:
    """Whether a Redis server answers PING: one that still loads its log answers -LOADING."""
    return _exchange(port, b"PING\r\n", 5) == b"+PONG"


def answers_postgres(port: int) -> bool:
    """Whether PostgreSQL takes connections: it asks who we are, while one that starts or stops sends an error."""
    body = struct.pack(">I", PROTOCOL_3_0) + b"user\0probe\0database\0probe\0\0"
    return _exchange(port, struct.pack(">I", len(body) + 4) + body, 1) == b"R"


def answers_http(port: int, path: str) -> bool:
    """Whether GET `path` is answered with 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _exchange(port: int, request: bytes, reply_bytes: int) -> bytes:
    try:
        with socket.create_connection((LOOPBACK, port), TIMEOUT_S) as connection:
            connection.sendall(request)
            return connection.recv(reply_bytes, socket.MSG_WAITALL)
    except OSError:
        return b""
