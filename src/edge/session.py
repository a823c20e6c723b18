"""One connection to one Redis: commands out; replies in their order, and pushes in between; an end that comes once.

A connection that is lost is not taken up again: `connect` makes another session, so what arrives late from the old
connection cannot touch the new one.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

import hiredis

from edge.clock import monotonic_ms
from wire import keys

_NOTHING: Final = object()

OnPush = Callable[[list[Any]], None]


class ShardError(Exception):
    """The shard cannot be used, or said what no shard should say; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a session waits: for its connection, and for the reply to a command that cannot be given up."""

    connect_ms: int
    reply_ms: int


@dataclass(slots=True)
class Pending:
    """A command that was sent. `on_failure` is called when it is given up; without one, silence ends the session."""

    deadline_ms: int
    on_reply: Callable[[Any], None]
    on_failure: Callable[[], None] | None = None
    is_given_up: bool = False


class Session(asyncio.Protocol):
    """Made by `connect`. `ended` gets the error with which the session ended; `on_end` is called at that instant."""

    def __init__(self, timeouts: Timeouts, on_push: OnPush, on_end: "OnEnd") -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timeouts = timeouts
        self._on_push = on_push
        self._on_end = on_end
        self._transport: asyncio.Transport
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._pending: deque[Pending] = deque()
        self._given_up = 0

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the greeting follows when `connect` goes on."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: whatever the reason."""
        self.end(error or ConnectionResetError("the shard closed the connection"))

    def data_received(self, data: bytes) -> None:
        """asyncio: replies in order, pushes in between."""
        try:
            self._reader.feed(data)
            while not self.ended.done() and (reply := self._reader.gets()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                else:
                    self._on_reply(reply)
        except hiredis.ProtocolError as error:
            self.fail("protocol", str(error))

    def _on_reply(self, reply: Any) -> None:
        if not self._pending:
            self.fail("protocol", "a reply came to no request")
            return
        pending = self._pending.popleft()
        self._given_up -= pending.is_given_up
        pending.on_reply(reply)

    # ---- commands

    def send(
        self,
        command: Sequence[Any],
        on_reply: Callable[[Any], None],
        on_failure: Callable[[], None] | None = None,
        timeout_ms: int = 0,
    ) -> None:
        """Send a command. `on_reply` is called if an answer comes, also after `on_failure`, which is called once."""
        if self.ended.done():
            if on_failure is not None:
                on_failure()
            return
        deadline_ms = monotonic_ms() + (timeout_ms or self._timeouts.reply_ms)
        self._pending.append(Pending(deadline_ms, on_reply, on_failure))
        self._transport.write(hiredis.pack_command(tuple(command)))

    @property
    def pending_count(self) -> int:
        """Commands that were sent and not answered."""
        return len(self._pending)

    @property
    def is_stalled(self) -> bool:
        """Whether a reply that was given up is still to come: the reply to what is sent now would come behind it."""
        return self._given_up > 0

    def give_up_overdue(self, now_ms: int) -> int:
        """Give up the commands whose time is over, and say how many; a session that must not be silent ends."""
        overdue = [pending for pending in self._pending if pending.deadline_ms <= now_ms and not pending.is_given_up]
        for pending in overdue:
            if pending.on_failure is None:
                self.fail("silent", f"no answer within {self._timeouts.reply_ms} ms")
                break
            pending.is_given_up = True
            self._given_up += 1
            pending.on_failure()
        return len(overdue)

    # ---- the end

    def fail(self, code: str, message: str) -> None:
        """End the session because of what the shard did."""
        self.end(ShardError(code, message))

    def end(self, error: Exception) -> None:
        """Cut the connection and give up all that waits; only the first call does anything."""
        if self.ended.done():
            return
        self.ended.set_exception(error)
        self.ended.exception()  # whoever awaits it gets it; nobody else needs a warning about it
        self._transport.abort()
        self._on_end(self)
        for pending in self._pending:
            if pending.on_failure is not None and not pending.is_given_up:
                pending.on_failure()
        self._pending.clear()


OnEnd = Callable[[Session], None]


async def connect(url: str, timeouts: Timeouts, on_push: OnPush, on_end: OnEnd) -> Session:
    """A session with the shard at `url`; raises OSError, TimeoutError, or ShardError for a URL that cannot be used."""
    loop = asyncio.get_running_loop()

    def make() -> Session:
        return Session(timeouts, on_push, on_end)

    try:
        parts = urlsplit(url)
        async with asyncio.timeout(timeouts.connect_ms / 1000):
            if parts.scheme == "unix":
                return (await loop.create_unix_connection(make, parts.path))[1]
            # In a thread: reading the system's certificates takes tens of milliseconds.
            context = await asyncio.to_thread(ssl.create_default_context) if parts.scheme == "rediss" else None
            return (await loop.create_connection(make, parts.hostname or "", parts.port or 6379, ssl=context))[1]
    except ValueError as error:  # the port, or a host that is no name
        raise ShardError("url", f"{redacted(url)} cannot be used: {error}") from error


def greeting(url: str, client_name: str, is_tracking: bool = True) -> list[tuple[Any, ...]]:
    """The commands that come first, each to be answered without an error; tracking is on before anything is read."""
    parts = urlsplit(url)
    commands: list[tuple[Any, ...]] = [("HELLO", 3, *_credentials(parts))]
    if parts.scheme != "unix" and parts.path.strip("/"):
        commands.append(("SELECT", parts.path.strip("/")))
    commands.append(("CLIENT", "SETNAME", client_name))
    if not is_tracking:
        return commands
    prefixes = [word for prefix in keys.TRACKED_PREFIXES for word in (b"PREFIX", prefix)]
    commands.append(("CLIENT", "TRACKING", "ON", "BCAST", *prefixes))
    return commands


def redacted(url: str) -> str:
    """A URL without its password, for logs."""
    head, at, host = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{host}" if at else url


def _credentials(parts: SplitResult) -> tuple[str, ...]:
    if not parts.password:
        return ()
    return ("AUTH", unquote(parts.username or "default"), unquote(parts.password))
