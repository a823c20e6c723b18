"""One supervised program: started, started again when it dies, given up on when it keeps dying, stopped.

start ──ready──▶ watched ──dies──▶ after a backoff: start ── … ──▶ DEATHS_MAX deaths within DEATHS_WINDOW_S: Error
"""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from control.dev.program import (
    POLL_INTERVAL_S,
    READY_TIMEOUT_S,
    Program,
    describe_exit,
    failure,
    kill_group,
    spawn,
    tail,
)
from control.errors import Error

DEATHS_MAX: Final = 5
DEATHS_WINDOW_S: Final = 60.0
BACKOFF_FIRST_S: Final = 0.25
STOP_TIMEOUT_S: Final = 10.0  # above the edge's and control's own deadlines for answers under way


def backoff_s(deaths: Sequence[float], now: float) -> float | None:
    """How long to wait after the last of `deaths` (times by the clock of `now`); None when it is time to give up."""
    recent = [death for death in deaths if now - death < DEATHS_WINDOW_S]
    if len(recent) >= DEATHS_MAX:
        return None
    return BACKOFF_FIRST_S * 2.0 ** (len(recent) - 1)


class Child:
    """A program and, while it runs, its process. `announce` gets a line when something happens to it."""

    def __init__(self, program: Program, inherited: Sequence[int], announce: Callable[[str], None]) -> None:
        self.program = program
        self._inherited = inherited
        self._announce = announce
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[None]
        self._deaths: list[float] = []

    @property
    def pid(self) -> int:
        """The pid of the running process, 0 when there is none."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start it and return when it is ready; raises Error("stack_failed")."""
        self._process = spawn(self.program, self._inherited)
        self._ended = _end_of(self._process)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not await asyncio.to_thread(self.program.is_ready):
            await asyncio.wait((self._ended,), timeout=POLL_INTERVAL_S)
            if self._ended.done():
                raise failure(self.program, f"ended with {describe_exit(self._collect())}")
            if time.monotonic() > deadline:
                await self.stop()
                raise failure(self.program, f"is not ready after {READY_TIMEOUT_S:.0f} s")

    async def keep(self, on_restart: Callable[[], None]) -> None:
        """Start it again whenever it ends; raises Error("stack_failed") when it ends too often."""
        while True:
            await asyncio.shield(self._ended)
            code = self._collect()
            self._announce(
                f"{self.program.name} ended with {describe_exit(code)}; {self.program.log} ends with\n"
                f"{tail(self.program.log)}"
            )
            await self._restart()
            self._announce(f"{self.program.name} runs again")
            on_restart()

    async def stop(self) -> None:
        """Ask it to end, kill it if it takes too long, and collect it and what it left behind."""
        if self._process is None:
            return
        if not self._ended.done():
            self._process.send_signal(self.program.stop_signal)
            await asyncio.wait((self._ended,), timeout=STOP_TIMEOUT_S)
        if not self._ended.done():
            self._announce(f"{self.program.name} did not stop within {STOP_TIMEOUT_S:.0f} s and is killed")
        self._collect()

    async def _restart(self) -> None:
        while True:
            self._deaths.append(time.monotonic())
            delay_s = backoff_s(self._deaths, self._deaths[-1])
            if delay_s is None:
                raise failure(self.program, f"ended {DEATHS_MAX} times within {DEATHS_WINDOW_S:.0f} s")
            await asyncio.sleep(delay_s)
            with contextlib.suppress(Error):  # it counts as one more death
                return await self.start()

    def _collect(self) -> int:
        """The exit code; whatever of the program's group is still there is killed, so that it holds no port."""
        assert self._process is not None
        kill_group(self._process)
        code = self._process.wait()
        self._process = None
        return code


def _end_of(process: subprocess.Popen[bytes]) -> asyncio.Future[None]:
    """Done when the process has ended; its exit code is left to be collected."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    handle = os.pidfd_open(process.pid)

    def end() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(handle, end)
    return ended
