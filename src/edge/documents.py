"""What a shard says to everybody: its fence and the documents, as one session reads them."""

from collections.abc import Callable
from typing import Any, Final

from edge.clock import monotonic_ms
from edge.session import Session
from edge.standing import Standing
from wire import keys

KEYS: Final = (keys.TOPOLOGY, keys.DOMAINS)
REFRESH_MS: Final = 100  # at most so often are they read because of fences: they may be a megabyte
REREAD_MS: Final = 1000  # and so often while no document explains the fence; a newer one is pushed anyway


class Documents:
    """Made anew with each session. What was read is told: a document, and that the fence is known."""

    def __init__(
        self,
        session: Session,
        standing: Standing,
        on_document: Callable[[bytes, bytes], None],
        on_fence: Callable[[], None],
    ) -> None:
        self._session = session
        self._standing = standing
        self._on_document = on_document
        self._on_fence_known = on_fence
        self._read_ms = 0

    def read(self) -> None:
        """Read all of it."""
        self._read_ms = monotonic_ms()
        self._session.send(("MGET", keys.FENCE, *KEYS), self._on_documents)

    def read_again(self, now_ms: int, pause_ms: int) -> None:
        """Read all of it, because a fence was ahead of this edge, unless that was done a moment ago."""
        if now_ms - self._read_ms >= pause_ms:
            self.read()

    def on_push(self, key: bytes) -> None:
        """The key was written: until the fence is read again, nobody knows its epoch."""
        if key == keys.FENCE:
            self._standing.doubt_fence()
            self._session.send(("GET", keys.FENCE), self._on_fence)
        elif key in KEYS:
            self._standing.doubt_fence()
            self.read()

    def _on_documents(self, reply: Any) -> None:
        if not isinstance(reply, list):
            self._session.fail("refused", f"the topology could not be read: {reply}")
            return
        self._on_fence(reply[0])
        for key, data in zip(KEYS, reply[1:], strict=True):
            if data is not None:
                self._on_document(key, data)

    def _on_fence(self, reply: Any) -> None:
        if reply is not None and not isinstance(reply, bytes):
            self._session.fail("refused", f"the fence could not be read: {reply}")
            return
        self._standing.take_fence(reply, monotonic_ms())
        self._on_fence_known()
