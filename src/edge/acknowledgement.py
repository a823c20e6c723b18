"""How far an edge has applied a shard's writes: pm:seq, read and believed one round trip later."""

from collections.abc import Callable
from typing import Any

from edge.clock import monotonic_ms
from edge.session import Session
from wire import keys


class Acknowledgement:
    """The number that a worker's heartbeats carry for one session. `on_applied` is called when it has changed;
    `on_read` gets each number that was read, after the instant when it was asked for.

    In BCAST mode the pushes of one of Redis's event-loop turns are sent at its end: 1. control writes a link and
    pm:seq; 2. our GET of the same turn is answered with the new number; 3. only then the link's push is sent. The
    answer to a PING sent after 2 comes after 3.
    """

    def __init__(self, session: Session, on_applied: Callable[[], None], on_read: Callable[[int, int], None]) -> None:
        self.applied = 0
        self._session = session
        self._on_applied = on_applied
        self._on_read = on_read
        self._sent_ms = 0
        self._seen = 0
        self._is_under_way = False
        self._is_due = False

    def read(self) -> None:
        """Read pm:seq; while it is being read, once more afterwards."""
        if self._is_under_way:
            self._is_due = True
            return
        self._is_under_way = True
        self._is_due = False
        self._sent_ms = monotonic_ms()
        self._session.send(("GET", keys.SEQUENCE), self._on_sequence)

    def _on_sequence(self, reply: Any) -> None:
        is_number = isinstance(reply, bytes) and reply.isdigit()
        self._seen = int(reply) if is_number else self.applied
        if is_number:
            self._on_read(self._sent_ms, self._seen)
        self._session.send(("PING",), self._on_pong)

    def _on_pong(self, _reply: Any) -> None:
        self._is_under_way = False
        if self.applied != self._seen:
            self.applied = self._seen
            self._on_applied()
        if self._is_due:
            self.read()
