"""What the compiled modules do, as plain Python: obvious, idiomatic, and without a thought to speed or to attackers."""

import bisect
import ipaddress
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import crawleruseragents
from ua_parser.loaders import load_lazy_builtins

from wire import record
from wire.topology import points_of

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = {character: value for value, character in enumerate(ALPHABET)}
_MASK = 2**64 - 1
_HALF_BITS = 21
_HALF_MASK = (1 << _HALF_BITS) - 1
_ROUNDS = 8
_CODES = 62**7


# ---- edge._base62


def base62_encode(number: int) -> str:
    """The number in base62."""
    digits = []
    while True:
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
        if number == 0:
            return "".join(reversed(digits))


def base62_decode(text: str) -> int:
    """The number that the text stands for."""
    number = 0
    for character in text:
        number = number * 62 + _DIGITS[character]
    return number


def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4."""
    key0, key1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    state = (key0 ^ 0x736F6D6570736575, key1 ^ 0x646F72616E646F6D, key0 ^ 0x6C7967656E657261, key1 ^ 0x7465646279746573)
    whole = len(data) // 8 * 8
    lanes = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    lanes.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for lane in lanes:
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _sip_rounds(2, v0, v1, v2, v3 ^ lane)
        state = (v0 ^ lane, v1, v2, v3)
    v0, v1, v2, v3 = state
    v0, v1, v2, v3 = _sip_rounds(4, v0, v1, v2 ^ 0xFF, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _sip_rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = (v0 + v1) & _MASK
        v1 = _rotate(v1, 13) ^ v0
        v0 = _rotate(v0, 32)
        v2 = (v2 + v3) & _MASK
        v3 = _rotate(v3, 16) ^ v2
        v0 = (v0 + v3) & _MASK
        v3 = _rotate(v3, 21) ^ v0
        v2 = (v2 + v1) & _MASK
        v1 = _rotate(v1, 17) ^ v2
        v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


class CodePermutation:
    """Sequence numbers to codes: a Feistel network with cycle walking."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def code(self, number: int) -> str:
        """The code of a sequence number."""
        number = self._permute(number)
        while number >= _CODES:
            number = self._permute(number)
        return base62_encode(number).rjust(7, "0")

    def _permute(self, number: int) -> int:
        left, right = number >> _HALF_BITS, number & _HALF_MASK
        for round_number in range(_ROUNDS):
            block = right | round_number << 32
            mixed = siphash24(self._key, block.to_bytes(8, "little")) & _HALF_MASK
            left, right = right, left ^ mixed
        return left << _HALF_BITS | right


# ---- edge._ring

_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(state: int, lane: int) -> int:
    return _rotate((state + lane * _P2) & _MASK, 31) * _P1 & _MASK


