"""The seeds, with which a worker is started: asked for the topology while no shard of it answers for it.

    asked ──some shard of the topology answers, fenced for no newer one──▶ left alone
      ▲                                                                        │
      └──────────── none has done so for GONE_MS: it may be out of date ───────┘

A worker that was cut off while all shards were replaced finds the others so. A seed is asked for no link, its documents
count as any shard's do, so only newer ones, and it is connected to no more often than a shard that is away.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import structlog

from edge.clock import monotonic_ms
from edge.membership import Membership
from edge.shards import LATE_MS, Shard
from wire import heartbeat as wire_heartbeat

log = structlog.get_logger("edge.seeds")

# Control calls the worker gone after so long, and waits for it no more when shards come and go.
GONE_MS: Final = wire_heartbeat.EXPIRES_MS

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Seeds:
    """One worker's. `make` gives the shard of a URL, which has no number; `spawn` starts the task that connects it."""

    def __init__(self, urls: tuple[str, ...], edge_id: str, make: Callable[[str], Shard], spawn: Spawn) -> None:
        self._urls = urls
        self._edge_id = edge_id
        self._make = make
        self._spawn = spawn
        self._asked: dict[str, tuple[Shard, asyncio.Task[None]]] = {}
        self._is_starting = True
        self._is_asking = False
        self._swept_ms = monotonic_ms()
        self._alone_ms = 0  # so long no shard of the topology has answered for it

    def start(self) -> None:
        """Ask all of them, until `end_start`: a document from the disk may be an old one."""
        self._ask(self._urls)

    def end_start(self, is_found: bool) -> None:
        """From now on they are asked when that is needed; `is_found`: shards of a topology can be asked."""
        self._is_starting = False
        self._is_asking = not is_found
        if is_found:
            self._leave()

    def sweep(self, now_ms: int, members: Membership) -> None:
        """Begin or end to ask them; deadlines of their sessions."""
        # A worker that stood still heard nobody meanwhile, and that is nobody's fault.
        self._alone_ms += min(now_ms - self._swept_ms, LATE_MS)
        self._swept_ms = now_ms
        if members.is_confirmed:
            self._alone_ms = 0
        if not self._is_starting:
            self._decide(members)
        for seed, _ in self._asked.values():
            seed.hold(members.epoch)
            seed.sweep(now_ms)

    def _decide(self, members: Membership) -> None:
        if self._is_asking and self._alone_ms == 0:
            self._is_asking = False
            self._leave()
        elif not self._is_asking and self._alone_ms >= GONE_MS:
            self._is_asking = True
            log.warning(
                "no shard of the topology answers for it, asking the seeds for a newer one", epoch=members.epoch
            )
        if self._is_asking:
            self._ask(url for url in self._urls if url not in members.urls)  # those of members are tried anyway

    def _ask(self, urls: Iterable[str]) -> None:
        for url in urls:
            if url not in self._asked:
                seed = self._make(url)
                self._asked[url] = seed, self._spawn(seed.run(self._edge_id))

    def _leave(self) -> None:
        for _, task in self._asked.values():
            task.cancel()
        self._asked.clear()
