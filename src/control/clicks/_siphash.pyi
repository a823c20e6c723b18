"""SipHash-2-4."""

def siphash(data: bytes, key0: int, key1: int) -> int:
    """SipHash-2-4 of `data` under the key whose two halves, little-endian, are these."""
