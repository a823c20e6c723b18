"""What one session with a shard has proven so far, and what its fence says; pure. Made anew with each session."""

from dataclasses import dataclass
from typing import Final

from edge.verdict import DOUBTFUL, Verdict, epoch_of, judge

EXPLAIN_MS: Final = 1000  # in which a topology is read and its rings are made, if that can be done at all


@dataclass(slots=True)
class Standing:
    """Instants are milliseconds of the monotonic clock."""

    is_greeted: bool = False
    run_id: str = ""
    pinged_ms: int = 0
    heartbeat_ms: int = 0
    pong_sent_ms: int = 0
    lease_until_ms: int = 0
    fence: bytes | None = None
    fence_epoch: int = 0
    fence_ms: int = 0  # since when it is known
    is_fence_known: bool = False  # no push has said since that it may be another one
    _verdict: Verdict = DOUBTFUL
    _judged_epoch: int = -1

    def take_fence(self, fence: bytes | None, now_ms: int) -> None:
        """A reply brought the fence.

        What was pushed before this reply is in it: Redis sends the pushes of an event-loop turn at its end, so the
        command was run in a later one.
        """
        self.is_fence_known = True
        if fence != self.fence:
            self.fence, self.fence_epoch, self._judged_epoch = fence, epoch_of(fence), -1
            self.fence_ms = now_ms

    def doubt_fence(self) -> None:
        """A push said that the fence or the topology was written: until it is read again, nobody knows its epoch."""
        self.is_fence_known = False

    def judge(self, epoch: int) -> Verdict:
        """What the fence allows to an edge that holds `epoch`."""
        if self._judged_epoch != epoch:
            self._judged_epoch, self._verdict = epoch, judge(self.fence, epoch, self.run_id)
        return self._verdict

    def is_behind(self, epoch: int) -> bool:
        """Whether the shard is known to be fenced for a newer topology than that of `epoch`."""
        return self.fence_epoch > epoch

    def may_renew(self, epoch: int) -> bool:
        """Whether what proves the pushes alive may renew the trust of an edge that holds `epoch`.

        1. The edge sleeps; 2. its links move, and this shard is no longer written; 3. a link changes at its new owner;
        4. the edge wakes, and this shard answers its pings as ever. Only the fence tells it of 2.
        """
        return self.is_fence_known and self.fence_epoch <= epoch

    def may_be_renewed_soon(self, epoch: int, now_ms: int) -> bool:
        """Whether only that has to happen first which does at once: a pong, the fence read, its topology adopted."""
        return not self.is_fence_known or not self.is_behind(epoch) or now_ms - self.fence_ms < EXPLAIN_MS

    def trusted_until_ms(self, ping_timeout_ms: int) -> int:
        """When trust ends, by the last ping and the last heartbeat that were answered."""
        return min(self.pong_sent_ms + ping_timeout_ms, self.lease_until_ms)
