"""Ranges of a segment, as tuples of (start, end) that are in order and neither overlap nor touch.

PostgreSQL keeps them as an int4multirange; here they decide what a frame is before anything is written.
"""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]


def contains(ranges: Ranges, start: int, end: int) -> bool:
    """Whether all of [start, end) is in one of the ranges."""
    return any(low <= start and end <= high for low, high in ranges)


def overlaps(ranges: Ranges, start: int, end: int) -> bool:
    """Whether some of [start, end) is in one of them."""
    return any(low < end and start < high for low, high in ranges)


def added(ranges: Ranges, start: int, end: int) -> Ranges:
    """The ranges and [start, end)."""
    return _joined(sorted((*ranges, (start, end))))


def removed(ranges: Ranges, start: int, end: int) -> Ranges:
    """The ranges without [start, end)."""
    left = ((low, min(high, start)) for low, high in ranges)
    right = ((max(low, end), high) for low, high in ranges)
    return _joined(sorted({(low, high) for part in (left, right) for low, high in part if low < high}))


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    joined: list[tuple[int, int]] = []
    for low, high in ranges:
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)
