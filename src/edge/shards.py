"""The connection to one shard: lookups, invalidation pushes, heartbeats, health.

A worker holds just one connection to each shard, so replies and pushes come in Redis's own order: the push for a
write that came after a read always arrives after the read's reply, and no stale value can stay in L1 (I4).

    disconnected ──connect──▶ greeting ──heartbeat accepted──▶ usable
          ▲                                                       │
          └───────── cut, refused, or a ping overdue ─────────────┘     the shard's generation rises

A shard is usable while it is trusted and no reply is overdue. Trust ends a fixed time after the *sending* of the last
ping that was answered, or with the lease of the last heartbeat: a write is pushed before the answer to a ping that
Redis reads after it, so whoever slept finds its trust run out before it can answer from the past.

Everything here runs on the worker's loop; deadlines are swept by the worker's one coarse timer.
"""

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote, urlsplit

import hiredis
import structlog

from edge._counters import Counters
from edge._front import Front
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.verdict import DOUBTFUL, Verdict, judge
from wire import VERSION, keys
from wire import heartbeat as wire_heartbeat

log = structlog.get_logger("edge.shards")

RECONNECT_MS_MIN: Final = 50
RECONNECT_MS_MAX: Final = 1000
# Requests sent and not answered: at the largest batch a loop turn makes, beyond which the shard counts as overdue.
PENDING_MAX: Final = 1024
_NOTHING: Final = object()


class ShardError(Exception):
    """The shard refused the greeting, or said what no shard should say; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Listener(Protocol):
    """What a shard tells its worker."""

    def on_document(self, key: bytes, data: bytes) -> None:
        """A topology or domains document was read."""

    def on_invalidated(self, key: bytes) -> None:
        """A link's key changed."""


@dataclass(slots=True)
class Pending:
    """A command that was sent. `on_reply` gets the reply; None once the wait for it was given up."""

    deadline_ms: int
    on_reply: Callable[[Any], None] | None
    on_timeout: Callable[[], None] | None = None


@dataclass(slots=True)
class Link:
    """The state of one connection, made anew with each."""

    transport: asyncio.Transport
    reader: Any = field(default_factory=lambda: hiredis.Reader(notEnoughData=_NOTHING))
    pending: deque[Pending] = field(default_factory=deque)
    run_id: str = ""
    pinged_ms: int = 0
    heartbeat_ms: int = 0
    pong_sent_ms: int = 0
    lease_until_ms: int = 0
    fence: bytes | None = None
    verdict: Verdict = DOUBTFUL
    sequence_seen: int = 0
    sequence_applied: int = 0
    is_sequence_read: bool = False
    is_sequence_due: bool = False
    is_greeted: bool = False


