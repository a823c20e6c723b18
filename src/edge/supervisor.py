"""The supervisor: owns the listening sockets, keeps a worker in each slot, rolls and stops them, serves the admin port.

SIGHUP         roll: the certificates are read again, then each worker is replaced in turn (slot.py)
SIGTERM/INT    stop: no new connections, what is queued is accepted, the workers drain
"""

import asyncio
import signal
import time
from collections.abc import Iterable
from typing import Final

import structlog

from edge._http import Status
from edge.admin import Page, serve
from edge.certificates import NONE, Credentials, read
from edge.clicks import ship
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.errors import EdgeError
from edge.lifecycle import Lifecycle
from edge.listeners import Address, Listeners, refusal
from edge.metrics import render
from edge.shipping import Shipping
from edge.slot import Edge, Slot, first_of
from edge.totals import Totals

log = structlog.get_logger("edge.supervisor")

# Between the last SYN let in and the workers' last accept: the third segment of a handshake is on its way that long.
SETTLE_MS: Final = 200
# Connections whose clients have not spoken yet are held back by the kernel for DEFER_S, rounded up to its timer.
SETTLE_MS_MAX: Final = 1300


class Supervisor:
    """One edge: its sockets, its workers' processes, their counters."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._lifecycle = Lifecycle()
        self._slots: list[Slot] = []
        self._is_roll_wanted = asyncio.Event()
        self._shipping = Shipping()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises EdgeError if a port or a certificate cannot be had."""
        credentials = self._read_credentials()
        listeners = Listeners(self._config)
        loop = asyncio.get_running_loop()
        stopping = loop.create_future()
        edge = Edge(self._config, listeners, Totals(self._config.workers), self._lifecycle, stopping)
        self._slots = [Slot(number, edge, credentials) for number in range(self._config.workers)]
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, _finish, stopping)
        loop.add_signal_handler(signal.SIGHUP, self._is_roll_wanted.set)
        are_workers_gone = asyncio.Event()
        shipper = asyncio.create_task(ship(self._config, self._shipping, are_workers_gone))
        try:
            admin = await self._serve_admin(stopping)
            log.info("edge started", addresses=listeners.addresses, workers=self._config.workers)
            async with asyncio.TaskGroup() as tasks:
                for slot in self._slots:
                    tasks.create_task(slot.keep())
                tasks.create_task(self._roll_when_wanted(stopping))
            await self._stop(listeners)
            are_workers_gone.set()  # what they recorded last is shipped too
            await shipper
            admin.close()
        finally:
            listeners.close()
            shipper.cancel()
            await asyncio.gather(shipper, return_exceptions=True)
        log.info("edge stopped")

    async def _serve_admin(self, stopping: "asyncio.Future[None]") -> asyncio.Server:
        host, port = self._config.admin_host, self._config.admin_port
        try:
            return await serve(host, port, lambda method, path: self._page(method, path, stopping.done()))
        except OSError as error:
            raise EdgeError(refusal(str(Address(host, port)), error)) from error

    async def _stop(self, listeners: Listeners) -> None:
        """Let every connection that a client was given be answered, for at most drain_ms."""
        log.info("edge stops, connections drain", drain_ms=self._config.drain_ms)
        listeners.silence()
        deadline_ms = monotonic_ms() + SETTLE_MS_MAX
        await asyncio.sleep(SETTLE_MS / 1000)
        # The kernel's table can be read, not waited for.
        while listeners.is_anyone_arriving() and monotonic_ms() < deadline_ms:  # noqa: ASYNC110
            await asyncio.sleep(SETTLE_MS / 1000)
        for slot in self._slots:
            slot.ask_to_stop()
        # From here on only the workers hold the sockets: once they have accepted what is queued, clients are refused.
        listeners.close()
        await asyncio.gather(*(slot.wait_for_end() for slot in self._slots))

    # ---- the roll

    async def _roll_when_wanted(self, stopping: "asyncio.Future[None]") -> None:
        """Roll at each SIGHUP. Any number of them during a roll ask for one more: something may have changed since."""
        while not stopping.done():
            wanted = asyncio.create_task(self._is_roll_wanted.wait())
            await first_of(wanted, stopping)
            wanted.cancel()
            if not stopping.done():
                self._is_roll_wanted.clear()
                await self._roll(stopping)

    async def _roll(self, stopping: "asyncio.Future[None]") -> None:
        """Replace the workers one after the other; at the first that cannot be, stop, and leave the rest as it is."""
        self._lifecycle.last_roll = "running"
        try:
            credentials = await asyncio.to_thread(self._read_credentials)
        except EdgeError as error:
            self._lifecycle.end_roll("refused")
            log.error("roll refused, every worker stays as it is", reason=str(error))  # noqa: TRY400  it is no bug
            return
        log.info("roll started", workers=len(self._slots))
        for slot in self._slots:
            reason = await slot.replace(credentials)
            if stopping.done():
                return
            if reason:
                self._lifecycle.end_roll("failed")
                log.error("roll ended, the worker and those behind it stay", worker=slot.number, reason=reason)
                return
        self._lifecycle.end_roll("completed")
        log.info("roll completed")

    def _read_credentials(self) -> Credentials:
        return read(self._config.tls_dir) if self._config.tls_port else NONE

    # ---- the admin port

    def _page(self, method: str, path: str, is_stopping: bool) -> Page:
        if method == "OTHER":
            return Page.refusal(Status.METHOD_NOT_ALLOWED)
        if path == "/healthz":
            return self._health()
        if path == "/readyz":
            return self._readiness(is_stopping)
        if path == "/metrics":
            counted = render([slot.worker() for slot in self._slots], self._lifecycle.starts, monotonic_ms())
            shipped = self._shipping.text(int(time.time()))
            return Page.metrics(counted + self._lifecycle.text(self._expiries()) + shipped)
        return Page.refusal(Status.NOT_FOUND)

    def _health(self) -> Page:
        silent = [slot.number for slot in self._slots if slot.is_silent()]
        return Page.verdict(not silent, {"status": "silent workers" if silent else "ok", "silent_workers": silent})

    def _readiness(self, is_stopping: bool) -> Page:
        workers = [_describe(slot) for slot in self._slots]
        is_ready = not is_stopping and all(worker["is_ready"] for worker in workers)
        status = "draining" if is_stopping else "ready" if is_ready else "not ready"
        return Page.verdict(is_ready, {"status": status, "last_roll": self._lifecycle.last_roll, "workers": workers})

    def _expiries(self) -> Iterable[tuple[str, int]]:
        """Each certificate's name, and the seconds until the first one of that name that is shown expires."""
        ends: dict[str, int] = {}
        for slot in self._slots:
            for certificate in slot.credentials.certificates:
                ends[certificate.name] = min(
                    certificate.not_after_s, ends.get(certificate.name, certificate.not_after_s)
                )
        now_s = int(time.time())
        return [(name, end_s - now_s) for name, end_s in sorted(ends.items())]


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _describe(slot: Slot) -> dict[str, object]:
    counters = slot.worker().counters
    return {
        "worker": slot.number,
        "pid": slot.pid,
        "is_ready": not slot.is_silent() and counters["is_ready"] == 1,
        "epoch": counters["epoch"],
        "shards": counters["shards_known"],
        "shards_trusted": counters["shards_trusted"],
        "is_origin_reachable": counters["is_origin_reachable"] == 1,
        "crashes_in_a_row": slot.crashes,
    }
