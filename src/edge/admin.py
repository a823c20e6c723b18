"""The admin port: health, readiness and metrics, for operators and their monitoring; not for the public."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from edge._http import parse

HEAD_BYTES_MAX: Final = 8192
CONNECTIONS_MAX: Final = 64
TIMEOUT_S: Final = 5


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: 200 if it is good news, else 503."""

    is_good: bool
    content_type: str
    text: str

    @classmethod
    def json(cls, is_good: bool, body: dict[str, Any]) -> "Page":
        """A page of JSON."""
        return cls(is_good, "application/json", orjson.dumps(body).decode())


class AdminConnection(asyncio.Protocol):
    """One client of the admin port; one request each."""

    def __init__(self, page: Callable[[str], Page | None], connections: set["AdminConnection"]) -> None:
        self._page = page
        self._connections = connections
        self._head = b""
        self._transport: asyncio.Transport
        self._timeout: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: too many at once are closed unanswered."""
        self._transport = cast(asyncio.Transport, transport)     # uvloop's is none by inheritance
        self._timeout = asyncio.get_running_loop().call_later(TIMEOUT_S, self._transport.abort)
        self._connections.add(self)
        if len(self._connections) > CONNECTIONS_MAX:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: forget the client."""
        self._timeout.cancel()
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: answer once the head is whole."""
        self._head += data
        head = parse(self._head)
        if head == 0:
            return
        if isinstance(head, int):
            self._answer(f"{-head} Refused", "text/plain; charset=utf-8", "This request could not be understood.\n")
            return
        _, method, path, *_ = head
        page = self._page(path.decode("ascii"))
        if page is None:
            self._answer("404 Not Found", "text/plain; charset=utf-8", "Here are /healthz, /readyz and /metrics.\n")
        elif method == "OTHER":
            self._answer("405 Method Not Allowed", "text/plain; charset=utf-8", "This port answers GET and HEAD.\n")
        else:
            line = "200 OK" if page.is_good else "503 Service Unavailable"
            self._answer(line, page.content_type, page.text, has_body=method == "GET")

    def _answer(self, line: str, content_type: str, text: str, has_body: bool = True) -> None:
        body = text.encode()
        head = (
            f"HTTP/1.1 {line}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            f"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (body if has_body else b""))
        self._transport.close()


async def serve(host: str, port: int, page: Callable[[str], Page | None]) -> asyncio.Server:
    """Listen on the admin port; `page` gives the answer for a path, None for an unknown one."""
    connections: set[AdminConnection] = set()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: AdminConnection(page, connections), host, port)
