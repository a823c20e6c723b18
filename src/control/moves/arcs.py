"""Arcs cut into pages: ranges of hashes that hold about as many links as are wanted; pure.

Hashes are spread evenly, so how many links a range holds follows from its width and from how many there are in all.
That is learnt from page to page, and a wide arc is cut anywhere: a page is as small where there are few arcs as where
there are many. Where a page has stopped, its successor begins, by any process: what is done is one number.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from control.moves.work import Arc

HASHES: Final = 2**64
# Each range is a descent of the index of its own.
RANGES_PER_PAGE_MAX: Final = 500
# How far the density may be corrected by one page; a page in an empty corner says little about the next one.
CORRECTION_MAX: Final = 4.0
DENSITY_MIN: Final = 1.0 / HASHES
# Where the number of links is estimated far too low, the first page is far too wide; it is not the whole at least.
PAGES_MIN: Final = 64

Range = tuple[int, int]  # first and last hash, unsigned


def by_target(arcs: Iterable[Arc]) -> dict[str, list[Range]]:
    """The ranges that go to each shard, ascending as the arcs do."""
    ranges: dict[str, list[Range]] = {}
    for arc in arcs:
        ranges.setdefault(arc.to_id, []).append((arc.first, arc.last))
    return ranges


def by_pair(arcs: Iterable[Arc]) -> dict[tuple[str, str], list[Range]]:
    """The ranges that go from one shard to another."""
    ranges: dict[tuple[str, str], list[Range]] = {}
    for arc in arcs:
        ranges.setdefault((arc.from_id, arc.to_id), []).append((arc.first, arc.last))
    return ranges


def width(ranges: Iterable[Range]) -> int:
    """How many hashes the ranges have."""
    return sum(last - first + 1 for first, last in ranges)


class Walk:
    """Goes once through ascending ranges, from behind the hash `done`; None: from the beginning."""

    def __init__(self, ranges: Sequence[Range], done: int | None, links_in_all: int) -> None:
        self.width_done = 0
        self._ranges = ranges
        self._at = 0  # the range in which the next page begins
        self._first = ranges[0][0] if ranges else 0  # where it begins there
        self._density = max(DENSITY_MIN, links_in_all / HASHES)
        self._width = 0  # of the page given last
        self._width_max = max(1, width(ranges) // PAGES_MIN)
        if done is not None:
            self._skip(done)

    def page(self, links: int) -> list[Range]:
        """The next ranges, of about `links` links; empty at the end."""
        room = min(self._width_max, max(1, int(links / self._density)))
        page: list[Range] = []
        self._width = 0
        while room > 0 and self._at < len(self._ranges) and len(page) < RANGES_PER_PAGE_MAX:
            last = min(self._ranges[self._at][1], self._first + room - 1)
            page.append((self._first, last))
            self._width += last - self._first + 1
            room -= last - self._first + 1
            self._go_behind(last)
        return page

    def learn(self, links: int) -> None:
        """The page given last had so many links, and is done."""
        self.width_done += self._width
        if self._width:
            factor = links / self._width / self._density
            self._density *= min(CORRECTION_MAX, max(1 / CORRECTION_MAX, factor))
            self._density = max(DENSITY_MIN, self._density)

    def _go_behind(self, last: int) -> None:
        if last < self._ranges[self._at][1]:
            self._first = last + 1
            return
        self._at += 1
        if self._at < len(self._ranges):
            self._first = self._ranges[self._at][0]

    def _skip(self, done: int) -> None:
        while self._at < len(self._ranges) and self._ranges[self._at][0] <= done:
            first, last = self._ranges[self._at]
            reached = min(last, done)
            self.width_done += reached - first + 1
            self._first = first
            self._go_behind(reached)
            if reached < last:
                return
