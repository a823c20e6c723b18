"""Ranges of a segment, against sets of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from control.clicks import ranges
from control.clicks.ranges import Ranges

PARTS = st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda part: (part[0], part[0] + part[1]))


def _numbers(found: Ranges) -> set[int]:
    return {number for low, high in found for number in range(low, high)}


@given(changes=st.lists(st.tuples(st.booleans(), PARTS), max_size=12), asked=PARTS)
def test_ranges_are_sets_of_numbers(changes: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]) -> None:
    """Whatever is added and removed, in order and neither overlapping nor touching."""
    found: Ranges = ()
    expected: set[int] = set()
    for is_added, part in changes:
        found = ranges.added(found, *part) if is_added else ranges.removed(found, *part)
        expected = expected | set(range(*part)) if is_added else expected - set(range(*part))
    assert _numbers(found) == expected
    assert all(low < high for low, high in found)
    assert all(first[1] < second[0] for first, second in pairwise(found))
    assert ranges.contains(found, *asked) == set(range(*asked)).issubset(expected)
    assert ranges.overlaps(found, *asked) == bool(set(range(*asked)) & expected)
