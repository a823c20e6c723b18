"""Eviction policies for entries of one size: requests (small integers) and a capacity in, misses out.

Written to be read beside their papers, not to be fast. `keys` is one more than the greatest request.
"""

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

Policy = Callable[[Sequence[int], int, int], int]

ABSENT: Final = -1
S3_SMALL: Final = 0.1  # the paper's: the small queue's part of the capacity
S3_HITS_MAX: Final = 3
WINDOW: Final = 0.01  # the paper's: the window's part of the capacity
PROTECTED: Final = 0.8  # of the main part
SKETCH_ROWS: Final = 4
SKETCH_MAX: Final = 15  # counters of 4 bits
SKETCH_SAMPLE: Final = 10  # requests per entry after which all counters are halved


def lru(requests: Sequence[int], keys: int, capacity: int) -> int:
    """Drop what was not asked for longest."""
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for key in requests:
        if key in held:
            held.move_to_end(key)
            continue
        misses += 1
        if len(held) == capacity:
            held.popitem(last=False)
        held[key] = None
    return misses


def clock(requests: Sequence[int], keys: int, capacity: int) -> int:
    """Second chance. F. J. Corbató, "A paging experiment with the Multics system", 1968."""
    visited = array("b", [ABSENT]) * keys
    queue: deque[int] = deque()
    misses = 0
    for key in requests:
        if visited[key] >= 0:
            visited[key] = 1
            continue
        misses += 1
        while len(queue) == capacity:
            oldest = queue.popleft()
            if visited[oldest]:
                queue.append(oldest)
            visited[oldest] -= 1
        queue.append(key)
        visited[key] = 0
    return misses


def sieve(requests: Sequence[int], keys: int, capacity: int) -> int:
    """Y. Zhang et al., "SIEVE is simpler than LRU", NSDI 2024: a hand over a queue in which nothing moves."""
    visited = array("b", [ABSENT]) * keys
    newer, older = array("q", [ABSENT]) * keys, array("q", [ABSENT]) * keys
    newest = oldest = hand = ABSENT
    held = misses = 0
    for key in requests:
        if visited[key] >= 0:
            visited[key] = 1
            continue
        misses += 1
        if held == capacity:
            victim = hand if hand != ABSENT else oldest
            while visited[victim]:
                visited[victim] = 0
                victim = newer[victim] if newer[victim] != ABSENT else oldest
            hand = newer[victim]
            visited[victim] = ABSENT
            before, behind = older[victim], newer[victim]
            if before != ABSENT:
                newer[before] = behind
            else:
                oldest = behind
            if behind != ABSENT:
                older[behind] = before
            else:
                newest = before
            held -= 1
        visited[key] = 0
        newer[key], older[key] = ABSENT, newest
        if newest != ABSENT:
            newer[newest] = key
        else:
            oldest = key
        newest = key
        held += 1
    return misses


def s3_fifo(requests: Sequence[int], keys: int, capacity: int) -> int:
    """J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, with the paper's parameters."""
    hits = array("b", [ABSENT]) * keys
    ghosted = array("q", [ABSENT]) * keys  # number of the drop from `small`
    small: deque[int] = deque()
    main: deque[int] = deque()
    small_max = max(1, int(capacity * S3_SMALL))
    ghost_max = capacity - small_max
    drops = misses = 0
    for key in requests:
        if hits[key] >= 0:
            if hits[key] < S3_HITS_MAX:
                hits[key] += 1
            continue
        misses += 1
        while len(small) + len(main) >= capacity:
            if len(small) < small_max and main:
                oldest = main.popleft()
                if hits[oldest]:
                    main.append(oldest)
                hits[oldest] -= 1
                continue
            oldest = small.popleft()
            if hits[oldest] > 1:
                hits[oldest] = 0
                main.append(oldest)
                continue
            hits[oldest] = ABSENT
            drops += 1
            ghosted[oldest] = drops
        is_ghost = ghosted[key] != ABSENT and drops - ghosted[key] < ghost_max
        ghosted[key] = ABSENT
        (main if is_ghost else small).append(key)
        hits[key] = 0
    return misses


def w_tinylfu(requests: Sequence[int], keys: int, capacity: int) -> int:
    """G. Einziger et al., "TinyLFU: a highly efficient cache admission policy", ACM TOS 2017: window, SLRU, sketch."""
    window: OrderedDict[int, None] = OrderedDict()
    probation: OrderedDict[int, None] = OrderedDict()
    protected: OrderedDict[int, None] = OrderedDict()
    window_max = max(1, int(capacity * WINDOW))
    main_max = capacity - window_max
    protected_max = int(main_max * PROTECTED)
    sketch = Sketch(capacity)
    misses = 0
    for key in requests:
        sketch.add(key)
        if key in window:
            window.move_to_end(key)
        elif key in protected:
            protected.move_to_end(key)
        elif key in probation:
            del probation[key]
            protected[key] = None
            if len(protected) > protected_max:
                probation[protected.popitem(last=False)[0]] = None
        else:
            misses += 1
            window[key] = None
            if len(window) <= window_max:
                continue
            candidate = window.popitem(last=False)[0]
            if len(probation) + len(protected) >= main_max:
                part = probation or protected
                victim = next(iter(part))
                if sketch.estimate(candidate) <= sketch.estimate(victim):
                    continue
                del part[victim]
            probation[candidate] = None
    return misses


class Sketch:
    """A count-min sketch with conservative update, halved after every sample."""

    def __init__(self, capacity: int) -> None:
        self._mask = (1 << max(6, (4 * capacity - 1).bit_length())) - 1
        self._counters = bytearray(self._mask + 1)
        self._sample = SKETCH_SAMPLE * capacity
        self._added = 0
        self._known: dict[int, tuple[int, ...]] = {}

    def estimate(self, key: int) -> int:
        """How often the key was added, at most SKETCH_MAX."""
        counters = self._counters
        return min([counters[place] for place in self._places(key)])

    def add(self, key: int) -> None:
        """Count one."""
        places, counters = self._places(key), self._counters
        least = min([counters[place] for place in places])
        if least < SKETCH_MAX:
            for place in places:
                if counters[place] == least:
                    counters[place] = least + 1
        self._added += 1
        if self._added >= self._sample:
            self._added //= 2
            self._counters = counters.translate(HALVES)

    def _places(self, key: int) -> tuple[int, ...]:
        places = self._known.get(key)
        if places is None:
            mixed = [((key + 1) * (row * 0x9E3779B97F4A7C15 | 1)) & (2**64 - 1) for row in range(1, SKETCH_ROWS + 1)]
            places = tuple((value ^ value >> 29) * 0xBF58476D1CE4E5B9 >> 20 & self._mask for value in mixed)
            self._known[key] = places
        return places


HALVES: Final = bytes(value // 2 for value in range(256))

POLICIES: Final[dict[str, Policy]] = {
    "LRU": lru,
    "CLOCK": clock,
    "SIEVE": sieve,
    "S3-FIFO": s3_fifo,
    "W-TinyLFU": w_tinylfu,
}
