"""The link record: what a shard holds for one link, and what the edge turns into an answer.

All integers are little-endian. Version 1:

    offset  size  field
         0     1  format version, 1
         1     1  flags, see `Flag`; a bit that is not listed there is refused
         2     2  status: 301, 302, 307 or 308; 0 in a tombstone
         4     4  version of the link at its key, rising with each change, also across deletion and creation anew
         8     8  link id
        16     8  not-before, milliseconds since 1970 UTC     only with HAS_NOT_BEFORE
         …     8  not-after, likewise                         only with HAS_NOT_AFTER
         …     2  length of the target in bytes               not in a tombstone
         …     n  target, bytes 0x21-0x7e only                not in a tombstone
         …     …  tail: entries of tag (2), length (2), data  only with HAS_TAIL, to the end

A common link is 18 bytes and its target. The tail is how the format grows: a reader skips a tag that it does not know,
unless the tag's top bit (`TAG_CRITICAL`) says that the record must not be used without understanding it. Tags rise from
entry to entry, so none stands twice and a record has only one encoding. Known tags:

    tag  length  data
      1       4  cache lifetime in seconds, 0..31,536,000: how long browsers and shared caches may keep the answer. A
                 link without it, or a reader that skips it, has the default policy, under which edits take effect

Projectors compare `version` inside Redis, so it stays at offset 4 in every later format.
"""

import enum
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from wire.errors import FormatError

FORMAT_VERSION: Final = 1
STATUSES: Final = (301, 302, 307, 308)
TARGET_BYTES_MAX: Final = 8192
LINK_VERSION_MAX: Final = 2**32 - 1
TAIL_BYTES_MAX: Final = 65_535
TAG_CRITICAL: Final = 0x8000
TAG_CACHE_MAX_AGE: Final = 1
# A year, the most that caches were asked to respect (RFC 2616 14.21); RFC 9111 names no other limit below 2^31.
CACHE_MAX_AGE_S_MAX: Final = 31_536_000

_HEAD: Final = struct.Struct("<BBHIQ")
_INSTANT: Final = struct.Struct("<Q")
_LENGTH: Final = struct.Struct("<H")
_TAIL_ENTRY: Final = struct.Struct("<HH")
_SECONDS: Final = struct.Struct("<I")
_TARGET_BYTES: Final = frozenset(range(0x21, 0x7F))


Tail = tuple[tuple[int, bytes], ...]


