"""Requests: recorded ones from files beside the repository, and ones drawn from a Zipf distribution."""

import lzma
import os
import random
import sys
from array import array
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.eviction.policies import lru

DIRECTORY: Final = Path(os.environ.get("POINTSMAN_TEST_DATA", "../shared/data"))
SHARES: Final = (0.01, 0.03, 0.1, 0.3)  # of the distinct keys


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of requests: the type of a key, its byte order, and a plain LRU's hit ratios by number of entries."""

    name: str
    typecode: str
    order: str
    lru_hits: tuple[tuple[int, float], ...] = ()


RECORDINGS: Final = (
    Recording("web07", "i", "big", ((300, 0.419), (1200, 0.517), (3000, 0.585))),
    Recording("web12", "i", "big", ((300, 0.490), (1200, 0.669), (3000, 0.765))),
    Recording("orm-busy", "i", "little"),
    Recording("scarab-recs", "q", "big"),
)
SHORT_RECORDINGS: Final = RECORDINGS[:2]


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests as small integers, and the numbers of entries to compare at."""

    name: str
    requests: Sequence[int]
    keys: int
    capacities: tuple[int, ...]


def is_there() -> bool:
    """Whether the recordings can be read."""
    return (DIRECTORY / "web07.trace.xz").exists()


def read(recording: Recording) -> Trace:
    """A recorded trace, checked against what is known of it."""
    path = DIRECTORY / f"{recording.name}.trace.xz"
    try:
        raw = array(recording.typecode, lzma.decompress(path.read_bytes()))
    except FileNotFoundError as error:
        raise BenchmarkError(f"there is no {path}: set POINTSMAN_TEST_DATA to where the traces are") from error
    if recording.order != sys.byteorder:
        raw.byteswap()
    numbers: dict[int, int] = {}
    requests = array("I", [numbers.setdefault(key, len(numbers)) for key in raw])
    for capacity, expected in recording.lru_hits:
        hits = 1 - lru(requests, len(numbers), capacity) / len(requests)
        if abs(hits - expected) > 0.001:
            raise BenchmarkError(
                f"{path}: a plain LRU of {capacity} hits {hits:.3f}, not {expected}; it is another file"
            )
    sizes = {int(len(numbers) * share) for share in SHARES} | {capacity for capacity, _ in recording.lru_hits}
    return Trace(recording.name, requests, len(numbers), tuple(sorted(sizes)))


def zipf(exponent: float, keys: int, count: int) -> Trace:
    """Requests whose k-th most frequent key has the weight k^-exponent; the same ones each time."""
    draw = random.Random(7)
    weights = list(accumulate(k**-exponent for k in range(1, keys + 1)))
    requests = array("I", [bisect(weights, draw.random() * weights[-1]) for _ in range(count)])
    return Trace(f"Zipf {exponent}", requests, keys, tuple(int(keys * share) for share in SHARES))
