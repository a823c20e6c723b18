"""Finding a move to drive, and being the only one that drives it.

The lock of a session in PostgreSQL says who drives. It is only there to save double work: the session of a process
that stands still is ended after a while, and another process takes the move over with a new token, which makes the old
driver a stranger to the row.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from control.background import Pulse
from control.config import ControlConfig
from control.db import Connection
from control.errors import Error
from control.moves import carry, clean, store, verify
from control.moves.driver import ERROR_MAX, Drive, Options, Superseded, Tools
from control.moves.model import Move
from control.moves.plan import Speed
from control.moves.steps import WorkName
from control.moves.work import Pace, Work

POLL_INTERVAL_S: Final = 1.0
KEEP_INTERVAL_S: Final = store.DRIVER_SILENT_MAX_S / 5
WORKS: Final[Mapping[WorkName, Work]] = {"copy": carry.copy, "verify": verify.verify, "remove": clean.remove}


def options_of(config: ControlConfig) -> Options:
    """The settings of moves."""
    latency_s = config.moves_latency_ms / 1000
    return Options(
        soak_s=config.moves_soak_s,
        lost_after_s=config.moves_lost_after_s,
        copy=Pace(links_s=config.moves_copy_links_s, latency_s=latency_s),
        remove=Pace(links_s=config.moves_remove_links_s, latency_s=latency_s),
    )


def speed_of(config: ControlConfig) -> Speed:
    """What plans are reckoned with."""
    return Speed(copy_links_s=config.moves_copy_links_s, soak_s=config.moves_soak_s)


class Driver:
    """This process's driver, as a background task."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A move may have been started or changed."""
        self._woken.set()

    async def run(self, pulse: Pulse) -> None:
        """Drive whatever move there is."""
        while True:
            self._woken.clear()
            async with self._tools.database.connection() as connection:
                is_wanted = await store.under_way(connection) is not None
            if is_wanted:
                await self._try_to_drive(pulse)
            pulse.beat()
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass  # another process may have started one

    async def _try_to_drive(self, pulse: Pulse) -> None:
        async with self._tools.database.dedicated() as session:
            if not await store.try_driver_lock(session):
                return
            async with self._tools.database.connection() as connection:
                move = await store.take_over(connection)
            if move is not None:
                pulse.beat()
                await self._drive(session, move)

    async def _drive(self, session: Connection, move: Move) -> None:
        """Drive as long as the session holds the lock."""
        log = self._tools.log.bind(move=move.id)
        log.info("this process drives the move", phase=move.phase, driver=move.driver)
        driving = asyncio.ensure_future(Drive(self._tools, move, self._woken).run())
        keeping = asyncio.ensure_future(_keep(session))
        try:
            await asyncio.wait((driving, keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (driving, keeping):
                task.cancel()
            outcomes = await asyncio.gather(driving, keeping, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Superseded):
                log.warning("another process drives the move now")
            elif isinstance(outcome, Exception):
                await self._show(move, outcome)
                raise outcome

    async def _show(self, move: Move, error: Exception) -> None:
        """Let the move say what its driver cannot get over, else it would stand still without a reason."""
        if isinstance(error, Error) and error.code == "database_unavailable":
            return
        text = f"{type(error).__name__}: {error}"[:ERROR_MAX]
        async with self._tools.database.connection() as connection:
            await store.note(connection, move, "its driver has failed, and is started again", text, is_time=False)


async def _keep(session: Connection) -> None:
    while True:
        await asyncio.sleep(KEEP_INTERVAL_S)
        if session.is_closed():
            raise Error("database_unavailable", "the session that holds the driver's lock was lost")
        await store.say_something(session)