class Flag(enum.IntFlag):
    """The flags of a record."""

    TOMBSTONE = 1
    DISABLED = 2
    HAS_NOT_BEFORE = 4
    HAS_NOT_AFTER = 8
    HAS_TAIL = 16


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FLAGS_KNOWN: Final = int(Flag.TOMBSTONE | Flag.DISABLED | Flag.HAS_NOT_BEFORE | Flag.HAS_NOT_AFTER | Flag.HAS_TAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord:
    """One link as the edge needs it. Instants are milliseconds since 1970 UTC; `cache_max_age_s` None is the default
    policy; `tail` holds the (tag, data) pairs that this build does not know.
    """

    link_id: int
    version: int
    status: int
    target: bytes
    is_disabled: bool = False
    not_before_ms: int | None = None
    not_after_ms: int | None = None
    cache_max_age_s: int | None = None
    tail: Tail = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A deleted link: keeps the version so that a late, older write cannot bring the link back."""

    link_id: int
    version: int


def milliseconds(instant: datetime | None) -> int | None:
    """An instant with a time zone as records have it: whole milliseconds, rounded down. Reckoned in integers: all who
    make the record of a link must come to the same bytes, and floats lose a millisecond here and there.
    """
    return None if instant is None else (instant - _EPOCH) // _MILLISECOND


def encode(record: LinkRecord | Tombstone) -> bytes:
    """The bytes of `record`; raises FormatError("value") for what the format cannot hold."""
    _require(0 < record.version <= LINK_VERSION_MAX, f"version {record.version} is not in 1..{LINK_VERSION_MAX}")
    _require(0 <= record.link_id < 2**63, f"link id {record.link_id} is not in 0..2^63-1")
    if isinstance(record, Tombstone):
        return _HEAD.pack(FORMAT_VERSION, Flag.TOMBSTONE, 0, record.version, record.link_id)
    _check_link(record)
    return b"".join(
        (
            _HEAD.pack(FORMAT_VERSION, _flags(record), record.status, record.version, record.link_id),
            b"" if record.not_before_ms is None else _INSTANT.pack(record.not_before_ms),
            b"" if record.not_after_ms is None else _INSTANT.pack(record.not_after_ms),
            _LENGTH.pack(len(record.target)),
            record.target,
            *(_TAIL_ENTRY.pack(tag, len(data)) + data for tag, data in _whole_tail(record)),
        )
    )


def decode(data: bytes) -> LinkRecord | Tombstone:
    """The record in `data`; raises FormatError for anything but a whole, valid record of a known version."""
    if not data or data[0] != FORMAT_VERSION:
        raise FormatError("version", f"link record of unknown format version {data[:1]!r}; this build reads version 1")
    if len(data) < _HEAD.size:
        raise FormatError("truncated", f"link record of {len(data)} bytes is shorter than its head")
    _, flags, status, version, link_id = _HEAD.unpack_from(data)
    if flags & ~_FLAGS_KNOWN:
        raise FormatError("flags", f"link record has unknown flags {flags & ~_FLAGS_KNOWN:#x}")
    if flags & Flag.TOMBSTONE:
        _require(flags == Flag.TOMBSTONE and status == 0 and len(data) == _HEAD.size, "malformed tombstone")
        return Tombstone(link_id=link_id, version=version)
    return _decode_link(data, flags, status, version, link_id)


def _decode_link(data: bytes, flags: int, status: int, version: int, link_id: int) -> LinkRecord:
    at = _HEAD.size
    not_before_ms = not_after_ms = None
    try:
        if flags & Flag.HAS_NOT_BEFORE:
            (not_before_ms,) = _INSTANT.unpack_from(data, at)
            at += _INSTANT.size
        if flags & Flag.HAS_NOT_AFTER:
            (not_after_ms,) = _INSTANT.unpack_from(data, at)
            at += _INSTANT.size
        (length,) = _LENGTH.unpack_from(data, at)
    except struct.error as error:
        raise FormatError("truncated", "link record ends inside its fields") from error
    at += _LENGTH.size
    if at + length > len(data):
        raise FormatError("truncated", "link record ends inside its target")
    tail = _decode_tail(data[at + length :], bool(flags & Flag.HAS_TAIL))
    record = LinkRecord(
        link_id=link_id,
        version=version,
        status=status,
        target=data[at : at + length],
        is_disabled=bool(flags & Flag.DISABLED),
        not_before_ms=not_before_ms,
        not_after_ms=not_after_ms,
        cache_max_age_s=_decode_cache_max_age(tail),
        tail=tuple(entry for entry in tail if entry[0] != TAG_CACHE_MAX_AGE),
    )
    _check_link(record)
    return record


def _decode_tail(data: bytes, is_expected: bool) -> Tail:
    if bool(data) != is_expected:
        raise FormatError("tail", "link record's tail and its flag disagree")
    entries: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + _TAIL_ENTRY.size > len(data):
            raise FormatError("truncated", "link record ends inside its tail")
        tag, length = _TAIL_ENTRY.unpack_from(data, at)
        at += _TAIL_ENTRY.size
        if at + length > len(data):
            raise FormatError("truncated", "link record ends inside its tail")
        if tag & TAG_CRITICAL:
            raise FormatError("tail", f"link record needs a reader that knows tail tag {tag:#06x}")
        if entries and tag <= entries[-1][0]:
            raise FormatError("tail", f"link record's tail has tag {tag:#06x} twice or out of order")
        entries.append((tag, data[at : at + length]))
        at += length
    return tuple(entries)


def _decode_cache_max_age(tail: Tail) -> int | None:
    data = dict(tail).get(TAG_CACHE_MAX_AGE)
    if data is None:
        return None
    if len(data) != _SECONDS.size:
        raise FormatError("tail", f"link record's cache lifetime has {len(data)} bytes instead of {_SECONDS.size}")
    seconds: int = _SECONDS.unpack(data)[0]
    return seconds


def _whole_tail(record: LinkRecord) -> Tail:
    """The entries as they are written: the known ones are kept as fields."""
    if record.cache_max_age_s is None:
        return record.tail
    return tuple(sorted((*record.tail, (TAG_CACHE_MAX_AGE, _SECONDS.pack(record.cache_max_age_s)))))


def _check_link(record: LinkRecord) -> None:
    _require(record.status in STATUSES, f"status {record.status} is not one of {STATUSES}")
    _require(0 < len(record.target) <= TARGET_BYTES_MAX, f"target of {len(record.target)} bytes, 1..8192 can be held")
    _require(_TARGET_BYTES.issuperset(record.target), "target has bytes outside 0x21-0x7e")
    for instant in (record.not_before_ms, record.not_after_ms):
        _require(instant is None or 0 <= instant < 2**63, f"instant {instant} is not in 0..2^63-1 ms")
    seconds = record.cache_max_age_s
    _require(
        seconds is None or 0 <= seconds <= CACHE_MAX_AGE_S_MAX,
        f"cache lifetime of {seconds} s is not in 0..{CACHE_MAX_AGE_S_MAX}",
    )
    _check_tail(record)


def _check_tail(record: LinkRecord) -> None:
    tags = [tag for tag, _ in record.tail]
    _require(tags == sorted(set(tags)), "tags of the tail do not rise")
    _require(TAG_CACHE_MAX_AGE not in tags, "the cache lifetime is a field, not an entry of the tail")
    for tag, data in record.tail:
        _require(0 <= tag <= 0xFFFF and len(data) <= 0xFFFF, f"tail entry {tag:#x} of {len(data)} bytes is too large")
    size = sum(_TAIL_ENTRY.size + len(data) for _, data in _whole_tail(record))
    _require(size <= TAIL_BYTES_MAX, f"tail of {size} bytes, {TAIL_BYTES_MAX} can be held")


def _flags(record: LinkRecord) -> int:
    return (
        (Flag.DISABLED if record.is_disabled else 0)
        | (Flag.HAS_NOT_BEFORE if record.not_before_ms is not None else 0)
        | (Flag.HAS_NOT_AFTER if record.not_after_ms is not None else 0)
        | (Flag.HAS_TAIL if _whole_tail(record) else 0)
    )


def _require(is_true: bool, message: str) -> None:
    if not is_true:
        raise FormatError("value", message)
