"""L1 as it is shipped: misses on a trace, bytes an entry, time for a look-up, and what a scan does to it."""

import random
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.eviction.traces import Trace
from edge._cache import Cache

PAYLOAD: Final = b"x" * 60
KEY_BYTES: Final = 4
LOOKUP_ENTRIES: Final = (1000, 100_000)
LOOKUPS: Final = 100_000
RUNS: Final = 5  # the median counts
PAYLOADS: Final = (1, 20, 72, 150, 500, 2000, 8192)
OVERHEAD_CACHE_BYTES: Final = 16 * 2**20
ABSENCE_CACHE_BYTES: Final = 2**19
HOT: Final = 0.01  # of the keys: those most asked for


def misses(trace: Trace, capacity: int) -> int:
    """Misses with so many entries of one size."""
    cache = Cache(_bytes_for(capacity))
    get, put = cache.get, cache.put
    count = 0
    for request in trace.requests:
        key = request.to_bytes(KEY_BYTES, "big")
        if get(key) is None:
            count += 1
            put(key, PAYLOAD)
    return count


def _bytes_for(capacity: int) -> int:
    """The most bytes with which a cache that has been filled twice over holds no more than `capacity` entries."""
    entry = KEY_BYTES + len(PAYLOAD)
    low, high = max(4096, capacity * entry), capacity * (entry + 80) + 4096
    while low < high:
        middle = (low + high + 1) // 2
        if _held(middle, 2 * capacity + 50) <= capacity:
            low = middle
        else:
            high = middle - 1
    return low


def _held(bytes_max: int, count: int) -> int:
    cache = Cache(bytes_max)
    for number in range(count):
        cache.put(number.to_bytes(KEY_BYTES, "big"), PAYLOAD)
    return len(cache)


def lookups() -> list[dict[str, Any]]:
    """Nanoseconds for a find inside the compiled module, each run's, of keys in random order that are held."""
    draw = random.Random(1)
    found = []
    for entries in LOOKUP_ENTRIES:
        cache = Cache(64 * 2**20)
        keys = [b"1:%07d" % (number * 7919) for number in range(entries)]
        for key in keys:
            cache.put(key, PAYLOAD)
        asked = draw.choices(keys, k=LOOKUPS)
        found.append({"entries": entries, "nanoseconds": [cache.time_finds(asked, 3)[0] for _ in range(RUNS)]})
    return found


def overheads() -> list[dict[str, Any]]:
    """Bytes of a whole full cache for each entry, besides its key and payload."""
    found = []
    for size in PAYLOADS:
        cache = Cache(OVERHEAD_CACHE_BYTES)
        number = 0
        while cache.eviction_count < OVERHEAD_CACHE_BYTES // (size + 110):
            cache.put(b"1:%07d" % number, b"x" * size)
            number += 1
        found.append({"payload_bytes": size, "overhead_bytes": cache.bytes_max / len(cache) - 9 - size})
    return found


@dataclass(frozen=True, slots=True)
class Scan:
    """Hit ratios of the hottest keys: in peace, and with as many requests for random unknown codes in between."""

    arrangement: str
    quiet: float
    scanned: float


def scans(trace: Trace, capacity: int) -> list[dict[str, Any]]:
    """Absences in a cache of their own, as the edge has them, and for comparison in the links' cache."""
    apart = Scan("absences in a cache of their own (shipped)", *(_hot_hits(trace, capacity, True, s) for s in (0, 1)))
    together = Scan("absences among the links", *(_hot_hits(trace, capacity, False, s) for s in (0, 1)))
    return [asdict(apart), asdict(together)]


def _hot_hits(trace: Trace, capacity: int, is_apart: bool, is_scanned: int) -> float:
    """As edge._fast does it: a code is looked for in both caches, and what its look-up gave goes to one of them."""
    draw = random.Random(3)
    links = Cache(_bytes_for(capacity))
    absences = Cache(ABSENCE_CACHE_BYTES) if is_apart else links
    hot = max(1, int(trace.keys * HOT))
    asked = hits = 0
    for request in trace.requests:
        key = request.to_bytes(KEY_BYTES, "big")
        is_hit = links.get(key) is not None
        asked += request < hot
        hits += is_hit and request < hot
        if not is_hit and absences.get(key) is None:
            links.put(key, PAYLOAD)
        if is_scanned:
            unknown = b"?" + draw.randbytes(7)
            if links.get(unknown) is None and absences.get(unknown) is None:
                absences.put(unknown, b"")
    return hits / asked
