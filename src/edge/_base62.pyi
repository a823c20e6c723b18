"""Base62 and the keyed permutation behind generated codes."""

def encode(number: int) -> str:
    """`number` (0..2^64-1) in base62, without leading zeros: `encode(123456789) == "8m0Kx"`."""

def decode(text: str) -> int:
    """The number that `text` (1..11 characters, case matters) stands for; ValueError for anything else."""

def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4 of `data` under a 16-byte key."""

class CodePermutation:
    """A secret bijection between sequence numbers 0..62^7-1 and codes of seven base62 characters.

    `key` is 16 secret bytes; who has them can tell a code's place in the sequence.
    """

    def __init__(self, key: bytes) -> None: ...
    def code(self, number: int) -> str:
        """The code of a sequence number; ValueError above 62^7-1."""

    def number(self, code: str) -> int:
        """The sequence number of a generated code: the inverse of `code`."""
