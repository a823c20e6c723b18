"""HyperLogLog: its error, its bytes, its merges."""

import math
import random
import statistics
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.clicks._sketch import estimate, fold_sketches

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=60)
SPARSE_MAX = 1023


def _ranks(hashes: Iterable[int]) -> dict[int, int]:
    """The obvious registers."""
    ranks: dict[int, int] = {}
    for value in hashes:
        rest = value & (1 << 52) - 1
        ranks[value >> 52] = max(ranks.get(value >> 52, 0), 52 - rest.bit_length() + 1)
    return ranks


def _plain_sketch(hashes: Iterable[int]) -> bytes:
    """The bytes of the layout."""
    ranks = _ranks(hashes)
    if len(ranks) <= SPARSE_MAX:
        count = bytes((len(ranks),)) if len(ranks) < 128 else bytes((len(ranks) & 127 | 128, len(ranks) >> 7))
        return count + b"".join((index << 6 | ranks[index]).to_bytes(3, "little") for index in sorted(ranks))
    packed = sum(rank << 6 * index for index, rank in ranks.items())
    return b"\x80\x20" + packed.to_bytes(3072, "little")


@settings(deadline=None)
@given(HASHES)
def test_bytes_are_those_of_the_layout(hashes: list[int]) -> None:
    """Whatever the order and however often."""
    assert fold_sketches([], hashes) == _plain_sketch(hashes) == fold_sketches([], reversed(hashes * 2))


@pytest.mark.parametrize("count", [0, 1, 16, 17, 200, 1100, 1300, 5000, 50_000])
def test_bytes_are_those_of_the_layout_at_any_size(count: int) -> None:
    """Few, listed and all registers."""
    choose = random.Random(count)
    hashes = [choose.getrandbits(64) for _ in range(count)]
    sketch = fold_sketches([], hashes)
    assert sketch == _plain_sketch(hashes)
    assert len(sketch) <= 3074


def test_a_hash_without_a_bit_has_the_highest_rank() -> None:
    """64 bits, of which 12 choose the register: rank 53."""
    assert fold_sketches([], [0, 2**64 - 1]) == _plain_sketch([0, 2**64 - 1]) == bytes((2, 53, 0, 0, 193, 255, 3))


@settings(deadline=None)
@given(HASHES, HASHES, HASHES)
def test_merging_is_idempotent_commutative_and_associative(a: list[int], b: list[int], c: list[int]) -> None:
    """The sketch of all hashes, in whatever way it came about."""
    whole = fold_sketches([], a + b + c)
    first, second, third = (fold_sketches([], hashes) for hashes in (a, b, c))
    assert fold_sketches([whole, whole], a) == whole
    assert fold_sketches([third, first, second], []) == whole
    assert fold_sketches([first, fold_sketches([second, third], [])], []) == whole


def test_merging_crosses_from_listed_to_all_registers() -> None:
    """Two that list their registers make one that does not."""
    choose = random.Random(1)
    hashes = [choose.getrandbits(64) for _ in range(1800)]
    halves = [fold_sketches([], hashes[:900]), fold_sketches([], hashes[900:])]
    assert all(len(half) < 3000 for half in halves)
    assert fold_sketches(halves, []) == _plain_sketch(hashes)
    assert fold_sketches([fold_sketches(halves, []), *halves], []) == _plain_sketch(hashes)


@pytest.mark.parametrize("count", [1, 10, 100, 500, 1000, 3000, 10_000, 30_000, 100_000])
def test_the_error_is_that_of_the_method(count: int) -> None:
    """Over 30 sketches: no bias, and a spread of at most 1.04 / sqrt(4096), with room for chance."""
    choose = random.Random(count)
    errors = []
    for _ in range(30):
        sketch = fold_sketches([], (choose.getrandbits(64) for _ in range(count)))
        errors.append(estimate(sketch) / count - 1)
    spread = 1.04 / math.sqrt(4096)
    assert abs(statistics.fmean(errors)) < 4 * spread / math.sqrt(30)
    assert math.sqrt(statistics.fmean(error**2 for error in errors)) < 1.5 * spread


def test_a_million_is_a_million() -> None:
    """Within three standard errors."""
    choose = random.Random(5)
    assert estimate(fold_sketches([], (choose.getrandbits(64) for _ in range(10**6)))) == pytest.approx(10**6, rel=0.05)


def test_nothing_is_nothing() -> None:
    """And what no visitors could make is still a number."""
    assert estimate(fold_sketches([], [])) == 0
    assert estimate(fold_sketches([], (index << 52 for index in range(4096)))) == 2**64
    assert estimate(fold_sketches([], [index << 52 for index in range(4095)] + [4095 << 52 | 1])) == 2**64


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\1", b"\1\1\0", b"\1\0\0\0", b"\1\x36\0\0", b"\1\1\0\4", b"\2\1\0\0\1\0\0", b"\2\x41\0\0\1\0\0", b"\0\0",
        b"\x80\x20" + bytes(3071), b"\x80\x20" + bytes(3072), b"\x80\x20" + b"\xff" * 3072, b"\x80\x08" + bytes(3072),
        b"\x80\0",
    ],
)  # fmt: skip
def test_what_is_no_sketch_is_refused(data: bytes) -> None:
    """Cut, out of order, a rank out of range, one that could be written shorter, or bytes behind it."""
    with pytest.raises(ValueError, match="not a sketch"):
        estimate(data)
