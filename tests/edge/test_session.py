"""One connection to a Redis that says what no Redis should say, nothing, or everything late; bytes are scripted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from edge.clock import monotonic_ms
from edge.session import Session, ShardError, Timeouts, connect, greeting
from tests.edge.rig import until

PING = b"*1\r\n$4\r\nPING\r\n"
PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nl:1:a\r\n"


@dataclass
class Peer:
    """The other end of the session, and what the session has told."""

    session: Session
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    told: list[Any] = field(default_factory=list)

    def ping(self, name: str, **options: Any) -> None:
        """Send a command whose end is told under this name."""
        self.session.send(("PING",), lambda reply: self.told.append((name, reply)), **options)

    def give_up(self, name: str) -> Callable[[], None]:
        """For `on_failure`."""
        return lambda: self.told.append((name, "given up"))


@asynccontextmanager
async def connected() -> AsyncIterator[Peer]:
    """A session and its peer."""
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
    server = await asyncio.start_server(lambda *streams: accepted.set_result(streams), "127.0.0.1", 0)
    told: list[Any] = []
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    session = await connect(url, Timeouts(1000, 1000), told.append, lambda _session: told.append("ended"))
    peer = Peer(session, *(await accepted), told)
    try:
        yield peer
    finally:
        session.end(ConnectionAbortedError())
        peer.writer.close()
        server.close()


def test_replies_go_to_their_commands_and_pushes_beside() -> None:
    """In Redis's order, whatever lies between."""

    async def run() -> None:
        async with connected() as peer:
            peer.ping("one")
            peer.ping("two")
            assert await peer.reader.readexactly(2 * len(PING)) == 2 * PING
            for byte in b"+1\r\n" + PUSH + b"+2\r\n":
                peer.writer.write(bytes([byte]))
            await until(lambda: len(peer.told) == 3)
            assert peer.told == [("one", b"1"), [b"invalidate", [b"l:1:a"]], ("two", b"2")]

    asyncio.run(run())


@pytest.mark.parametrize("nonsense", [b"+reply to nothing\r\n", b"!garbage\r\n\x00\x00"])
def test_nonsense_ends_the_session_once(nonsense: bytes) -> None:
    """And all that waited is given up, though more nonsense follows."""

    async def run() -> None:
        async with connected() as peer:
            peer.writer.write(nonsense * 3)
            with pytest.raises(ShardError) as raised:
                await peer.session.ended
            assert raised.value.code == "protocol"
            peer.ping("late", on_failure=peer.give_up("late"))
            assert peer.told == ["ended", ("late", "given up")]

    asyncio.run(run())


def test_reply_that_was_given_up_is_still_told_to_its_own_command() -> None:
    """The next command's reply is not taken for it; until it has come the session is stalled."""

    async def run() -> None:
        async with connected() as peer:
            peer.ping("must answer")
            peer.ping("slow", on_failure=peer.give_up("slow"), timeout_ms=10)
            assert (peer.session.give_up_overdue(monotonic_ms()), peer.session.is_stalled) == (0, False)
            assert (peer.session.give_up_overdue(monotonic_ms() + 20), peer.session.is_stalled) == (1, True)
            assert peer.session.give_up_overdue(monotonic_ms() + 30) == 0
            peer.ping("next", on_failure=peer.give_up("next"))
            peer.writer.write(b"+0\r\n+1\r\n+2\r\n")
            await until(lambda: len(peer.told) == 4)
            assert peer.told == [("slow", "given up"), ("must answer", b"0"), ("slow", b"1"), ("next", b"2")]
            assert (peer.session.is_stalled, peer.session.pending_count) == (False, 0)

    asyncio.run(run())


def test_silence_ends_the_session_and_gives_each_command_up_once() -> None:
    """Those overdue already, those not yet due, and none of them twice."""

    async def run() -> None:
        async with connected() as peer:
            peer.ping("overdue", on_failure=peer.give_up("overdue"), timeout_ms=10)
            peer.session.give_up_overdue(monotonic_ms() + 20)
            peer.ping("must answer")
            peer.ping("not due", on_failure=peer.give_up("not due"), timeout_ms=60_000)
            peer.session.give_up_overdue(monotonic_ms() + 2000)
            with pytest.raises(ShardError, match="no answer within 1000 ms"):
                await peer.session.ended
            assert peer.told == [("overdue", "given up"), "ended", ("not due", "given up")]

    asyncio.run(run())


def test_peer_that_hangs_up_ends_the_session() -> None:
    """With nothing left waiting."""

    async def run() -> None:
        async with connected() as peer:
            peer.ping("waiting", on_failure=peer.give_up("waiting"))
            peer.writer.close()
            with pytest.raises(ConnectionResetError):
                await peer.session.ended
            assert peer.told == ["ended", ("waiting", "given up")]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "commands"),
    [
        ("redis://h", [("HELLO", 3)]),
        ("redis://:p%40ss@h/", [("HELLO", 3, "AUTH", "default", "p@ss")]),
        ("redis://user:pass@h:1/2", [("HELLO", 3, "AUTH", "user", "pass"), ("SELECT", "2")]),
        ("unix:///run/redis.sock", [("HELLO", 3)]),
    ],
)
def test_greeting_follows_from_the_url(url: str, commands: list[tuple[object, ...]]) -> None:
    """Who, which database, and tracking last."""
    *first, name, tracking = greeting(url, "me")
    assert (first, name, tracking[:4]) == (
        commands,
        ("CLIENT", "SETNAME", "me"),
        ("CLIENT", "TRACKING", "ON", "BCAST"),
    )
