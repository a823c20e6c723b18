"""Pages of links in plain Python: each row unpacked, encoded by the format's own definition, and put into calls."""

import struct
from collections.abc import Iterator

import xxhash

from control.projection.model import TOMBSTONE_TTL_MS
from control.projection.shard_writer import KEYS_PER_CALL
from wire import keys, record

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_NULL = struct.pack(">i", -1)


def copy(count: int) -> bytes:
    """A COPY of `_pages.COLUMNS` with so many common links, all for target 0."""
    return HEAD + b"".join(map(_row, range(count))) + TRAILER


def _row(number: int) -> bytes:
    fields = (
        struct.pack(">q", number),
        struct.pack(">i", 1),
        b"%07d" % number,
        struct.pack(">q", number),
        struct.pack(">q", 1),
        struct.pack(">h", 302),
        b"https://www.example.com/articles/2026/%d?utm_source=newsletter" % number,
        b"\1",
        None,
        None,
        None,
        b"\0",
        struct.pack(">i", 0),
    )
    return struct.pack(">h", len(fields)) + b"".join(
        _NULL if data is None else struct.pack(">i", len(data)) + data for data in fields
    )


def writes(data: bytes) -> list[tuple[bytes, bytes]]:
    """The key and the record of each row of such a COPY."""
    return [(keys.link_key(domain_id, code), record.encode(link)) for domain_id, code, link in _links(data)]


def commands(data: bytes, write_sha: bytes) -> list[bytes]:
    """The calls that write them."""
    items = writes(data)
    return [_call(write_sha, items[at : at + KEYS_PER_CALL]) for at in range(0, len(items), KEYS_PER_CALL)]


def _call(write_sha: bytes, items: list[tuple[bytes, bytes]]) -> bytes:
    arguments = [b"EVALSHA", write_sha, b"%d" % len(items), *(key for key, _ in items)]
    arguments += [b"%d" % TOMBSTONE_TTL_MS, *(data for _, data in items)]
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%s\r\n" % (len(item), item) for item in arguments)


def _links(data: bytes) -> Iterator[tuple[int, str, record.LinkRecord]]:
    at = len(HEAD)
    while data[at : at + 2] != TRAILER:
        at += 2
        fields: list[bytes | None] = []
        for _ in range(13):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            fields.append(None if size < 0 else data[at : at + size])
            at += max(0, size)
        yield _link([field or b"" for field in fields])


def _link(fields: list[bytes]) -> tuple[int, str, record.LinkRecord]:
    link = record.LinkRecord(
        link_id=int.from_bytes(fields[0], "big"),
        version=int.from_bytes(fields[4], "big"),
        status=int.from_bytes(fields[5], "big"),
        target=fields[6],
        is_disabled=fields[7] == b"\0",
    )
    return int.from_bytes(fields[1], "big"), fields[2].decode(), link


def differences(
    expected: list[tuple[bytes, bytes]], values: list[bytes | None]
) -> tuple[list[int], list[int], list[int], list[int], int, int]:
    """Indexes: missing, older, newer, different; number and digest of the values."""
    found: tuple[list[int], list[int], list[int], list[int]] = ([], [], [], [])
    links = digest = 0
    for index, ((key, data), value) in enumerate(zip(expected, values, strict=True)):
        if value is None:
            found[0].append(index)
            continue
        if value != data:
            held, wanted = record.decode(value).version, record.decode(data).version
            found[1 if held < wanted else 2 if held > wanted else 3].append(index)
        links += 1
        digest += xxhash.xxh64_intdigest(value, xxhash.xxh64_intdigest(key.removeprefix(keys.LINK_PREFIX)))
    return *found, links, digest % 2**64
