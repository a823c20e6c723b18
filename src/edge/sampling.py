"""In mode sampling, one of many misses whose link will move is looked up at its next owner too, and compared.

It proves that edges can read where links go, before they must; no answer depends on it, and none waits for it.

    miss ──1 of SHARE──▶ both owners ──both final──▶ counted ──differ──▶ again after AGAIN_S ──differ──▶ a difference

What differs once may have been changed between the two reads.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from edge._counters import Counters
from edge.clock import monotonic_ms
from edge.flight import Flight, Sample
from edge.shards import Shard
from edge.topology import Map
from edge.verdict import Verdict
from wire import record as wire_record
from wire.errors import FormatError

SHARE: Final = 16
BATCH_MAX: Final = 256  # keys of one MGET, as of the misses themselves
AGAIN_S: Final = 0.25  # a change is written to both owners in less
AGAIN_MAX: Final = 64  # samples that wait for that; beyond them a difference is left to the next sample


class Sampler:
    """One worker's."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._map: Map | None = None
        self._shards: Mapping[int, Shard] = {}
        self._moving = 0  # misses whose second owner is another one
        self._waiting = 0

    def route(self, new_map: Map, shards: Mapping[int, Shard]) -> None:
        """Sample by this map, if its mode asks for that."""
        self._map = new_map if new_map.topology.mode == "sampling" else None
        self._shards = shards

    def choose(self, flights: Sequence[Flight]) -> None:
        """Look some of the flights up at their second owners; what their owners say is told by `tell`."""
        if self._map is None:
            return
        chosen: dict[int, list[Sample]] = {}
        for flight in flights:
            second = self._map.second_number(flight.key_hash)
            if flight.is_refresh or second == self._map.number(flight.key_hash):
                continue
            self._moving += 1
            if self._moving % SHARE == 0:
                flight.sample = Sample(flight.key, flight.key_hash)
                chosen.setdefault(second, []).append(flight.sample)
        for number, samples in chosen.items():
            for start in range(0, len(samples), BATCH_MAX):
                self._ask(number, samples[start : start + BATCH_MAX])

    def tell(self, sample: Sample, number: int, verdict: Verdict, value: bytes | None) -> None:
        """One of the owners said this."""
        if self._map is None or not verdict.is_final(value):
            return
        sample.values[number] = value
        if len(sample.values) == 2:
            self._compare(sample)

    def _ask(self, number: int, samples: Sequence[Sample]) -> None:
        shard = self._shards.get(number)
        if shard is None or not shard.admit(monotonic_ms()):
            return

        def on_values(verdict: Verdict, _generation: int, values: Sequence[bytes | None]) -> None:
            for sample, value in zip(samples, values, strict=True):
                self.tell(sample, number, verdict, value)

        shard.lookup([sample.key for sample in samples], on_values, lambda: None)

    def _compare(self, sample: Sample) -> None:
        if not sample.is_second_look:
            self._counters.add("samples")
        if _is_same(*sample.values.values()):
            return
        if sample.is_second_look:
            self._counters.add("sample_differences")
        elif self._waiting < AGAIN_MAX:
            self._waiting += 1
            asyncio.get_running_loop().call_later(AGAIN_S, partial(self._look_again, sample))

    def _look_again(self, sample: Sample) -> None:
        self._waiting -= 1
        if self._map is None:
            return
        again = Sample(sample.key, sample.key_hash, is_second_look=True)
        for number in (self._map.number(sample.key_hash), self._map.second_number(sample.key_hash)):
            self._ask(number, [again])


def _is_same(one: bytes | None, other: bytes | None) -> bool:
    return one == other or (_is_absent(one) and _is_absent(other))


def _is_absent(value: bytes | None) -> bool:
    """Whether it says that there is no link; a tombstone ends by itself, at each owner in its own time."""
    try:
        return value is None or isinstance(wire_record.decode(value), wire_record.Tombstone)
    except FormatError:
        return False
