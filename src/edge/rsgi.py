"""The edge behind another server: an RSGI application, `granian --interface rsgi edge.rsgi:app`.

For who wants HTTP/2, or has Granian in front anyway. L1, look-ups, freshness and answers are those of the edge's own
door; Granian reads the requests, and its limits on clients hold instead of the door's, but for the budget of unknown
codes. Settings are the edge's; those about listening, workers and connections are Granian's.
"""

import asyncio
import mmap
import os
import signal
from typing import Any, Final

import msgspec
import structlog

from edge._budget import Budgets
from edge._client import ClientKeys, Networks, canonical
from edge._connection import Tier
from edge._counters import BLOCK_BYTES
from edge._forwarded import Forwarding, client_of
from edge._front import Answer
from edge._gate import Gate, Visitor, Whole
from edge.assignment import Assignment
from edge.certificates import NONE
from edge.clicks import ship
from edge.clock import monotonic_ms
from edge.config import EdgeConfig, load
from edge.log import configure
from edge.shipping import Shipping
from edge.worker import Worker

log = structlog.get_logger("edge.rsgi")

NOBODY: Final = "::"  # a peer on a Unix socket
FIELDS: Final = {Forwarding.FORWARDED: "forwarded", Forwarding.X_FORWARDED_FOR: "x-forwarded-for"}


class Request:
    """A request that waits for the resolver."""

    __slots__ = ("_reply",)

    def __init__(self, reply: "asyncio.Future[tuple[Answer, Tier]]") -> None:
        self._reply = reply

    def answer(self, answer: Answer, tier: Tier) -> None:
        """Called by the resolver, once."""
        if not self._reply.done():
            self._reply.set_result((answer, tier))


class Application:
    """One worker of another server, with an edge's parts inside."""

    def __init__(self, config: EdgeConfig) -> None:
        # Processes come and go as Granian likes: none of them has a slot, so none has a snapshot of its own.
        self._config = msgspec.structs.replace(config, snapshot_bytes=0)
        self._trusted = Networks(config.trusted_networks)
        self._forwarding = Forwarding[config.forwarded.replace("-", "_").upper()]
        self._keys = ClientKeys(os.urandom(16))
        self._budgets = Budgets(config.budget_clients_max, config.unknown_codes_per_s, config.unknown_codes_burst)
        self._is_stopping = False
        self._worker: Worker
        self._running: asyncio.Task[None]
        self._is_worker_gone = asyncio.Event()
        self._shipper: asyncio.Task[None]
        self._gates: tuple[Gate, Gate]

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by the server in its worker, before the first request."""
        loop.run_until_complete(self._start())

    async def _start(self) -> None:
        memory = mmap.mmap(-1, BLOCK_BYTES)
        name = f"rsgi-{os.getpid()}"
        self._worker = Worker(self._config, _alone(memory), name)
        self._running = asyncio.create_task(self._worker.run())
        self._running.add_done_callback(self._on_end)
        # In each of the server's workers; the one that gets the directory's lock ships for all of them.
        self._shipper = asyncio.create_task(ship(self._config, Shipping(), self._is_worker_gone))
        self._gates = (Gate(self._worker.front, self._config, False), Gate(self._worker.front, self._config, True))
        await self._worker.until_serving(self._config.ready_timeout_ms)

    def _on_end(self, running: "asyncio.Task[None]") -> None:
        """Nobody pushes changes to this process any more: better none than one that answers from the past."""
        if not self._is_stopping:
            log.error("worker failed, its process ends", error=repr(running.exception()))
            os.kill(os.getpid(), signal.SIGTERM)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by the server when its worker ends."""
        self._is_stopping = True
        self._worker.stop()
        loop.run_until_complete(self._running)
        self._is_worker_gone.set()
        loop.run_until_complete(self._shipper)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        gate = self._gates[scope.scheme == "https"]
        method = scope.method
        hosts = scope.headers.get_all("host")
        host = hosts[0] if len(hosts) == 1 else _odd_host(scope, hosts)
        visitor = self._visitor(scope) if self._config.clicks else None
        found = gate.answer(method, host, scope.path, visitor)
        if len(found) == 2:
            found = await self._look_up(scope, gate, visitor, *found)
        status, fields, body = found
        if method == "HEAD":
            protocol.response_empty(status, [*fields, ("content-length", str(len(body)))])
        elif not body:
            protocol.response_empty(status, fields)
        else:
            protocol.response_bytes(status, fields, body)

    async def _look_up(self, scope: Any, gate: Gate, visitor: Visitor | None, key: bytes, key_hash: int) -> Whole:
        address = self._client(scope)
        client = 0 if address == NOBODY else self._keys.key(address)
        if client and not self._budgets.take_token(client, monotonic_ms()):
            return gate.refusal()
        self._budgets.give_token(client)
        reply: asyncio.Future[tuple[Answer, Tier]] = asyncio.get_running_loop().create_future()
        self._worker.resolver.resolve(key, key_hash, Request(reply))
        answer, tier = await reply
        if client and answer.is_absent:
            self._budgets.take_token(client, monotonic_ms())
        return gate.answered(answer, tier, visitor)

    def _visitor(self, scope: Any) -> Visitor:
        """What the click log may want to know of a request."""
        headers = scope.headers
        address = self._client(scope) if self._config.click_address != "none" else NOBODY
        return Visitor(
            scope.method,
            _raw(headers.get("user-agent")),
            _raw(headers.get("referer")),
            _raw(scope.query_string),
            None if address == NOBODY else address,
            headers.get("sec-gpc") == "1" or headers.get("dnt") == "1",
        )

    def _client(self, scope: Any) -> str:
        """The address of the client, or NOBODY: nobody knows who it is."""
        peer = _address(scope.client)
        if self._forwarding != Forwarding.OFF:
            field = FIELDS[self._forwarding]
            lines = [f"{field}: {value}" for value in scope.headers.get_all(field)]
            head = "\r\n".join(("GET / HTTP/1.1", *lines, "", ""))
            peer = client_of(self._forwarding, head.encode("latin-1", "replace"), self._trusted, peer)
        return peer


def _odd_host(scope: Any, hosts: list[str]) -> str | None:
    """The host of a request that has not just one Host field: HTTP/2 has an authority, HTTP/1.0 may have none."""
    if hosts:
        return None
    return scope.authority or ("" if scope.http_version in ("1", "1.0") else None)


def _raw(value: str | None) -> bytes:
    """A field's bytes, as far as the server has kept them."""
    return b"" if value is None else value.encode("utf-8", "replace")


def _address(client: str) -> str:
    """The address of the server's `host:port`, or NOBODY."""
    try:
        return canonical(client.rpartition(":")[0].strip("[]"))
    except ValueError:
        return NOBODY


def _alone(memory: mmap.mmap) -> Assignment:
    """No listening sockets and nobody to report to."""
    return Assignment(slot=0, block=0, is_successor=False, plain=(), tls=(), counters=memory, credentials=NONE)


def create() -> Application:
    """The application by the environment's settings; raises config.ConfigError."""
    config = load(os.environ)
    configure(config.log_format, config.log_level)
    return Application(config)


def __getattr__(name: str) -> Application:
    """`app` is made when a server asks for it, so that importing the module needs no settings."""
    if name == "app":
        return create()
    raise AttributeError(name)