def xxh64(data: bytes) -> int:
    """XXH64 of at most 31 bytes, as keys and points are: the algorithm's part without stripes."""
    state = (_P5 + len(data)) & _MASK
    at = 0
    while len(data) - at >= 8:
        lane = int.from_bytes(data[at : at + 8], "little")
        state = (_rotate(state ^ _round(0, lane), 27) * _P1 + _P4) & _MASK
        at += 8
    if len(data) - at >= 4:
        lane = int.from_bytes(data[at : at + 4], "little")
        state = (_rotate(state ^ lane * _P1 & _MASK, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        state = _rotate(state ^ byte * _P5 & _MASK, 11) * _P1 & _MASK
    state = (state ^ state >> 33) * _P2 & _MASK
    state = (state ^ state >> 29) * _P3 & _MASK
    return state ^ state >> 32


class Ring:
    """A sorted list of points and a binary search."""

    def __init__(self, shards: Sequence[tuple[str, float]], virtual_nodes: int) -> None:
        placed = sorted(
            (xxh64(f"{shard_id}#{n}".encode()), shard_id, index)
            for index, (shard_id, weight) in enumerate(shards)
            for n in range(points_of(weight, virtual_nodes))
        )
        self._points = [point for point, _, _ in placed]
        self._owners = [index for _, _, index in placed]

    def shard(self, key_hash: int) -> int:
        """The index of the shard that owns the hash."""
        at = bisect.bisect_left(self._points, key_hash)
        return self._owners[at % len(self._owners)]

    def moved(self, other: "Ring") -> list[tuple[int, int, int, int]]:
        """The ranges of hashes whose owner is another one on `other`."""
        found: list[tuple[int, int, int, int]] = []
        first = 0
        for last in sorted({*self._points, *other._points, _MASK}):
            source, target = self.shard(last), other.shard(last)
            if source != target:
                begin = found.pop()[0] if found and found[-1][1:] == (first - 1, source, target) else first
                found.append((begin, last, source, target))
            first = last + 1
        return found


# ---- edge._cache

ENTRY_BYTES = 200  # what CPython needs for an entry of an OrderedDict with its two bytes objects, about


class Cache:
    """Least recently used, bounded in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._used_bytes = 0
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        """The payload held for the key."""
        payload = self._entries.get(key)
        if payload is not None:
            self._entries.move_to_end(key)
        return payload

    def put(self, key: bytes, payload: bytes) -> bool:
        """Hold the payload for the key; False if it is larger than an eighth of the cache."""
        size = len(key) + len(payload) + ENTRY_BYTES
        if size > self._bytes_max // 8:
            return False
        replaced = self._entries.pop(key, None)
        if replaced is not None:
            self._used_bytes -= len(key) + len(replaced) + ENTRY_BYTES
        self._entries[key] = payload
        self._used_bytes += size
        while self._used_bytes > self._bytes_max:
            oldest, dropped = self._entries.popitem(last=False)
            self._used_bytes -= len(oldest) + len(dropped) + ENTRY_BYTES
        return True


# ---- edge._http


def parse(data: bytes) -> tuple[int, str, bytes, bytes | None, bool, bool]:
    """The head of a well-formed request, as edge._http.parse gives it."""
    head, _, _ = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, target, version = line.split(b" ")
    fields = {}
    for field in lines:
        name, _, value = field.partition(b":")
        fields[name.lower()] = value.strip(b" \t")
    options = {option.strip().lower() for option in fields.get(b"connection", b"").split(b",")}
    is_kept = b"close" not in options and (version == b"HTTP/1.1" or b"keep-alive" in options)
    has_body = b"transfer-encoding" in fields or int(fields.get(b"content-length", b"0")) > 0
    return len(head) + 4, method.decode("ascii"), target.partition(b"?")[0], fields.get(b"host"), is_kept, has_body


def count_heads(data: bytes) -> int:
    """How many heads stand one behind the other."""
    return sum(parse(head + b"\r\n\r\n")[0] > 0 for head in data.split(b"\r\n\r\n")[:-1])


# ---- edge._record


def decode_record(data: bytes) -> tuple[int, bytes, int, int, int | None] | None:
    """The format's own definition, which is plain Python."""
    decoded: Any = record.decode(data)
    if isinstance(decoded, record.Tombstone):
        return None
    return decoded.status, decoded.target, decoded.version, decoded.link_id, decoded.cache_max_age_s


# ---- edge._client, edge._forwarded, edge._proxy, edge._budget


def client_key(secret: bytes, address: str) -> int:
    """The hash of an IPv4 address, or of the upper 64 bits of an IPv6 address."""
    parsed = ipaddress.ip_address(address)
    block = b"\0" * 10 + b"\xff\xff" + parsed.packed if parsed.version == 4 else parsed.packed[:8] + bytes(8)
    return siphash24(secret, block)


def walk(value: bytes, trusted: Sequence[ipaddress.IPv4Network], peer: str) -> tuple[str, bool]:
    """The client by a chain of IPv4 addresses, and whether all of it was trusted."""
    client = ipaddress.IPv4Address(peer)
    for element in reversed(value.decode().split(",")):
        client = ipaddress.IPv4Address(element.strip())
        if not any(client in network for network in trusted):
            return str(client), False
    return str(client), True


def read_proxy(data: bytes) -> tuple[int, str]:
    """The size and the source of a PROXY header of either version, for TCP over IPv4."""
    if data.startswith(b"PROXY "):
        line, _, _ = data.partition(b"\r\n")
        return len(line) + 2, str(ipaddress.IPv4Address(line.split(b" ")[2].decode()))
    return 16 + int.from_bytes(data[14:16], "big"), str(ipaddress.IPv4Address(data[16:20]))


class Budgets:
    """Token buckets in a dict, by the instant at which each is full again."""

    def __init__(self, rate_per_s: int, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst * 1000
        self._full_at: dict[int, int] = {}

    def take(self, client_key: int, now_ms: int) -> bool:
        """Whether there was a token."""
        now = now_ms * self._rate_per_s
        full_at = max(now, self._full_at.get(client_key, 0)) + 1000
        if full_at - now > self._burst:
            return False
        self._full_at[client_key] = full_at
        return True


# ---- control.clicks


def agent_reader() -> Callable[[bytes], tuple[str, str, bool]]:
    """Reads browser, system and whether it is a bot, by the same patterns as Python compiles them."""
    browsers, systems, devices = load_lazy_builtins()

    def family(text: str, matchers: Any) -> str:
        found = next((match for matcher in matchers if (match := matcher(text)) is not None), None)
        return "" if found is None or found.family == "Other" else str(found.family)

    def read(agent: bytes) -> tuple[str, str, bool]:
        text = agent.decode()
        is_bot = crawleruseragents.is_crawler(text) or family(text, devices) == "Spider"
        return family(text, browsers), "" if is_bot else family(text, systems), is_bot

    return read


# ---- edge._clicklog


class ClickLog:
    """Clicks of requests in a buffer, each text once."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._texts = {b"": 0}

    def record(self, data: bytes) -> None:
        """One click: the number of each of its texts, and its fields."""
        line, *lines = data.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (field.partition(b":") for field in lines)}
        query = line.split(b" ")[1].partition(b"?")[2]
        numbers = [self._number(text) for text in (fields.get(b"user-agent"), fields.get(b"referer"), query)]
        click = struct.pack("<QQIHHHHBBH4s", 1, 7, 1, 302, *numbers, 4, 0, 0, b"\xc0\0\2\0")
        self._append(2, click)

    def _number(self, text: bytes | None) -> int:
        text = (text or b"")[:255]
        if text not in self._texts:
            self._texts[text] = len(self._texts)
            self._append(1, struct.pack("<H", len(text)) + text)
        return self._texts[text]

    def _append(self, kind: int, content: bytes) -> None:
        self._buffer += struct.pack("<HBBI", len(content) + 8, kind, 0, zlib.crc32(content)) + content
