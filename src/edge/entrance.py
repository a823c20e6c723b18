"""Where clients come in, plain and with TLS, and how that ends.

begin ──▶ accepting ──drain──▶ the queues are emptied ──▶ answers close ──▶ idle ones are closed ──▶ what is left is cut
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from edge._counters import Counters
from edge._fast import Door
from edge._front import Front
from edge._roster import Roster
from edge.assignment import Assignment
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.listeners import is_anyone_waiting
from edge.tls import contexts

QUEUE_MS_MAX: Final = 1000  # for accepting what was queued; in a roll the successor empties the queue too

Until = Callable[[Callable[[], bool], int], Awaitable[None]]
"""Waits until a condition holds, at most for so many milliseconds."""


class Entrance:
    """The listening sockets of one worker and what came in through them."""

    def __init__(self, config: EdgeConfig, front: Front, assignment: Assignment, until: Until) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._front = front
        self._counters: Counters = front.counters
        self._assignment = assignment
        self._until = until
        self._roster = Roster(front, loop, config)
        self._door = Door(loop, self._roster)

    def begin(self) -> None:
        """Accept on all listening sockets of the assignment."""
        for listener in self._assignment.plain:
            self._door.listen(listener)
        if self._assignment.tls:
            made = contexts(self._assignment.credentials)
            for listener in self._assignment.tls:
                self._door.listen(listener, made)

    def sweep(self) -> None:
        """End what takes longer than it may, and show what is open."""
        self._roster.sweep()
        self._counters.set("connections_open", len(self._roster))
        self._counters.set("unsent_bytes", self._roster.unsent_bytes)
        self._counters.set("budget_evictions", self._roster.budget_evictions)

    async def drain(self) -> None:
        """Give every connection an answer to what it asks, and an end; for at most drain_ms."""
        deadline_ms = monotonic_ms() + self._config.drain_ms
        self._front.drain()
        await self._stop_accepting()
        # A request may be on its way on a connection that is idle here: closing that at once would fail it. nginx has
        # keepalive_min_timeout for this, HAProxy idle-close-on-response.
        await self._until(self._is_empty, min(self._config.drain_idle_ms, self._config.drain_ms))
        self._roster.close_idle()
        await self._until(self._is_empty, max(0, deadline_ms - monotonic_ms()))
        self._counters.add("connections_cut", len(self._roster))
        self._door.close()

    async def _stop_accepting(self) -> None:
        """Accept what is queued, then listen no more."""
        listeners = (*self._assignment.plain, *self._assignment.tls)
        await self._until(lambda: not is_anyone_waiting(listeners), QUEUE_MS_MAX)
        self._door.stop_listening()

    def _is_empty(self) -> bool:
        return not len(self._roster)
