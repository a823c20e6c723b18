"""One slot of the edge: its worker's process, started again when it ends, and replaced without a gap.

    booting ──ready──▶ serving ──SIGTERM──▶ draining ──▶ ended
       │                  │                    │
       │ too slow         │ crash              │ too slow
       ▼                  ▼                    ▼
    draining            ended, and            killed
                        another boots

At most one process of a slot serves and at most one more starts or drains, so two blocks of counters are enough. A
successor accepts on the sockets of the worker that it replaces: the queue is emptied by somebody at every moment.
"""

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass
from typing import Any, Final

import structlog

from edge.assignment import Descriptors
from edge.certificates import Credentials, encode
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.lifecycle import Lifecycle
from edge.listeners import Listeners
from edge.memory import memory_file
from edge.metrics import Worker
from edge.totals import Totals

log = structlog.get_logger("edge.slot")

RESPAWN_MS_MIN: Final = 100
RESPAWN_MS_MAX: Final = 5000
STEADY_MS: Final = 10_000  # a worker that lived this long did not fail at its start
SILENT_MS: Final = 5000  # a worker whose loop has not turned for this long is not alive
READY_POLL_MS: Final = 20  # how late a successor's word that it serves may be noticed
KILL_AFTER_MS: Final = 1000  # beyond drain_ms: a worker ends by itself unless it hangs


@dataclass(frozen=True, slots=True)
class Edge:
    """What the slots of one edge share."""

    config: EdgeConfig
    listeners: Listeners
    totals: Totals
    lifecycle: Lifecycle
    stopping: "asyncio.Future[None]"  # done once the edge has been asked to stop


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A worker's process; `ending` is done, with the exit code, once what it counted is in the sums."""

    process: asyncio.subprocess.Process
    generation: int
    block: int
    started_ms: int
    ending: "asyncio.Task[int]"


