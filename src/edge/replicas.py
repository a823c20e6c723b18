"""The replicas of one shard, asked when its primary cannot be: Redis's own replication fills them.

    primary not usable ──▶ a replica ──a link, recent enough──▶ answered, not kept
                               └──absent, doubtful, too old, late──▶ PostgreSQL decides

What a replica says is believed only
- if its fence, which is replicated with all else, names the process that this worker last knew as the primary, and no
  newer topology than the one held;
- if it cannot be older than replica_ms, by its pm:seq (`progress.py`): a replica that lost its primary an hour ago
  answers as promptly as any.
What it says of the topology is heard all the same: where there is no other shard, nobody else tells of a promotion.
An absence is never believed: the link may be one that did not come over any more. No change is pushed from here, so L1
keeps nothing of it. A worker that has not yet known the primary believes no replica.

Sessions are opened at once, not when the primary fails: it costs each worker one connection a replica, and a request
then waits for no connection, nor for finding out that there is none.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import hiredis
import structlog

from edge._counters import Counters
from edge.breaker import Breaker
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.progress import Progress
from edge.session import Session, ShardError, Timeouts, connect, greeting
from edge.verdict import epoch_of, judge
from wire import keys

log = structlog.get_logger("edge.replicas")

RECONNECT_MS_MIN: Final = 100
RECONNECT_MS_MAX: Final = 2000
# Of one shard, each with a session of every worker: as many as the API takes. Sentinel may name more: it forgets none.
REPLICAS_MAX: Final = 8
# Commands sent and not answered: as for a primary.
PENDING_MAX: Final = 1024

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
# Gets a document's key and the document.
OnDocument = Callable[[bytes, bytes], None]
# Gets for each key its record, None where the replica's word is not enough.
OnRecords = Callable[[Sequence[bytes | None]], None]


@dataclass(slots=True)
class Lookup:
    """One MGET. Just one of the two callbacks is called, once and later."""

    names: Sequence[bytes]
    epoch: int
    on_records: OnRecords
    on_failure: Callable[[], None]
    is_given_up: bool = False


class Replicas:
    """Those of one shard, as one worker sees them. `progress` is what the worker knows of their primary."""

    def __init__(
        self,
        shard_id: str,
        progress: Progress,
        on_document: OnDocument,
        *,
        config: EdgeConfig,
        counters: Counters,
        edge_id: str,
        spawn: Spawn,
    ) -> None:
        self._shard_id = shard_id
        self._progress = progress
        self._on_document = on_document
        self._config = config
        self._counters = counters
        self._edge_id = edge_id
        self._spawn = spawn
        self._open: dict[str, tuple[Replica, asyncio.Task[None]]] = {}

    def follow(self, urls: Sequence[str]) -> None:
        """Have sessions with just these, from now on; with the first REPLICAS_MAX of them."""
        wanted = urls[:REPLICAS_MAX] if self._config.replica_ms else ()
        for url in [url for url in self._open if url not in wanted]:
            replica, task = self._open.pop(url)
            replica.leave()
            task.cancel()
        for url in wanted:
            if url not in self._open:
                replica = Replica(
                    self._shard_id, url, self._progress, self._on_document, config=self._config, counters=self._counters
                )
                self._open[url] = replica, self._spawn(replica.run(self._edge_id))

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self._open

    @property
    def usable_count(self) -> int:
        """How many can be asked now."""
        return sum(replica.is_usable for replica, _ in self._open.values())

    def sweep(self, now_ms: int) -> None:
        """Give overdue look-ups up; ping."""
        for replica, _ in self._open.values():
            replica.sweep(now_ms)

    def admit(self, now_ms: int) -> "Replica | None":
        """One that should be asked, if any; whoever gets it calls its `lookup`."""
        return next((replica for replica, _ in self._open.values() if replica.admit(now_ms)), None)


class Replica:
    """One session, made again when it ends."""

    def __init__(
        self,
        shard_id: str,
        url: str,
        progress: Progress,
        on_document: OnDocument,
        *,
        config: EdgeConfig,
        counters: Counters,
    ) -> None:
        self._shard_id = shard_id
        self._url = url
        self._progress = progress
        self._on_document = on_document
        self._asked_under: bytes | None = None  # the fence of a newer topology, which was asked for
        self._config = config
        self._counters = counters
        self._breaker = Breaker()
        self._session: Session | None = None
        self._is_greeted = False
        self._pinged_ms = 0
        self._was_reported = False

    async def run(self, edge_id: str) -> None:
        """Keep a session open until cancelled."""
        delay_ms = RECONNECT_MS_MIN
        while True:
            try:
                await self._live(edge_id)
            except (OSError, TimeoutError, ShardError) as error:
                delay_ms = RECONNECT_MS_MIN if self._is_greeted else min(2 * delay_ms, RECONNECT_MS_MAX)
                self._is_greeted = False
                self._report(error)
            finally:
                self.leave()
            await asyncio.sleep(delay_ms / 1000 * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret

    def leave(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.end(ConnectionAbortedError("no longer wanted"))

    async def _live(self, edge_id: str) -> None:
        """One session from its start to its end, which is an exception."""
        timeouts = Timeouts(self._config.connect_timeout_ms, self._config.ping_timeout_ms)
        session = await connect(self._url, timeouts, lambda _push: None, self._on_end)
        self._session = session
        for command in greeting(self._url, f"pointsman-edge:{edge_id}", is_tracking=False):
            session.send(command, partial(self._on_greeting, session))
        self._ping(session)
        await asyncio.shield(session.ended)  # cancelling this task must not pass for the session's end

    def _on_greeting(self, session: Session, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            session.fail("refused", f"the greeting was refused: {reply}")

    def _on_end(self, session: Session) -> None:
        if session is self._session:
            self._session = None
            self._asked_under = None
            if self._is_greeted:
                self._breaker.on_failure(monotonic_ms())

    def _report(self, error: Exception) -> None:
        if not self._was_reported:
            self._was_reported = True
            log.warning("replica unreachable", shard=self._shard_id, error=str(error) or "timeout")

    # ---- look-ups

    @property
    def is_usable(self) -> bool:
        """Whether a look-up sent now would be answered as far as anyone can know."""
        session = self._session
        return (
            session is not None and self._is_greeted and session.pending_count < PENDING_MAX and not session.is_stalled
        )

    def admit(self, now_ms: int) -> bool:
        """Whether a look-up should be sent; whoever hears yes calls `lookup`."""
        return self.is_usable and self._breaker.admit(now_ms)

    def lookup(self, names: Sequence[bytes], epoch: int, on_records: OnRecords, on_failure: Callable[[], None]) -> None:
        """Read the records of links by their cache keys, judged by the topology of `epoch`."""
        assert self._session is not None
        self._counters.add("replica_lookups", len(names))
        lookup = Lookup(names, epoch, on_records, on_failure)
        self._session.send(
            (b"MGET", keys.FENCE, keys.SEQUENCE, *(keys.LINK_PREFIX + name for name in names)),
            partial(self._on_reply, lookup),
            partial(self._on_given_up, lookup),
            self._config.reply_timeout_ms,
        )

    def _on_reply(self, lookup: Lookup, reply: Any) -> None:
        if lookup.is_given_up:
            return
        if not isinstance(reply, list) or len(reply) != len(lookup.names) + 2:
            lookup.on_failure()  # such as MASTERDOWN, where a replica is told to answer only beside its primary
            return
        self._breaker.on_reply(monotonic_ms())
        fence, sequence, *records = reply
        if fence != self._asked_under and epoch_of(fence) > lookup.epoch:
            self._ask_topology(fence)
        if self._is_believed(fence, sequence, lookup.epoch):
            lookup.on_records(records)
        else:
            self._counters.add("replica_refusals", len(records))
            lookup.on_failure()

    def _is_believed(self, fence: bytes | None, sequence: bytes | None, epoch: int) -> bool:
        run_id = self._progress.run_id
        if not run_id or not judge(fence, epoch, run_id).are_hits_final:
            return False
        if sequence is None or not sequence.isdigit():
            return False
        age_ms = self._progress.age_ms(int(sequence), monotonic_ms())
        return age_ms is not None and age_ms <= self._config.replica_ms

    def _ask_topology(self, fence: bytes) -> None:
        """Once for each fence: many look-ups may meet it, and the document may be none that this build can read."""
        if self._session is not None:
            self._asked_under = fence
            self._session.send(("GET", keys.TOPOLOGY), self._on_topology)

    def _on_topology(self, reply: Any) -> None:
        if isinstance(reply, bytes):
            self._on_document(keys.TOPOLOGY, reply)

    def _on_given_up(self, lookup: Lookup) -> None:
        lookup.is_given_up = True
        lookup.on_failure()

    # ---- health

    def sweep(self, now_ms: int) -> None:
        """Give overdue look-ups up, cut a silent session, ping when due."""
        session = self._session
        if session is None:
            return
        was_stalled = session.is_stalled
        overdue = session.give_up_overdue(now_ms)
        if overdue and not was_stalled and self._session is session:
            self._breaker.on_failure(now_ms)
        if self._session is session and now_ms - self._pinged_ms >= self._config.ping_interval_ms:
            self._ping(session)

    def _ping(self, session: Session) -> None:
        self._pinged_ms = monotonic_ms()
        session.send(("PING",), partial(self._on_pong, session))

    def _on_pong(self, session: Session, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            session.fail("refused", f"PING was refused: {reply}")
        elif not self._is_greeted:
            self._is_greeted = True
            self._was_reported = False
            log.info("replica connected", shard=self._shard_id)
