"""One shard, as one worker sees it: look-ups, invalidation pushes, heartbeats, trust.

A worker holds just one connection to each shard, so replies and pushes come in Redis's own order: the push for a
write that came after a read always arrives after the read's reply, and no stale value can stay in L1 (I4).

    disconnected ──connect──▶ greeting ──heartbeat accepted──▶ trusted
          ▲                                                       │
          └───────── cut, refused, or a ping overdue ─────────────┘     the shard's generation rises

Three questions, three answers:
- may L1 be believed? While the shard is trusted. Trust ends a fixed time after the *sending* of the last ping that was
  answered, or with the lease of the last heartbeat: a write is pushed before the answer to a ping that Redis reads
  after it, so whoever slept finds its trust run out before it can answer from the past. Nor is it renewed while the
  shard's fence is unread or newer than the topology held: then links may have moved away, and their changes with them;
- can a look-up be sent? While the shard is usable: trusted, and no reply overdue behind which the next would come;
- is it worth the wait? While the breaker admits it (`breaker.py`): it remembers stalls that are over.

Everything here runs on the worker's loop; deadlines are swept by the worker's one coarse timer.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import hiredis
import structlog

from edge._counters import Counters
from edge._front import ORIGIN_SHARD, Front
from edge.acknowledgement import Acknowledgement
from edge.breaker import Breaker, State
from edge.clock import monotonic_ms, monotonic_us
from edge.config import EdgeConfig
from edge.documents import REFRESH_MS, REREAD_MS, Documents
from edge.progress import Progress
from edge.pulse import Pulse
from edge.replicas import Replica, Replicas
from edge.session import Session, ShardError, Timeouts, connect, greeting
from edge.standing import Standing
from edge.verdict import DOUBTFUL, Verdict
from wire import heartbeat as wire_heartbeat
from wire import keys

log = structlog.get_logger("edge.shards")

RECONNECT_MS_MIN: Final = 50
RECONNECT_MS_MAX: Final = 1000
STEADY_MS: Final = 10_000  # a connection that lived this long was a good one: the next is made soon
# Commands sent and not answered: more than the largest number of batches that a loop turn makes.
PENDING_MAX: Final = 1024
# A sweep that comes so late finds deadlines over because this worker stood still, with the replies in its sockets.
LATE_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Listener:
    """What a shard tells its worker: a topology or domains document was read; a link's key changed."""

    on_document: Callable[[bytes, bytes], None]
    on_invalidated: Callable[[bytes], None]


@dataclass(slots=True)
class Lookup:
    """One MGET. Just one of the two callbacks is called, once and later."""

    names: Sequence[bytes]
    on_values: Callable[[Verdict, int, Sequence[bytes | None]], None]
    on_failure: Callable[[], None]
    generation: int
    epoch: int
    started_us: int
    is_given_up: bool = False


