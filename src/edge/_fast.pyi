"""The compiled door: one connection, bytes in, redirect out; and the leaves that others may use."""

from edge._base62 import CodePermutation as CodePermutation
from edge._base62 import decode as base62_decode
from edge._base62 import encode as base62_encode
from edge._ring import Ring as Ring
from edge._ring import xxh64 as xxh64

__all__ = ["CodePermutation", "Ring", "base62_decode", "base62_encode", "xxh64"]
