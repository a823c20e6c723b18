"""Tasks that run as long as the process: restarted with backoff when they fail, and never silently gone."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import redis.exceptions

from control.errors import Error
from control.log import Logger

BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0
# What may last: a move takes hours, and a setting that names no shard lasts until it is changed. One line tells of it.
_WAITED_FOR: Final = frozenset(
    {
        "database_unavailable",
        "shard_unavailable",
        "placement_busy",
        "move_under_way",
        "topology_changed",
        "shard_unknown",
    }
)
# A task that is cancelled has left within milliseconds.
CANCEL_INTERVAL_S: Final = 0.5


class Pulse:
    """What a task tells its keeper: `beat()` after each step that worked ends an outage and resets the backoff."""

    def __init__(self, name: str, log: Logger) -> None:
        self.name = name
        self.failures = 0
        self._log = log

    def beat(self) -> None:
        """A step of the task worked."""
        if self.failures:
            self._log.info("background task recovered", task=self.name, failures=self.failures)
            self.failures = 0

    async def rest(self) -> None:
        """For a task that has nothing left to do: wait until it is stopped."""
        await asyncio.Event().wait()

    def fail(self, error: Exception) -> float:
        """Count a failure, log the first of an outage, and return the seconds to wait."""
        self.failures += 1
        if not _is_outage(error):
            self._log.error("background task failed", task=self.name, exc_info=error)
        elif self.failures == 1:
            self._log.warning("background task waits", task=self.name, reason=str(error))
        backoff_s: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self.failures - 1, 16))
        return backoff_s * random.uniform(0.5, 1.0)  # noqa: S311  (jitter, not a secret)


Run = Callable[[Pulse], Awaitable[None]]


class Background:
    """The background tasks of one process. Cancelled together by `stop`."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.pulses: dict[str, Pulse] = {}

    def start(self, name: str, run: Run) -> None:
        """Keep `run` running under `name` until `stop`."""
        pulse = self.pulses[name] = Pulse(name, self._log)
        self._tasks[name] = asyncio.create_task(_keep(pulse, run), name=name)

    async def stop_one(self, name: str) -> None:
        """End one task, if it is there."""
        task = self._tasks.pop(name, None)
        self.pulses.pop(name, None)
        if task is not None:
            await end(task)

    async def stop(self) -> None:
        """End every task."""
        for name in list(self._tasks):
            await self.stop_one(name)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel, again and again: a cancellation can get lost on its way.

    1. A command has just been sent; asyncio.wait_for, by which redis-py sends, is about to hand over its result.
    2. The task is cancelled: Python 3.11's wait_for sees that the result is there, returns it and forgets the rest.
    Or the cleanup of a library fails, and its error takes the cancellation's place.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_INTERVAL_S)


async def _keep(pulse: Pulse, run: Run) -> None:
    while True:
        try:
            await run(pulse)
        except Exception as error:  # noqa: BLE001  (whatever ended the task, it is logged and the task comes back)
            await asyncio.sleep(pulse.fail(error))


def _is_outage(error: Exception) -> bool:
    """Whether `error` says that PostgreSQL or Redis is away, or busy, which is expected and logged once."""
    if isinstance(error, Error):
        return error.code in _WAITED_FOR
    return isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError)