class Slot:
    """The worker with one number."""

    def __init__(self, number: int, edge: Edge, credentials: Credentials) -> None:
        self.number = number
        self.credentials = credentials
        self.crashes = 0  # in a row
        self._edge = edge
        self._serving: Process | None = None
        self._changed_ms = monotonic_ms()  # when a process was started or found to have ended
        self._alive: set[Process] = set()
        self._turn = asyncio.Lock()  # whoever holds it may start a process and make it the serving one
        self._replaced = asyncio.Event()

    # ---- what the supervisor tells of it

    @property
    def pid(self) -> int | None:
        """The process that serves, or is to serve."""
        return self._serving.process.pid if self._serving else None

    def worker(self) -> Worker:
        """What it has counted, over all processes that the slot ever had."""
        return self._edge.totals.read(self.number, self._serving.block if self._serving else None)

    def is_silent(self) -> bool:
        """Whether no loop has turned for long; a process that starts, or starts again, has as long to begin."""
        beat_ms = self._edge.totals.counters(self._serving.block).get("beat_ms") if self._serving else 0
        return monotonic_ms() - max(beat_ms, self._changed_ms) > SILENT_MS

    # ---- life

    async def keep(self) -> None:
        """Have a worker serve, and another one whenever it ends unasked, until the edge stops."""
        delay_ms = RESPAWN_MS_MIN
        while not self._edge.stopping.done():
            try:
                worker = await self._have()
            except OSError as error:  # no memory, no process: the machine may have some again
                log.error("cannot start a worker", worker=self.number, reason=str(error))  # noqa: TRY400
                await first_of(self._edge.stopping, timeout_ms=RESPAWN_MS_MAX)
                continue
            replaced = asyncio.create_task(self._replaced.wait())
            await first_of(worker.ending, self._edge.stopping, replaced)
            replaced.cancel()
            if self._edge.stopping.done() or self._replaced.is_set():
                continue
            is_steady = monotonic_ms() - worker.started_ms > STEADY_MS
            delay_ms = RESPAWN_MS_MIN if is_steady else min(delay_ms * 2, RESPAWN_MS_MAX)
            self._note_crash(worker, is_steady, delay_ms)
            await first_of(self._edge.stopping, timeout_ms=delay_ms)

    async def replace(self, credentials: Credentials) -> str:
        """Start a successor and, once it serves, let the worker drain. Why that was not possible, or nothing."""
        async with self._turn:
            old = self._serving
            generation = old.generation + 1 if old else 0
            living = old if old and not old.ending.done() else None
            try:
                successor = await self._start(generation, credentials, is_successor=living is not None)
            except OSError as error:
                return str(error)
            reason = await self._why_not_ready(successor, living)
            if not reason:
                self._serving, self.credentials, self.crashes = successor, credentials, 0
                self._replaced.set()
        leaving = successor if reason else living
        if leaving is not None:
            await self._see_off(leaving)
        return reason

    def ask_to_stop(self) -> None:
        """Ask every process of the slot to drain."""
        for process in self._alive:
            self._ask(process)

    async def wait_for_end(self) -> None:
        """Until no process of the slot is left; those that take too long are killed."""
        for process in tuple(self._alive):
            await first_of(process.ending, timeout_ms=self._edge.config.drain_ms + KILL_AFTER_MS)
            await self._kill(process)

    async def _have(self) -> Process:
        """The process that serves; a new one if there is none."""
        async with self._turn:
            self._replaced.clear()
            if self._serving is None or self._serving.ending.done():
                generation = self._serving.generation if self._serving else 0
                self._serving = await self._start(generation, self.credentials)
            return self._serving

    async def _start(self, generation: int, credentials: Credentials, is_successor: bool = False) -> Process:
        edge = self._edge
        block = edge.totals.block(self.number, generation)
        with memory_file("pointsman-credentials", encode(credentials)) as memory:
            given = Descriptors(
                slot=self.number,
                block=block,
                is_successor=is_successor,
                plain=tuple(listener.fileno() for listener in edge.listeners.plain(self.number)),
                tls=tuple(listener.fileno() for listener in edge.listeners.tls(self.number)),
                counters=edge.totals.memory,
                credentials=memory,
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edge", "--worker", given.pack(), pass_fds=given.inherited
            )
        edge.lifecycle.starts += 1
        self._changed_ms = monotonic_ms()
        ending = asyncio.create_task(self._end(process, block))
        started = Process(process, generation, block, monotonic_ms(), ending)
        self._alive.add(started)
        ending.add_done_callback(lambda _: self._alive.discard(started))
        return started

    async def _end(self, process: asyncio.subprocess.Process, block: int) -> int:
        code = await process.wait()
        self._edge.totals.end(self.number, block)
        return code

    async def _why_not_ready(self, successor: Process, old: Process | None) -> str:
        """Wait until a successor says that it serves, and give nothing; or why it is not to be waited for."""
        counters = self._edge.totals.counters(successor.block)
        deadline_ms = successor.started_ms + self._edge.config.ready_timeout_ms
        while counters.get("is_ready") != 1:
            if successor.ending.done():
                return f"its successor ended with code {successor.ending.result()}"
            if old is not None and old.ending.done():
                # Nobody serves the slot now, and a successor takes no client before it is sure: `keep` is quicker.
                return "it ended itself meanwhile"
            if self._edge.stopping.done():
                return "the edge stops"
            if monotonic_ms() >= deadline_ms:
                return f"its successor was not ready within {self._edge.config.ready_timeout_ms} ms"
            await first_of(successor.ending, self._edge.stopping, timeout_ms=READY_POLL_MS)
        return ""

    def _note_crash(self, worker: Process, is_steady: bool, delay_ms: int) -> None:
        self._changed_ms = monotonic_ms()
        self.crashes = 1 if is_steady else self.crashes + 1
        self._edge.lifecycle.crashes += 1
        log.error(
            "worker ended, starting another",
            worker=self.number,
            exit_code=worker.ending.result(),
            crashes_in_a_row=self.crashes,
            delay_ms=delay_ms,
        )

    def _ask(self, process: Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.process.send_signal(signal.SIGTERM)

    async def _see_off(self, process: Process) -> None:
        """Let a process drain, until it has ended; when the edge stops meanwhile, `wait_for_end` sees to it."""
        self._ask(process)
        timeout_ms = self._edge.config.drain_ms + KILL_AFTER_MS
        await first_of(process.ending, self._edge.stopping, timeout_ms=timeout_ms)
        if not self._edge.stopping.done():
            await self._kill(process)

    async def _kill(self, process: Process) -> None:
        if not process.ending.done():
            with contextlib.suppress(ProcessLookupError):
                process.process.kill()
        await process.ending


async def first_of(*futures: "asyncio.Future[Any]", timeout_ms: int | None = None) -> None:
    """Until one of them is done, or the time is over."""
    timeout_s = None if timeout_ms is None else timeout_ms / 1000
    await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
