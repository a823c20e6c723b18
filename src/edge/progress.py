"""How far a shard's primary had come at which instant, so that a replica's answers can be dated; pure.

A batch's number (pm:seq) stands behind its writes in the log that replicas follow. So whoever has the number that the
primary gave when it was asked at an instant has every batch that was finished by then, however long ago the replica
has heard of its primary.
"""

from collections import deque
from typing import Final

MARKS: Final = 64


class Progress:
    """Marks of one process: who has `sequence` has what was there at `at_ms`. Both rise from mark to mark."""

    def __init__(self, keep_ms: int) -> None:
        self.run_id = ""
        self._keep_ms = keep_ms
        self._interval_ms = keep_ms // MARKS
        self._marks: deque[tuple[int, int]] = deque()

    def note(self, run_id: str, at_ms: int, sequence: int) -> None:
        """The primary `run_id`, asked at this instant, gave this number."""
        marks = self._marks
        if run_id != self.run_id or (marks and sequence < marks[-1][1]):
            self.forget()
            self.run_id = run_id
        # The last two closer than the interval: the newer one takes the older one's place, as it says more.
        if len(marks) > 1 and at_ms - marks[-2][0] < self._interval_ms:
            marks.pop()
        marks.append((at_ms, sequence))
        while marks[0][0] < at_ms - self._keep_ms:
            marks.popleft()

    def forget(self) -> None:
        """Another process stands there, of which nothing is known yet."""
        self.run_id = ""
        self._marks.clear()

    def age_ms(self, sequence: int, now_ms: int) -> int | None:
        """How old at most an answer is of somebody who has this number; None if nobody can say."""
        for at_ms, reached in reversed(self._marks):
            if reached <= sequence:
                return now_ms - at_ms
        return None