class Shard(asyncio.Protocol):
    """One shard, as one worker sees it. `number` is its place in the Front's tables, None for a seed."""

    def __init__(
        self, shard_id: str, url: str, number: int | None, *, front: Front, config: EdgeConfig, listener: Listener
    ) -> None:
        self.id = shard_id
        self.url = url
        self.number = number
        self.epoch = 0
        self._front = front
        self._counters: Counters = front.counters
        self._config = config
        self._listener = listener
        self._edge_id = ""
        self._link: Link | None = None
        self._lost: asyncio.Future[None] | None = None
        self._greeted: asyncio.Future[None] | None = None
        self._was_reported = False

    # ---- life

    async def run(self, edge_id: str) -> None:
        """Keep a connection open until cancelled."""
        self._edge_id = edge_id
        delay_ms = RECONNECT_MS_MIN
        while True:
            try:
                await self._connect()
                delay_ms = RECONNECT_MS_MIN
                log.info("shard connected", shard=self.id, run_id=self._link.run_id if self._link else "")
                self._was_reported = False
                assert self._lost is not None
                await self._lost
            except (OSError, TimeoutError, ShardError) as error:
                self._report(error)
            finally:
                self._drop()
            await asyncio.sleep(delay_ms / 1000 * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret
            delay_ms = min(delay_ms * 2, RECONNECT_MS_MAX)

    def _report(self, error: Exception) -> None:
        """Say once for each outage why the shard cannot be used."""
        if not self._was_reported:
            self._was_reported = True
            log.warning(
                "shard unreachable, its links come from PostgreSQL", shard=self.id, error=str(error) or "timeout"
            )

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        self._greeted = loop.create_future()
        parts = urlsplit(self.url)
        async with asyncio.timeout(self._config.connect_timeout_ms / 1000):
            if parts.scheme == "unix":
                await loop.create_unix_connection(lambda: self, parts.path)
            else:
                context = ssl.create_default_context() if parts.scheme == "rediss" else None
                await loop.create_connection(lambda: self, parts.hostname or "", parts.port or 6379, ssl=context)
            await self._greeted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: greet the server; tracking is on before anything is read."""
        self._link = Link(cast(asyncio.Transport, transport))  # uvloop's is none by inheritance
        self._counters.add("shard_connects")
        parts = urlsplit(self.url)
        hello: list[Any] = ["HELLO", 3]
        if parts.password:
            hello += ["AUTH", unquote(parts.username or "default"), unquote(parts.password)]
        self._send(hello, self._on_greeting)
        if parts.scheme != "unix" and parts.path.strip("/"):
            self._send(["SELECT", int(parts.path.strip("/"))], self._on_greeting)
        self._send(["CLIENT", "SETNAME", f"pointsman-edge:{self._edge_id or 'seed'}"], self._on_greeting)
        prefixes = [word for prefix in keys.TRACKED_PREFIXES for word in (b"PREFIX", prefix)]
        self._send(["CLIENT", "TRACKING", "ON", "BCAST", *prefixes], self._on_greeting)
        self._send(["INFO", "server"], self._on_info)
        self._send(["MGET", keys.TOPOLOGY, keys.DOMAINS], self._on_documents)
        if self.number is None:
            self._send(["PING"], lambda _reply: self._become_greeted())
        else:
            self._beat()

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: whatever this shard filled is distrusted from this instant on."""
        self._drop()
        for waiting in (self._lost, self._greeted):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error or ConnectionResetError(f"{self.id} closed the connection"))
                waiting.exception()  # whoever awaits it gets it; nobody else needs a warning about it

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        link.transport.abort()
        if self.number is not None:
            self._front.distrust(self.number)
            self._counters.add("shard_distrusts")
        for pending in link.pending:
            if pending.on_timeout is not None:
                pending.on_timeout()

    def close(self) -> None:
        """Cut the connection; `run` opens another unless it is cancelled."""
        self._drop()

    def _fail(self, code: str, message: str) -> None:
        link = self._link
        error = ShardError(code, f"{self.id}: {message}")
        for waiting in (self._greeted, self._lost):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
                waiting.exception()
        if link is not None:
            self._drop()

    # ---- sending

    def _send(
        self,
        command: Sequence[Any],
        on_reply: Callable[[Any], None],
        on_timeout: Callable[[], None] | None = None,
        timeout_ms: int = 0,
    ) -> None:
        link = self._link
        assert link is not None
        now_ms = monotonic_ms()
        link.pending.append(Pending(now_ms + (timeout_ms or self._config.ping_timeout_ms), on_reply, on_timeout))
        link.transport.write(hiredis.pack_command(tuple(command)))

    @property
    def is_usable(self) -> bool:
        """Whether a lookup sent now is worth waiting for."""
        link = self._link
        return (
            link is not None
            and self.number is not None
            and self._front.is_shard_trusted(self.number)
            and len(link.pending) < PENDING_MAX
            and (not link.pending or link.pending[0].on_reply is not None)
        )

    def lookup(
        self,
        names: Sequence[bytes],
        on_values: Callable[[Verdict, int, Sequence[bytes | None]], None],
        on_failure: Callable[[], None],
    ) -> None:
        """Read the records of links by their cache keys, the fence in front.

        Just one of the two is called, once and later: `on_values(verdict, generation, values)`, or `on_failure()`.
        """
        link, number = self._link, self.number
        assert link is not None
        assert number is not None
        generation = self._front.generation(number)

        def on_reply(reply: Any) -> None:
            if not isinstance(reply, list) or len(reply) != len(names) + 1:
                on_failure()
                self._fail("reply", f"MGET answered {reply!r:.200}")
                return
            on_values(self._judge(link, reply[0]), generation, reply[1:])

        command = (b"MGET", keys.FENCE, *(keys.LINK_PREFIX + name for name in names))
        self._send(command, on_reply, on_failure, self._config.reply_timeout_ms)

    def _judge(self, link: Link, fence: bytes | None) -> Verdict:
        if fence != link.fence or link.verdict is DOUBTFUL:
            link.fence = fence
            link.verdict = judge(fence, self.epoch, link.run_id)
        if link.verdict is DOUBTFUL or link.verdict.is_epoch_behind:
            self._counters.add("shard_doubtful_replies")
        return link.verdict

    def set_epoch(self, epoch: int) -> None:
        """Hold another epoch: judge the fence anew and tell the shard."""
        self.epoch = epoch
        if self._link is not None:
            self._link.verdict = DOUBTFUL
            if self._link.is_greeted and self.number is not None:
                self._beat()

    # ---- receiving

    def data_received(self, data: bytes) -> None:
        """asyncio: replies in order, pushes in between."""
        link = self._link
        if link is None:
            return
        try:
            link.reader.feed(data)
            while self._link is link and (reply := link.reader.gets()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                else:
                    self._on_reply(link, reply)
        except hiredis.ProtocolError as error:
            self._fail("protocol", str(error))

    def _on_reply(self, link: Link, reply: Any) -> None:
        if not link.pending:
            self._fail("protocol", "a reply came to no request")
            return
        pending = link.pending.popleft()
        if pending.on_reply is not None:
            pending.on_reply(reply)

    def _on_push(self, push: list[Any]) -> None:
        if push[0] != b"invalidate":
            return
        if push[1] is None:  # FLUSHALL: everything this shard filled is gone
            if self.number is not None:
                self._front.distrust(self.number)
                self._counters.add("shard_distrusts")
                self._ping()
            return
        self._counters.add("invalidations", len(push[1]))
        for key in push[1]:
            if key.startswith(keys.LINK_PREFIX):
                self._listener.on_invalidated(key[len(keys.LINK_PREFIX) :])
            elif key == keys.SEQUENCE:
                self._read_sequence()
            elif key in (keys.TOPOLOGY, keys.DOMAINS):
                self._send(["MGET", keys.TOPOLOGY, keys.DOMAINS], self._on_documents)

    def _on_greeting(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._fail("refused", f"the greeting was refused: {reply}; Redis 6.2 or later is needed")

    def _on_info(self, reply: Any) -> None:
        if self._link is None:
            return
        lines = reply.decode().splitlines() if isinstance(reply, bytes) else []
        run_ids = [line.partition(":")[2] for line in lines if line.startswith("run_id:")]
        if not run_ids:
            self._fail("refused", "INFO server gave no run_id; the user needs the permission for INFO")
            return
        self._link.run_id = run_ids[0]

    def _on_documents(self, reply: Any) -> None:
        if not isinstance(reply, list):
            self._fail("refused", f"the topology could not be read: {reply}")
            return
        for key, data in zip((keys.TOPOLOGY, keys.DOMAINS), reply, strict=True):
            if data is not None:
                self._listener.on_document(key, data)

    def refresh_documents(self) -> None:
        """Read topology and domains again, because a fence was ahead of this edge."""
        if self._link is not None and self._link.is_greeted:
            self._send(["MGET", keys.TOPOLOGY, keys.DOMAINS], self._on_documents)

    # ---- health

    def sweep(self, now_ms: int) -> None:
        """Give overdue lookups up, cut a silent connection, ping and beat when due."""
        link = self._link
        if link is None:
            return
        for pending in link.pending:
            if pending.deadline_ms > now_ms:
                continue
            if pending.on_timeout is None:
                self._counters.add("shard_timeouts")
                self._fail("silent", f"no answer within {self._config.ping_timeout_ms} ms")
                return
            if pending.on_reply is not None:
                self._counters.add("shard_timeouts")
                pending.on_reply = None
                on_timeout, pending.on_timeout = pending.on_timeout, _nothing
                on_timeout()
        if link.is_greeted and now_ms - link.pinged_ms >= self._config.ping_interval_ms:
            self._ping()
        if self.number is not None and now_ms - link.heartbeat_ms >= wire_heartbeat.INTERVAL_MS:
            self._beat()

    def _ping(self) -> None:
        link = self._link
        assert link is not None
        sent_ms = link.pinged_ms = monotonic_ms()

        def on_pong(reply: Any) -> None:
            if isinstance(reply, hiredis.ReplyError):
                self._fail("refused", f"PING was refused: {reply}")
                return
            link.pong_sent_ms = sent_ms
            self._renew_trust(link)

        self._send(["PING"], on_pong)

    def _beat(self) -> None:
        link = self._link
        assert link is not None
        sent_ms = link.heartbeat_ms = monotonic_ms()
        heartbeat = wire_heartbeat.Heartbeat(
            edge_id=self._edge_id, build=VERSION, epoch=self.epoch, sequence=link.sequence_applied
        )

        def on_beat(reply: Any) -> None:
            if reply != b"OK":
                self._fail("refused", f"the heartbeat was refused: {reply}")
                return
            # The lease counts from before the sending, so it ends here before it ends for control.
            link.lease_until_ms = sent_ms + wire_heartbeat.LEASE_MS
            link.pong_sent_ms = max(link.pong_sent_ms, sent_ms)
            self._renew_trust(link)
            self._become_greeted()

        key = keys.edge_key(self._edge_id)
        self._send(["SET", key, wire_heartbeat.encode(heartbeat), "PX", wire_heartbeat.EXPIRES_MS], on_beat)

    def _renew_trust(self, link: Link) -> None:
        if self.number is not None:
            until_ms = min(link.pong_sent_ms + self._config.ping_timeout_ms, link.lease_until_ms)
            self._front.trust(self.number, until_ms)

    def _become_greeted(self) -> None:
        if self._link is not None:
            self._link.is_greeted = True
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)

    # ---- acknowledging

    def _read_sequence(self) -> None:
        """Read pm:seq and acknowledge it after one more round trip.

        In BCAST mode the pushes of one of Redis's event-loop turns are sent at its end: 1. control writes a link and
        pm:seq; 2. our GET of the same turn is answered with the new number; 3. only then the link's push is sent. The
        answer to a PING sent after 2 comes after 3.
        """
        link = self._link
        if link is None or self.number is None:
            return
        if link.is_sequence_read:
            link.is_sequence_due = True
            return
        link.is_sequence_read = True
        link.is_sequence_due = False

        def on_sequence(reply: Any) -> None:
            link.sequence_seen = int(reply) if isinstance(reply, bytes) and reply.isdigit() else link.sequence_applied
            if self._link is link:
                self._send(["PING"], on_pong)

        def on_pong(_reply: Any) -> None:
            link.is_sequence_read = False
            link.sequence_applied = link.sequence_seen
            if self._link is link:
                self._beat()
                if link.is_sequence_due:
                    self._read_sequence()

        self._send(["GET", keys.SEQUENCE], on_sequence)


def _nothing() -> None:
    """In place of a callback that has been called."""
