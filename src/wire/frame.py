"""A frame: clicks of one segment of one worker of an edge, as one entry of a shard's stream.

A frame's identity is (writer, segment, start). It is cut once and noted by the edge before it is sent, so what is sent
again under the same identity has the same body. All integers are little-endian:

    offset  size  field
         0     1  format version, 1
         1     1  codec of the body: 0 none, 1 zlib
         2     2  length of the edge id
         4     4  length of the body, not compressed
         8     4  CRC-32 of the body, not compressed
        12     8  writer: the random number that a worker's process chose at its start, 1..2^63-1
        20     4  number of the segment among the writer's
        24     4  start: offset of the body in the segment
        28     8  when the segment was begun, milliseconds since 1970 UTC
        36     e  edge id
         …     …  body, see `wire.click`, as the codec has it
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from wire.click import FRAME_BYTES_MAX
from wire.errors import FormatError

FORMAT_VERSION: Final = 1
PLAIN: Final = 0
ZLIB: Final = 1
EDGE_ID_BYTES_MAX: Final = 100

_HEAD: Final = struct.Struct("<BBHIIQIIQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """`body` is not compressed and not empty; its end in the segment is `start + len(body)`."""

    edge_id: str
    writer: int
    segment: int
    start: int
    created_ms: int
    body: bytes


def encode(frame: Frame, *, is_compressed: bool) -> bytes:
    """The value of a stream entry's field FRAME_FIELD; raises FormatError for what the format cannot hold."""
    _check(frame)
    edge_id = frame.edge_id.encode("ascii")
    head = _HEAD.pack(
        FORMAT_VERSION,
        ZLIB if is_compressed else PLAIN,
        len(edge_id),
        len(frame.body),
        zlib.crc32(frame.body),
        frame.writer,
        frame.segment,
        frame.start,
        frame.created_ms,
    )
    return b"".join((head, edge_id, zlib.compress(frame.body, 1) if is_compressed else frame.body))


def decode(data: bytes) -> Frame:
    """The frame in `data`; raises FormatError for anything but a whole, valid frame of a known version. What its body
    says is not looked at."""
    if not data or data[0] != FORMAT_VERSION:
        raise FormatError("version", f"frame of unknown format version {data[:1]!r}; this build reads version 1")
    if len(data) < _HEAD.size:
        raise FormatError("truncated", f"frame of {len(data)} bytes is shorter than its head")
    _, codec, edge_size, body_size, checksum, writer, segment, start, created_ms = _HEAD.unpack_from(data)
    at = _HEAD.size + edge_size
    _require(edge_size <= EDGE_ID_BYTES_MAX and at <= len(data), f"edge id of {edge_size} bytes")
    _require(body_size <= FRAME_BYTES_MAX, f"body of {body_size} bytes, {FRAME_BYTES_MAX} can be held")
    body = _body(data[at:], codec, body_size)
    if zlib.crc32(body) != checksum:
        raise FormatError("checksum", "the body is not the one that was sent: its CRC-32 differs")
    frame = Frame(
        edge_id=_ascii(data[_HEAD.size : at]),
        writer=writer,
        segment=segment,
        start=start,
        created_ms=created_ms,
        body=body,
    )
    _check(frame)
    return frame


def _body(data: bytes, codec: int, size: int) -> bytes:
    _require(codec in (PLAIN, ZLIB), f"unknown codec {codec}")
    if codec == PLAIN:
        body = data
    else:
        inflater = zlib.decompressobj()
        try:
            body = inflater.decompress(data, FRAME_BYTES_MAX)
        except zlib.error as error:
            raise FormatError("value", f"the body cannot be inflated: {error}") from error
        _require(inflater.eof and not inflater.unused_data, "the body's compressed form does not end where it should")
    if len(body) != size:
        raise FormatError("truncated", f"body of {len(body)} bytes instead of {size}")
    return body


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError("value", f"edge id {data!r} is not ASCII") from error


def _check(frame: Frame) -> None:
    _require(1 <= len(frame.edge_id) <= EDGE_ID_BYTES_MAX, f"edge id {frame.edge_id!r} is not 1..100 bytes long")
    _require(0 < frame.writer < 2**63, f"writer {frame.writer} is not in 1..2^63-1")
    _require(0 <= frame.segment < 2**31 and 0 <= frame.start < 2**31, "segment or start is not in 0..2^31-1")
    _require(0 <= frame.created_ms < 2**63, f"instant {frame.created_ms} is not in 0..2^63-1 ms")
    _require(
        0 < len(frame.body) <= FRAME_BYTES_MAX, f"body of {len(frame.body)} bytes, 1..{FRAME_BYTES_MAX} can be held"
    )


def _require(is_true: bool, message: str) -> None:
    if not is_true:
        raise FormatError("value", message)
