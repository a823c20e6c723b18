"""Once a second, one entry of L1 chosen by chance is compared with its shard: the proof that pushes do their work (I4).

    L1 ──an entry──▶ its shard ──differs──▶ again: one more round trip ──still, and no push came──▶ a drift, dropped

Redis may answer with a change before it pushes it: it pushes at the end of its event-loop turn. So the push for what
the first reply showed has come before the second reply, or it never comes.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from edge._front import ORIGIN_SHARD, Answer, Front
from edge.clock import monotonic_ms
from edge.shards import Shard
from edge.verdict import Verdict
from wire.errors import FormatError

log = structlog.get_logger("edge.inspection")

_KEY_BITS: Final = 64


@dataclass(eq=False, slots=True)
class Inspection:
    """One entry that is compared."""

    key: bytes
    number: int  # of the shard that filled it
    is_second_look: bool = False


class Inspector:
    """One worker's; one inspection at a time."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._counters = front.counters
        self._shards: Mapping[int, Shard] = {}
        self._under_way: Inspection | None = None

    def route(self, shards: Mapping[int, Shard]) -> None:
        """These are the shards by number, from now on."""
        self._shards = shards
        self._under_way = None

    def on_invalidated(self, key: bytes) -> None:
        """A push came for the key: what is found now says nothing."""
        if self._under_way is not None and self._under_way.key == key:
            self._under_way = None

    def inspect(self) -> None:
        """Choose an entry and look it up; one of the origin's is left alone, because no push covers it."""
        key = self._choose()
        number = None if key is None else self._front.shard_of(key)
        if key is None or number in (None, ORIGIN_SHARD):
            return
        assert number is not None
        self._ask(Inspection(key, number))

    def _choose(self) -> bytes | None:
        caches = (self._front.links, self._front.absences)
        (cache,) = random.choices(caches, [len(cache) + 1 for cache in caches])  # noqa: S311  chance is no secret
        return cache.key_at(random.getrandbits(_KEY_BITS))

    def _ask(self, inspection: Inspection) -> None:
        self._under_way = None
        shard = self._shards.get(inspection.number)
        if shard is None or not shard.admit(monotonic_ms()):
            return
        self._under_way = inspection

        def on_values(verdict: Verdict, generation: int, values: Sequence[bytes | None]) -> None:
            # A connection that broke in between has had all of the shard's entries distrusted.
            is_same_line = generation == self._front.generation(inspection.number)
            if self._under_way is inspection and is_same_line and verdict.is_final(values[0]):
                self._compare(inspection, values[0])

        shard.lookup([inspection.key], on_values, lambda: None)

    def _compare(self, inspection: Inspection, value: bytes | None) -> None:
        held = self._front.find(inspection.key)
        found = self._read(value)
        # It may have ended, or been filled anew by another shard, since it was chosen.
        if held is None or found is None or self._front.shard_of(inspection.key) != inspection.number:
            return
        is_same = _says_the_same(held, found)
        if not is_same and not inspection.is_second_look:
            self._ask(Inspection(inspection.key, inspection.number, is_second_look=True))
            return
        self._under_way = None
        self._counters.add("l1_audits")
        if not is_same:
            self._counters.add("l1_drifts")
            self._front.forget(inspection.key)
            log.warning(
                "L1 held what its shard does not: a push was lost",
                key=inspection.key.decode("ascii"),
                held_version=held.version,
                version=found.version,
            )

    def _read(self, value: bytes | None) -> Answer | None:
        if value is None:
            return self._front.absent()
        try:
            return self._front.read(value)
        except FormatError:
            return None  # counted where links are looked up


def _says_the_same(held: Answer, found: Answer) -> bool:
    """An absence is one, whoever says so: a tombstone ends by itself. And what of one version of a link is answered in
    another way now is left to its deadline: a link begins or ends by the clock."""
    if held.is_absent and found.is_absent:
        return True
    if (held.link_id, held.version) != (found.link_id, found.version):
        return False
    return held.kind != found.kind or (held.status, held.target) == (found.status, found.target)
