"""python -m benchmarks.attack.hostile KIND PORT CONNECTIONS: attack until SIGTERM, then print what was done as JSON."""

import asyncio
import contextlib
import json
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

ADDRESSES: Final = 50  # 127.0.3.1 and on
BYTE_INTERVAL_S: Final = 1.0
OPEN_TOGETHER: Final = 64
HEAD_BYTES: Final = 64 * 1024  # more than any server takes
PATIENCE_S: Final = 5.0
START: Final = b"GET /code HTTP/1.1\r\nHost: localhost\r\n"
# l_onoff 1, l_linger 0: close(2) sends RST.
RESET: Final = struct.pack("ii", 1, 0)

Counts = Counter[str]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attacker = Callable[["Target"], Awaitable[None]]


class Target:
    """The server, seen by one of many attackers; what they do is counted together."""

    def __init__(self, port: int, number: int, counts: Counts, gate: asyncio.Semaphore) -> None:
        self.counts = counts
        self._port = port
        self._address = f"127.0.3.{1 + number % ADDRESSES}"
        self._gate = gate

    async def connect(self) -> Streams:
        """A connection, of which not too many are being opened."""
        async with self._gate:
            streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._address, 0))
        self.counts["connections"] += 1
        return streams


async def slow_head(target: Target) -> None:
    """Send a head that never ends, a byte at a time."""
    reader, writer = await target.connect()
    try:
        writer.write(START + b"X: ")
        while not reader.at_eof():
            await asyncio.sleep(BYTE_INTERVAL_S)
            writer.write(b"a")
            await writer.drain()
            target.counts["bytes"] += 1
    finally:
        target.counts["closed"] += 1
        writer.close()


async def large_head(target: Target) -> None:
    """Send more head than is allowed, read what comes."""
    reader, writer = await target.connect()
    try:
        writer.write(START + b"X: " + b"a" * HEAD_BYTES)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read(64)
        target.counts[f"answered {answer[9:12].decode('ascii', 'replace')}" if answer else "closed unanswered"] += 1
    finally:
        writer.transport.abort()


async def reset(target: Target) -> None:
    """End connections in the four ways that clients do not: unasked, in a head, before and after half-closing."""
    for words, is_half_closed in ((b"", False), (START, False), (START + b"\r\n", False), (START + b"\r\n", True)):
        reader, writer = await target.connect()
        try:
            writer.write(words)
            if is_half_closed:
                writer.write_eof()
                async with asyncio.timeout(PATIENCE_S):
                    await reader.read()
                target.counts["half-closed"] += 1
        finally:
            peer: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # the server was faster
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
            target.counts["reset"] += 1


KINDS: Final[dict[str, Attacker]] = {"slow-heads": slow_head, "large-heads": large_head, "resets": reset}


async def _again_and_again(attack: Attacker, target: Target) -> None:
    while True:
        try:
            await attack(target)
        except (OSError, TimeoutError, EOFError) as error:
            target.counts[type(error).__name__] += 1
            await asyncio.sleep(0)  # a server that refuses at once must not keep the others of us from their turns


async def _run(kind: str, port: int, connections: int) -> Counts:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    counts: Counts = Counter()
    gate = asyncio.Semaphore(OPEN_TOGETHER)
    targets = [Target(port, number, counts, gate) for number in range(connections)]
    tasks = [asyncio.create_task(_again_and_again(KINDS[kind], target)) for target in targets]
    # Connections that were refused count too: else a server that defends itself would never be attacked.
    while counts.total() < connections and not stopping.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await stopping.wait()
    done = counts.copy()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done


def main() -> int:
    """Attack."""
    kind, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(asyncio.run(_run(kind, port, connections))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
