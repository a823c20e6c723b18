"""The admin port: health, readiness and metrics, for operators and their monitoring; not for the public."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from edge._http import REASONS, Status, parse, status_line

HEAD_BYTES_MAX: Final = 8192
CONNECTIONS_MAX: Final = 64
TIMEOUT_S: Final = 5


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the admin port."""

    status: int
    content_type: str
    text: str

    @classmethod
    def metrics(cls, text: str) -> "Page":
        """Prometheus text."""
        return cls(Status.OK, "text/plain; version=0.0.4; charset=utf-8", text)

    @classmethod
    def verdict(cls, is_good: bool, body: dict[str, Any]) -> "Page":
        """A check's result as JSON: OK, or unavailable."""
        return cls(Status.OK if is_good else Status.UNAVAILABLE, "application/json", orjson.dumps(body).decode())

    @classmethod
    def refusal(cls, status: int) -> "Page":
        """An error, with what this port has."""
        text = f"{REASONS[status]}. GET /healthz, /readyz or /metrics.\n"
        return cls(status, "text/plain; charset=utf-8", text)


class AdminConnection(asyncio.Protocol):
    """One client of the admin port; one request each."""

    def __init__(self, page: Callable[[str, str], Page], connections: set["AdminConnection"]) -> None:
        self._page = page
        self._connections = connections
        self._head = b""
        self._transport: asyncio.Transport
        self._timeout: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: too many at once are closed unanswered."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
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
            self._answer(Page.refusal(-head))
            return
        _, method, path, *_ = head
        self._answer(self._page(method, path.decode("ascii")), has_body=method != "HEAD")

    def _answer(self, page: Page, has_body: bool = True) -> None:
        body = page.text.encode()
        head = (
            f"{status_line(page.status)}Content-Type: {page.content_type}\r\nContent-Length: {len(body)}\r\n"
            f"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (body if has_body else b""))
        self._transport.close()


async def serve(host: str, port: int, page: Callable[[str, str], Page]) -> asyncio.Server:
    """Listen on the admin port; `page` gives the answer for a method and a path."""
    connections: set[AdminConnection] = set()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: AdminConnection(page, connections), host, port)
