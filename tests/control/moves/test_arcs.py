"""Arcs cut into pages."""

import itertools
from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from control.moves.arcs import HASHES, PAGES_MIN, RANGES_PER_PAGE_MAX, Range, Walk, by_pair, by_target, width
from control.moves.work import Arc

HASH = st.integers(0, HASHES - 1)


def _ranges(borders: list[int]) -> list[Range]:
    ordered = sorted(set(borders))
    return [(ordered[at], ordered[at + 1] - 1) for at in range(0, len(ordered) - 1, 2)]


def _pages(walk: Walk, links: int, found: int) -> Iterator[list[Range]]:
    while page := walk.page(links):
        yield page
        walk.learn(found)


def _joined(pages: Iterable[list[Range]]) -> list[Range]:
    """The ranges of the pages; what was cut is put together."""
    joined: list[Range] = []
    for first, last in itertools.chain.from_iterable(pages):
        assert first <= last
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


@given(st.lists(HASH, min_size=2, max_size=50), st.integers(0, 10**9), st.integers(1, 10_000))
def test_pages_cover_the_ranges_once_and_in_order(borders: list[int], estimate: int, links: int) -> None:
    """Whatever is estimated, the pages are the ranges, cut."""
    ranges = _ranges(borders)
    walk = Walk(ranges, None, estimate)
    assert _joined(_pages(walk, links, 0)) == ranges
    assert walk.width_done == width(ranges)


@given(st.lists(HASH, min_size=2, max_size=30), st.integers(0, 29), st.floats(0, 1))
def test_a_walk_begins_behind_what_is_done(borders: list[int], number: int, part: float) -> None:
    """The rest of the range in which the last hash is, and all later ones."""
    ranges = _ranges(borders)
    if not ranges:
        return
    first, last = ranges[number % len(ranges)]
    done = min(last, first + int((last - first) * part))
    walk = Walk(ranges, done, 0)
    before = walk.width_done
    expected = [(max(done + 1, a), b) for a, b in ranges if b > done]
    assert (_joined(_pages(walk, HASHES, 0)), before) == (expected, width(ranges) - width(expected))


def test_pages_get_as_many_links_as_are_wanted() -> None:
    """The density is learnt, however wrong the estimate was."""
    links = 1_000_000
    for estimate in (0, 1000, links, 10**9):
        walk = Walk([(0, HASHES - 1)], None, estimate)
        counts = []
        while page := walk.page(1000):
            counts.append(round(width(page) * links / HASHES))
            walk.learn(counts[-1])
            if len(counts) == 30:
                break
        assert max(counts) <= links / PAGES_MIN + 1
        assert 900 <= counts[-1] <= 1100


def test_a_page_has_so_many_ranges_at_most() -> None:
    """However few links they hold."""
    ranges = [(10 * number, 10 * number + 4) for number in range(PAGES_MIN * RANGES_PER_PAGE_MAX * 2)]
    assert {len(page) for page in _pages(Walk(ranges, None, 0), 8192, 0)} == {RANGES_PER_PAGE_MAX}


def test_arcs_by_target_and_by_pair() -> None:
    """In the order of the arcs."""
    arcs = [Arc(0, 1, "a", "c"), Arc(2, 3, "b", "c"), Arc(5, 9, "a", "b"), Arc(10, 12, "a", "c")]
    assert by_target(arcs) == {"c": [(0, 1), (2, 3), (10, 12)], "b": [(5, 9)]}
    assert by_pair(arcs) == {("a", "c"): [(0, 1), (10, 12)], ("b", "c"): [(2, 3)], ("a", "b"): [(5, 9)]}
