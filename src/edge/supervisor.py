"""The supervisor: owns the listening sockets, starts the workers and starts them again, serves the admin port.

Each worker has a listening socket of its own on the one public address (SO_REUSEPORT), made and kept open here: the
kernel spreads connections over them, and what waits in the queue of a worker that died is served by its successor.
"""

import asyncio
import mmap
import os
import signal
import socket
import sys
from typing import Final

import structlog

from edge._counters import BLOCK_BYTES, Counters
from edge._http import Status
from edge.admin import Page, serve
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.metrics import Worker, render
from edge.worker import BACKLOG

log = structlog.get_logger("edge.supervisor")

RESPAWN_MS_MIN: Final = 100
RESPAWN_MS_MAX: Final = 5000
STEADY_MS: Final = 10_000  # a worker that lived this long did not fail at its start
SILENT_MS: Final = 5000  # a worker whose loop has not turned for this long is not alive


class SupervisorError(Exception):
    """The edge cannot start; the message tells the operator why."""


class Supervisor:
    """One edge: its sockets, its workers' processes, their counters."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._memory = os.memfd_create("pointsman-counters")
        os.ftruncate(self._memory, BLOCK_BYTES * config.workers)
        mapping = mmap.mmap(self._memory, BLOCK_BYTES * config.workers)
        self._counters = [Counters(mapping, slot) for slot in range(config.workers)]
        self._listeners: list[socket.socket] = []
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._starts = 0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises SupervisorError if a port cannot be had."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopping.set)
        self._listeners = [_listen(self._config.host, self._config.port) for _ in range(self._config.workers)]
        try:
            admin = await serve(self._config.admin_host, self._config.admin_port, self._page)
        except OSError as error:
            raise SupervisorError(_refusal(self._config.admin_host, self._config.admin_port, error)) from error
        log.info("edge started", address=f"{self._config.host}:{self._config.port}", workers=self._config.workers)
        async with asyncio.TaskGroup() as tasks:
            for slot in range(self._config.workers):
                tasks.create_task(self._keep_alive(slot))
        admin.close()
        log.info("edge stopped")

    async def _keep_alive(self, slot: int) -> None:
        """Start the worker of a slot again whenever it ends, until the edge stops."""
        delay_ms = RESPAWN_MS_MIN
        while not self._stopping.is_set():
            started_ms = monotonic_ms()
            code = await self._run_worker(slot)
            if self._stopping.is_set():
                return
            delay_ms = RESPAWN_MS_MIN if monotonic_ms() - started_ms > STEADY_MS else min(delay_ms * 2, RESPAWN_MS_MAX)
            log.error("worker ended, starting another", worker=slot, exit_code=code, delay_ms=delay_ms)
            await self._wait_for_stop(delay_ms)

    async def _run_worker(self, slot: int) -> int:
        """Start a worker, wait for its end or for the stop of the edge; its exit code."""
        listener = self._listeners[slot]
        arguments = ("--worker", str(slot), "--listener", str(listener.fileno()), "--counters", str(self._memory))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge", *arguments, pass_fds=(listener.fileno(), self._memory)
        )
        self._starts += 1
        self._processes[slot] = process
        ending = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ending.done():
            await self._stop(process, ending)
        del self._processes[slot]
        return ending.result()

    async def _stop(self, process: asyncio.subprocess.Process, ending: "asyncio.Task[int]") -> None:
        """Ask a worker to drain; kill it if it takes longer than it may."""
        process.send_signal(signal.SIGTERM)
        await asyncio.wait({ending}, timeout=self._config.drain_ms / 1000 + 1)
        if not ending.done():
            process.kill()
            await ending

    async def _wait_for_stop(self, timeout_ms: int) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout_ms / 1000)
        except TimeoutError:
            return

    # ---- the admin port

    def _page(self, method: str, path: str) -> Page:
        if method == "OTHER":
            return Page.refusal(Status.METHOD_NOT_ALLOWED)
        if path == "/healthz":
            return self._health()
        if path == "/readyz":
            return self._readiness()
        if path == "/metrics":
            workers = [Worker(counters.read(), counters.shards()) for counters in self._counters]
            return Page.metrics(render(workers, self._starts, monotonic_ms()))
        return Page.refusal(Status.NOT_FOUND)

    def _health(self) -> Page:
        now_ms = monotonic_ms()
        silent = [slot for slot, values in enumerate(self._counters) if now_ms - values.get("beat_ms") > SILENT_MS]
        return Page.verdict(not silent, {"status": "silent workers" if silent else "ok", "silent_workers": silent})

    def _readiness(self) -> Page:
        now_ms = monotonic_ms()
        workers = []
        for slot, counters in enumerate(self._counters):
            values = counters.read()
            is_alive = slot in self._processes and now_ms - values["beat_ms"] <= SILENT_MS
            workers.append(
                {
                    "worker": slot,
                    "pid": self._processes[slot].pid if slot in self._processes else None,
                    "is_ready": is_alive and values["is_ready"] == 1,
                    "epoch": values["epoch"],
                    "shards": values["shards_known"],
                    "shards_trusted": values["shards_trusted"],
                    "is_origin_reachable": values["is_origin_reachable"] == 1,
                }
            )
        is_ready = all(worker["is_ready"] for worker in workers)
        return Page.verdict(is_ready, {"status": "ready" if is_ready else "not ready", "workers": workers})


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket of one worker. The first one made finds out whether the port is taken by another edge."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Accepted sockets inherit it: an answer is one send and must not wait for more.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SupervisorError(_refusal(host, port, error)) from error
    return listener


def _refusal(host: str, port: int, error: OSError) -> str:
    return f"cannot listen on {host}:{port}: {error.strerror}; free the port or set another one"