class Shard:
    """One shard. `number` is its place in the Front's tables, None for a seed."""

    def __init__(
        self, shard_id: str, url: str, number: int | None, *, front: Front, config: EdgeConfig, listener: Listener
    ) -> None:
        self.id = shard_id
        self.url = url
        self.number = number
        self.epoch = 0  # of the topology held, by which replies are judged
        self.breaker = Breaker()
        self.progress = Progress(config.replica_ms)
        self.replicas: Replicas | None = None
        self._front = front
        self._counters: Counters = front.counters
        self._config = config
        self._listener = listener
        self._pulse = Pulse(shard_id, front.counters)
        self._session: Session | None = None
        self._standing = Standing()
        self._documents: Documents
        self._acknowledgement: Acknowledgement
        self._greeted: asyncio.Future[None] | None = None
        self._was_reported = False
        self._swept_ms = monotonic_ms()
        self._state_seen = self.breaker.state
        self._row = None if number is None else self._counters.shard(number)
        if self._row is not None:
            self._row.take(shard_id)
            self._row.set("proved_ms", monotonic_ms())  # its age counts from the instant that proof was wanted
            self._publish()

    # ---- life

    async def run(self, edge_id: str) -> None:
        """Keep a session open until cancelled."""
        self._pulse.edge_id = edge_id
        delay_ms = 0
        while True:
            started_ms = monotonic_ms()
            try:
                await self._live()
            except (OSError, TimeoutError, ShardError) as error:
                self._report(error)
            finally:
                if self._session is not None:
                    self._session.end(ConnectionAbortedError("no longer wanted"))
            delay_ms = next_delay_ms(delay_ms, monotonic_ms() - started_ms)
            await asyncio.sleep(delay_ms / 1000 * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret

    async def _live(self) -> None:
        """One session from its start to its end, which is an exception."""
        timeouts = Timeouts(self._config.connect_timeout_ms, self._config.ping_timeout_ms)
        session = await connect(self.url, timeouts, self._on_push, self._on_end)
        self._counters.add("shard_connects")
        self._session, self._standing = session, Standing()
        self._documents = Documents(session, self._standing, self._listener.on_document, self._renew_trust)
        self._acknowledgement = Acknowledgement(session, partial(self._beat, session), self._on_sequence)
        self._greeted = asyncio.get_running_loop().create_future()
        self._greet(session)
        timeout_s = self._config.connect_timeout_ms / 1000
        await asyncio.wait((self._greeted, session.ended), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._greeted.done():
            log.info("shard connected", shard=self.id, run_id=self._standing.run_id)
            self._was_reported = False
        else:
            session.fail("silent", "the greeting was not answered in time")
        await asyncio.shield(session.ended)  # cancelling this task must not pass for the session's end

    def retire(self) -> None:
        """End the session now, for good: the number may be given to another shard in this very turn."""
        if self._session is not None:
            self._session.end(ConnectionAbortedError("left the topology"))
        elif self.number is not None:
            self._front.distrust(self.number)

    def _on_end(self, session: Session) -> None:
        """Whatever this shard filled is distrusted from this instant on."""
        if session is not self._session:
            return  # given up while it connected; nothing was filled through it
        self._session = None
        if self.number is None:
            return
        self._front.distrust(self.number)
        self._counters.add("shard_distrusts")
        if self._standing.is_greeted:
            self.breaker.on_failure(monotonic_ms())

    def _report(self, error: Exception) -> None:
        """Say once for each outage why the shard cannot be used."""
        if not self._was_reported:
            self._was_reported = True
            log.warning(
                "shard unreachable, its links come from PostgreSQL", shard=self.id, error=str(error) or "timeout"
            )

    # ---- the greeting

    def _greet(self, session: Session) -> None:
        for command in greeting(self.url, f"pointsman-edge:{self._pulse.edge_id}"):
            session.send(command, partial(self._on_greeting, session))
        session.send(("INFO", "server"), partial(self._on_info, session))
        self._documents.read()
        if self.number is None:
            session.send(("PING",), lambda _reply: self._become_greeted(session))
        else:
            self._beat(session)

    def _on_greeting(self, session: Session, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            session.fail("refused", f"the greeting was refused: {reply}; Redis 6.2 or later is needed")

    def _on_info(self, session: Session, reply: Any) -> None:
        lines = reply.decode().splitlines() if isinstance(reply, bytes) else []
        run_ids = [line.partition(":")[2] for line in lines if line.startswith("run_id:")]
        if not run_ids:
            session.fail("refused", "INFO server gave no run_id; the user needs the permission for INFO")
            return
        self._standing.run_id = run_ids[0]
        if self.progress.run_id != run_ids[0]:
            self.progress.forget()  # of what this process has lost, the replicas may have lost too

    def _become_greeted(self, session: Session) -> None:
        if self._standing.is_greeted:
            return
        self._standing.is_greeted = True
        if self.number is not None:
            # What PostgreSQL said before pushes came from here may be from before a change that was pushed to nobody.
            self._front.distrust(ORIGIN_SHARD)
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)
        # The push for what was written while there was no session went nowhere; nobody need write again for it.
        self._read_sequence()

    def _read_sequence(self) -> None:
        if self.number is not None:
            self._acknowledgement.read()

    def _on_sequence(self, asked_ms: int, sequence: int) -> None:
        """By this number replicas are judged, while this is the process that they follow and links are looked up at."""
        if self._has_replicas and self._is_fenced:
            self.progress.note(self._standing.run_id, asked_ms, sequence)

    @property
    def _is_fenced(self) -> bool:
        """Whether the fence is that of the process which answers, and for no newer topology."""
        return self._standing.is_fence_known and self._standing.judge(self.epoch).are_hits_final

    @property
    def _has_replicas(self) -> bool:
        return self.replicas is not None and not self.replicas.is_empty

    # ---- documents

    def refresh_documents(self) -> None:
        """Read the documents again, because a fence was ahead of this edge."""
        if self._session is not None and self._standing.is_greeted:
            self._documents.read_again(monotonic_ms(), REFRESH_MS)

    # ---- look-ups

    @property
    def is_usable(self) -> bool:
        """Whether a look-up sent now would be answered as far as anyone can know."""
        return self.number is not None and self._is_within_reach and self._front.is_shard_trusted(self.number)

    @property
    def _is_within_reach(self) -> bool:
        session = self._session
        return (
            session is not None
            and self._standing.is_greeted
            and session.pending_count < PENDING_MAX
            and not session.is_stalled
        )

    @property
    def is_confirming(self) -> bool:
        """Whether it can be asked, and is the shard of which the topology speaks."""
        return self.is_usable and self._is_fenced

    def may_admit(self, now_ms: int) -> bool:
        """Whether `admit` would say yes now."""
        return self.is_usable and self.breaker.may_admit(now_ms)

    def admit(self, now_ms: int) -> bool:
        """Whether a look-up should be sent; whoever hears yes calls `lookup`."""
        return self.is_usable and self.breaker.admit(now_ms)

    def is_unheard(self, now_ms: int) -> bool:
        """Whether it need only be heard again to be asked: this worker stood still until its trust had run out."""
        return (
            self.number is not None
            and self._is_within_reach
            and self._standing.may_be_renewed_soon(self.epoch, now_ms)
            and not self._front.is_shard_trusted(self.number)
            and self.breaker.may_admit(now_ms)
        )

    def admit_replica(self, now_ms: int) -> Replica | None:
        """A replica that should be asked in its place, if any; whoever gets it calls its `lookup`.

        None as long as the shard itself is there. 1. The worker sleeps; 2. a link changes, which a replica that lags
        lacks; 3. the worker wakes: nothing is wrong with the shard, it must only be heard again. Or its fence is newer
        than the topology held, and what links were there may have moved.
        """
        if self.replicas is None or (self._is_within_reach and self.breaker.may_admit(now_ms)):
            return None
        return self.replicas.admit(now_ms)

    def lookup(
        self,
        names: Sequence[bytes],
        on_values: Callable[[Verdict, int, Sequence[bytes | None]], None],
        on_failure: Callable[[], None],
    ) -> None:
        """Read the records of links by their cache keys, the fence in front.

        Just one of the two is called, once and later: `on_values(verdict, generation, values)`, or `on_failure()`.
        """
        assert self._session is not None
        assert self.number is not None
        generation = self._front.generation(self.number)
        lookup = Lookup(names, on_values, on_failure, generation, self.epoch, monotonic_us())
        self._session.send(
            (b"MGET", keys.FENCE, *(keys.LINK_PREFIX + name for name in names)),
            partial(self._on_values, self._session, lookup),
            partial(self._on_given_up, lookup),
            self._config.reply_timeout_ms,
        )

    def _on_values(self, session: Session, lookup: Lookup, reply: Any) -> None:
        self._note_duration(monotonic_us() - lookup.started_us)
        if lookup.is_given_up:
            return
        if not isinstance(reply, list) or len(reply) != len(lookup.names) + 1:
            lookup.on_failure()
            session.fail("reply", f"MGET answered {reply!r:.200}")
            return
        now_ms = monotonic_ms()
        self.breaker.on_reply(now_ms)
        self._standing.take_fence(reply[0], now_ms)
        # By the topology held when it was sent: the fence is as old as the values beside it.
        verdict = self._standing.judge(lookup.epoch)
        if verdict == DOUBTFUL or verdict.is_epoch_behind:
            self._counters.add("shard_doubtful_replies")
        lookup.on_values(verdict, lookup.generation, reply[1:])

    def _note_duration(self, duration_us: int) -> None:
        self._pulse.note_lookup(duration_us)
        if self._row is not None:
            self._row.observe("lookup", duration_us)

    def _on_given_up(self, lookup: Lookup) -> None:
        lookup.is_given_up = True
        lookup.on_failure()

    # ---- epochs

    def hold(self, epoch: int) -> None:
        """Judge replies by another topology from now on; trust that waited for it is renewed."""
        self.epoch = epoch
        if self._session is not None and self._standing.is_greeted:
            self._renew_trust()

    def acknowledge(self, epoch: int) -> None:
        """Tell the shard that nothing is answered any more that an older topology put into L1."""
        if epoch == self._pulse.acknowledged:
            return
        self._pulse.acknowledged = epoch
        if self._session is not None and self._standing.is_greeted and self.number is not None:
            self._beat(self._session)

    # ---- pushes

    def _on_push(self, push: list[Any]) -> None:
        session = self._session
        if push[0] != b"invalidate" or session is None:
            return
        if push[1] is None:  # FLUSHALL: everything this shard filled is gone, and what control wrote
            if self.number is not None:
                self._front.distrust(self.number)
                self._counters.add("shard_distrusts")
                self._ping(session)
            self._documents.on_push(keys.TOPOLOGY)
            return
        self._counters.add("invalidations", len(push[1]))
        for key in push[1]:
            if key.startswith(keys.LINK_PREFIX):
                self._listener.on_invalidated(key[len(keys.LINK_PREFIX) :])
            elif key == keys.SEQUENCE:
                self._read_sequence()
            else:
                self._documents.on_push(key)

    # ---- health

    def sweep(self, now_ms: int) -> None:
        """Give overdue look-ups up, cut a silent session, ping and beat when due."""
        is_late = now_ms - self._swept_ms > LATE_MS
        self._swept_ms = now_ms
        session = self._session
        if session is not None and not is_late:
            was_stalled = session.is_stalled
            overdue = session.give_up_overdue(now_ms)
            self._counters.add("shard_timeouts", overdue)
            if overdue and not was_stalled and self._session is session:
                self.breaker.on_failure(now_ms)
        if self._session is not None:
            self._keep_proving(self._session, now_ms)
        if self.replicas is not None and not is_late:
            self.replicas.sweep(now_ms)
        self._publish()

    def _keep_proving(self, session: Session, now_ms: int) -> None:
        standing = self._standing
        if standing.is_greeted and now_ms - standing.pinged_ms >= self._config.ping_interval_ms:
            self._ping(session)
        if self.number is not None and now_ms - standing.heartbeat_ms >= wire_heartbeat.INTERVAL_MS:
            self._beat(session)
            if self._has_replicas:  # also while nothing is written it must be known that nothing is
                self._read_sequence()
        if standing.is_greeted and standing.is_behind(self.epoch):
            self._documents.read_again(now_ms, REREAD_MS)

    def _publish(self) -> None:
        breaker = self.breaker
        if breaker.state is not self._state_seen:
            self._state_seen = breaker.state
            log.warning("breaker of a shard changed", shard=self.id, state=breaker.state.value)
        if self._row is None:
            return
        for state in State:
            self._row.set(f"is_breaker_{state}", int(breaker.state is state))
            self._row.set(f"breaker_{state}_entries", breaker.entries[state])

    def _ping(self, session: Session) -> None:
        sent_ms = self._standing.pinged_ms = monotonic_ms()

        def on_pong(reply: Any) -> None:
            if isinstance(reply, hiredis.ReplyError):
                session.fail("refused", f"PING was refused: {reply}")
                return
            self._standing.pong_sent_ms = sent_ms
            self._renew_trust()

        session.send(("PING",), on_pong)

    def _beat(self, session: Session) -> None:
        self._pulse.beat(session, self._standing, self._acknowledgement.applied, partial(self._on_beat, session))

    def _on_beat(self, session: Session) -> None:
        self._renew_trust()
        self._become_greeted(session)

    async def leave(self) -> None:
        """Take the heartbeat away, so that nobody waits for this edge's acknowledgement; it must serve no more."""
        session = self._session
        if session is not None and self.number is not None and self._standing.is_greeted:
            await self._pulse.leave(session)

    def _renew_trust(self) -> None:
        if self.number is None or self._row is None:
            return
        standing = self._standing
        if not standing.pong_sent_ms:
            return  # nothing has been proven yet
        self._row.set("proved_ms", standing.pong_sent_ms)
        if standing.may_renew(self.epoch):
            self._front.trust(self.number, standing.trusted_until_ms(self._config.ping_timeout_ms))
        else:
            self._counters.add("trust_refusals")


def next_delay_ms(delay_ms: int, lived_ms: int) -> int:
    """How long to wait until the next connection: twice as long as the last time, unless that one was a good one."""
    return RECONNECT_MS_MIN if delay_ms == 0 or lived_ms >= STEADY_MS else min(2 * delay_ms, RECONNECT_MS_MAX)
