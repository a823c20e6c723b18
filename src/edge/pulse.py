"""The heartbeats of one worker at one shard: by which topology it answers, how it does; and the lease they give it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from edge._counters import Counters
from edge.clock import monotonic_ms
from edge.session import Session
from edge.standing import Standing
from edge.vitals import vitals
from wire import VERSION, keys
from wire import heartbeat as wire_heartbeat

log = structlog.get_logger("edge.pulse")

LEAVE_S: Final = 0.2  # for a shard to take a heartbeat away; without that it ends by itself in seconds


class Pulse:
    """Beats by whatever session there is. `edge_id` is the worker's, set before the first beat."""

    def __init__(self, shard_id: str, counters: Counters) -> None:
        self.edge_id = ""
        self.acknowledged = 0  # the epoch up to which nothing older can be answered
        self._shard_id = shard_id
        self._counters = counters
        self._lookups = 0  # answered since the last heartbeat
        self._lookups_us = 0
        self._has_left = False

    def note_lookup(self, duration_us: int) -> None:
        """A look-up at the shard was answered after so long."""
        self._lookups += 1
        self._lookups_us += duration_us

    def beat(self, session: Session, standing: Standing, applied: int, on_accepted: Callable[[], None]) -> None:
        """Send a heartbeat; `applied` is the highest pm:seq whose invalidations were applied."""
        if self._has_left:
            return
        sent_ms = standing.heartbeat_ms = monotonic_ms()
        heartbeat = wire_heartbeat.Heartbeat(
            edge_id=self.edge_id,
            build=VERSION,
            epoch=self.acknowledged,
            sequence=applied,
            lookup_us=self._lookups_us // max(1, self._lookups),
            **vitals(self._counters),
        )
        self._lookups = self._lookups_us = 0

        def on_beat(reply: Any) -> None:
            if reply != b"OK":
                session.fail("refused", f"the heartbeat was refused: {reply}")
                return
            # The lease counts from before the sending, so it ends here before it ends for control.
            standing.lease_until_ms = sent_ms + wire_heartbeat.LEASE_MS
            standing.pong_sent_ms = max(standing.pong_sent_ms, sent_ms)
            on_accepted()

        key = keys.edge_key(self.edge_id)
        session.send(("SET", key, wire_heartbeat.encode(heartbeat), "PX", wire_heartbeat.EXPIRES_MS), on_beat)

    async def leave(self, session: Session) -> None:
        """Take the heartbeat away, for good."""
        self._has_left = True
        is_gone = asyncio.Event()
        session.send(("DEL", keys.edge_key(self.edge_id)), lambda _reply: is_gone.set())
        try:
            await asyncio.wait_for(is_gone.wait(), LEAVE_S)
        except TimeoutError:
            log.info("heartbeat left to end by itself", shard=self._shard_id)
