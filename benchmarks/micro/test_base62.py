"""Base62, and the permutation behind generated codes."""

import random

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _base62

SECRET = bytes(range(16))
_choose = random.Random(1)
NUMBERS = [_choose.randrange(62**7) for _ in range(1000)]
CODES = [plain.base62_encode(number) for number in NUMBERS]


def test_encode(compare: Compare) -> None:
    """Numbers of generated codes to text."""
    compare("base62 encode", _base62.encode, plain.base62_encode, NUMBERS)


def test_decode(compare: Compare) -> None:
    """Text of generated codes to numbers."""
    compare("base62 decode", _base62.decode, plain.base62_decode, CODES)


def test_permutation(compare: Compare) -> None:
    """Sequence numbers to codes."""
    compare("code permutation", _base62.CodePermutation(SECRET).code, plain.CodePermutation(SECRET).code, NUMBERS[:50])
