from edge._base62 import CodePermutation, decode as base62_decode, encode as base62_encode
from edge._ring import Ring, xxh64
