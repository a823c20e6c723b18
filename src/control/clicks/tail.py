"""The live tail's publisher: a few of the clicks that were just stored, told to whoever follows.

What is published is lost if nobody listens, and that is all right: every click is in the tables already. Each message
is a document (`wire.document`) with `clicks`, newest first, and `skipped`: how many more were offered since the message
before and not sent.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from control.errors import Error
from control.shards.connection import ShardConnection
from wire import FormatError, document, keys

FORMAT_VERSION: Final = 1
# As many as somebody can see scroll by; a busy service has thousands more.
SAMPLES_PER_S_MAX: Final = 50
# How long a new follower waits at most for the first click, and what asking costs a shard when nobody is there.
LISTENERS_CHECK_S: Final = 1.0
_WINDOW_S: Final = 1.0

Sample = dict[str, Any]
Newest = Callable[[int], Sequence[Sample]]


class Tail:
    """One for each process that stores clicks."""

    def __init__(self) -> None:
        self._checks: dict[str, tuple[float, bool]] = {}  # by shard: when it was asked, whether somebody listens
        self._window_s = 0.0
        self._left = SAMPLES_PER_S_MAX
        self._skipped = 0  # since the last message, while somebody listens

    async def offer(self, connection: ShardConnection, count: int, newest: Newest) -> None:
        """Publish some of the `count` clicks of a batch if anybody follows through this shard, at most
        SAMPLES_PER_S_MAX a second of all that this process stores. `newest` gives so many, and is asked only then.

        Raises Error("shard_unavailable").
        """
        if not count:
            return
        if not await self._is_heard(connection):
            self._skipped = 0  # who comes later has not missed them
            return
        taken = self._take(count)
        self._skipped += count - taken
        if taken:
            skipped, self._skipped = self._skipped, 0
            await connection.execute("PUBLISH", keys.CLICKS_TAIL, encode(newest(taken), skipped))

    async def _is_heard(self, connection: ShardConnection) -> bool:
        now_s = asyncio.get_running_loop().time()
        asked_s, is_heard = self._checks.get(connection.shard_id, (-LISTENERS_CHECK_S, False))
        if now_s - asked_s < LISTENERS_CHECK_S:
            return is_heard
        _, listeners = await connection.execute("PUBSUB", "NUMSUB", keys.CLICKS_TAIL)
        self._checks[connection.shard_id] = (now_s, int(listeners) > 0)
        return int(listeners) > 0

    def _take(self, wanted: int) -> int:
        """How many may be published now."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._window_s >= _WINDOW_S:
            self._window_s, self._left = now_s, SAMPLES_PER_S_MAX
        taken = min(wanted, self._left)
        self._left -= taken
        return taken


def encode(samples: Sequence[Sample], skipped: int) -> bytes:
    """A message of the channel."""
    return document.pack(FORMAT_VERSION, {"clicks": samples, "skipped": skipped})


def decode(data: bytes) -> tuple[list[Sample], int]:
    """The samples of a message and how many were left out; raises Error("tail_message_invalid")."""
    try:
        body = document.unpack(data, FORMAT_VERSION, "message of the tail")
        samples = document.field(body, "clicks", list, "message of the tail")
        skipped = document.field(body, "skipped", int, "message of the tail")
    except FormatError as error:
        raise Error("tail_message_invalid", str(error)) from error
    return [sample for sample in samples if isinstance(sample, dict)], skipped
