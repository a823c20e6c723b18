"""The audit in the background: pass after pass, in one of all control processes.

The lock of a session in PostgreSQL says who audits. It only saves double work: two auditors would do no harm, because
what either changes is compared with what it has seen.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from control.audit import store
from control.audit.model import Audit
from control.audit.passes import Held, Options, Pass, Tools
from control.background import Pulse
from control.config import ControlConfig
from control.db import Connection
from control.moves.throttle import Throttle
from control.moves.work import Pace

# Between the tries to become the auditor, and while a move is waited for.
POLL_INTERVAL_S: Final = 1.0
# How much is done twice when this process ends.
SAVE_INTERVAL_S: Final = 1.0
# A small installation is through in no time, and need not be gone through again at once.
REST_S: Final = 60.0
# After a pass that had to skip a shard.
REST_INCOMPLETE_S: Final = 5.0


def pace_of(config: ControlConfig, links_s: int) -> Pace:
    """So many links a second; fewer when a shard answers later than moves would let it."""
    return Pace(links_s=links_s, latency_s=config.moves_latency_ms / 1000)


class Auditor:
    """This process's auditor, as a background task."""

    def __init__(self, tools: Tools, options: Options, pace: Pace) -> None:
        self._tools = tools
        self._options = options
        self._pace = pace
        self._saved_s = 0.0

    async def run(self, pulse: Pulse) -> None:
        """Audit as long as nobody else does."""
        while True:
            async with self._tools.database.dedicated() as session:
                if await store.try_auditor_lock(session):
                    self._tools.log.info("this process audits")
                    while True:
                        await self._audit(session, pulse)
            pulse.beat()
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _audit(self, session: Connection, pulse: Pulse) -> None:
        """One pass, when it is due."""
        while await store.rests_for(session, REST_S, REST_INCOMPLETE_S) > 0:
            pulse.beat()
            await asyncio.sleep(POLL_INTERVAL_S)
        audit = await store.begin(session)
        throttle = Throttle(self._pace, asyncio.get_running_loop().time())
        going = Pass(self._tools, self._options, throttle, (audit.place, audit.tally))
        await self._go(going, session, audit, pulse)
        await store.save(session, audit.id, going.place, going.tally, None)
        await store.end(session, audit.id, is_complete=going.tally.is_whole)

    async def _go(self, going: Pass, session: Connection, audit: Audit, pulse: Pulse) -> None:
        report = self._reporter(going, session, audit, pulse)
        while True:
            try:
                await going.run(report)
            except Held as held:
                await store.save(session, audit.id, going.place, going.tally, str(held))
                pulse.beat()
                await asyncio.sleep(POLL_INTERVAL_S)
            else:
                return

    def _reporter(self, going: Pass, session: Connection, audit: Audit, pulse: Pulse) -> Callable[[], Awaitable[None]]:
        async def report() -> None:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._saved_s >= SAVE_INTERVAL_S:
                self._saved_s = now_s
                await store.save(session, audit.id, going.place, going.tally, None)
                pulse.beat()

        return report
