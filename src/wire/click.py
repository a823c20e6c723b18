"""The body of a frame: clicks, and the texts that they share.

A worker of the edge appends items to a segment file, and a frame is a run of items that can be read without the rest.
All integers are little-endian. Each item:

    offset  size  field
         0     2  bytes of the whole item, a multiple of 4; in a segment it is written last, so 0 is no item yet
         2     1  kind: 1 text, 2 click
         3     1  flags of a click, see `Flag`; 0 in a text
         4     4  the edge's own: by it an edge finds items that a power cut tore. Readers of frames ignore it

A text goes on with

         8     2  length in bytes, 1..255
        10     n  its bytes, then zeros up to the item's size

and is known by its number: the first text of a frame is 1, the next 2. A click goes on with

         8     8  instant, milliseconds since 1970 UTC by the edge's wall clock
        16     8  link id; 0 with UNKNOWN_CODE
        24     4  domain id
        28     2  status of the answer
        30     2  number of the User-Agent's text; 0: none was sent, or it is not recorded
        32     2  number of the Referer's text, likewise
        34     2  number of the query's text (without its "?"), likewise
        36     1  length of the client's address: 0, 4 or 16
        37     1  length of the code: 0, or 1..64 with UNKNOWN_CODE
        38     2  zero
        40     a  address, in network order
         …     c  code
         …     …  zeros up to the item's size

Longer texts are cut; their bytes are the request's, of no known encoding. A click names only texts that stand before it
in its frame.
"""

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from wire.errors import FormatError

TEXT_BYTES_MAX: Final = 255
CODE_BYTES_MAX: Final = 64
# A frame is one entry of a stream and one step of the consumer: 3,000 clicks are worth a transaction's overhead.
FRAME_BYTES_MAX: Final = 128 * 1024
TEXT: Final = 1
CLICK: Final = 2

_ITEM: Final = struct.Struct("<HBBI")
_TEXT: Final = struct.Struct("<H")
_CLICK: Final = struct.Struct("<QQIHHHHBBH")
ITEM_BYTES_MIN: Final = 12
CLICK_BYTES_MIN: Final = _ITEM.size + _CLICK.size


class Flag(enum.IntFlag):
    """What is true of a click."""

    HEAD = 1  # the method was HEAD
    TLS = 2
    UNKNOWN_CODE = 4  # answered 404: there is no such link
    OPTED_OUT = 8  # the client asked not to be tracked, and that is honoured: no address, no texts
    STALE = 16  # answered from L1 while neither shard nor PostgreSQL could say
    NO_AGENT = 32  # by the edge's settings no User-Agent is recorded: none there says nothing of the client


_FLAGS_KNOWN: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """One click, with its texts instead of their numbers; b"" is none."""

    time_ms: int
    link_id: int
    domain_id: int
    status: int
    flags: int = 0
    user_agent: bytes = b""
    referrer: bytes = b""
    query: bytes = b""
    address: bytes = b""
    code: bytes = b""


def encode(clicks: Iterable[Click]) -> bytes:
    """A frame's body with each text once; raises FormatError for what the format cannot hold."""
    numbers: dict[bytes, int] = {b"": 0}
    items: list[bytes] = []
    for click in clicks:
        _check(click)
        for text in (click.user_agent, click.referrer, click.query):
            if text not in numbers:
                numbers[text] = len(numbers)
                items.append(_item(TEXT, 0, _TEXT.pack(len(text)) + text))
        items.append(_encode_click(click, numbers))
    body = b"".join(items)
    _require(len(body) <= FRAME_BYTES_MAX, f"frame of {len(body)} bytes, {FRAME_BYTES_MAX} can be held")
    return body


def decode(body: bytes) -> list[Click]:
    """The clicks of a frame's body; raises FormatError unless all of it is valid."""
    _require(len(body) <= FRAME_BYTES_MAX, f"frame of {len(body)} bytes, {FRAME_BYTES_MAX} can be held")
    texts = [b""]
    clicks: list[Click] = []
    at = 0
    while at < len(body):
        if at + ITEM_BYTES_MIN > len(body):
            raise FormatError("truncated", f"frame ends inside an item at {at}")
        size, kind, flags, _ = _ITEM.unpack_from(body, at)
        if at + size > len(body):
            raise FormatError("truncated", f"frame ends inside an item of {size} bytes at {at}")
        _require(size >= ITEM_BYTES_MIN and size % 4 == 0, f"item of {size} bytes at {at}")
        item = body[at : at + size]
        if kind == TEXT:
            texts.append(_decode_text(item, flags))
        elif kind == CLICK:
            clicks.append(_decode_click(item, flags, texts))
        else:
            raise FormatError("value", f"item of unknown kind {kind} at {at}")
        at += size
    return clicks


def _encode_click(click: Click, numbers: dict[bytes, int]) -> bytes:
    fixed = _CLICK.pack(
        click.time_ms,
        click.link_id,
        click.domain_id,
        click.status,
        numbers[click.user_agent],
        numbers[click.referrer],
        numbers[click.query],
        len(click.address),
        len(click.code),
        0,
    )
    return _item(CLICK, int(click.flags), fixed + click.address + click.code)


def _item(kind: int, flags: int, content: bytes) -> bytes:
    size = -(-(_ITEM.size + len(content)) // 4) * 4
    return (_ITEM.pack(size, kind, flags, 0) + content).ljust(size, b"\0")


def _decode_text(item: bytes, flags: int) -> bytes:
    (length,) = _TEXT.unpack_from(item, _ITEM.size)
    start = _ITEM.size + _TEXT.size
    _require(flags == 0 and 1 <= length <= TEXT_BYTES_MAX, f"text of {length} bytes with flags {flags}")
    _require_end(item, start + length)
    return item[start : start + length]


def _decode_click(item: bytes, flags: int, texts: list[bytes]) -> Click:
    _require(len(item) >= CLICK_BYTES_MIN, f"click of {len(item)} bytes")
    _require(not flags & ~_FLAGS_KNOWN, f"click with unknown flags {flags:#x}")
    time_ms, link_id, domain_id, status, agent, referrer, query, address_size, code_size, zero = _CLICK.unpack_from(
        item, _ITEM.size
    )
    _require(zero == 0 and max(agent, referrer, query) < len(texts), "click names a text that its frame does not have")
    address_end = CLICK_BYTES_MIN + address_size
    _require_end(item, address_end + code_size)
    click = Click(
        time_ms=time_ms,
        link_id=link_id,
        domain_id=domain_id,
        status=status,
        flags=flags,
        user_agent=texts[agent],
        referrer=texts[referrer],
        query=texts[query],
        address=item[CLICK_BYTES_MIN:address_end],
        code=item[address_end : address_end + code_size],
    )
    _check(click)
    return click


def _check(click: Click) -> None:
    _require(0 <= click.time_ms < 2**63 and 0 <= click.link_id < 2**63, "instant or link id is not in 0..2^63-1")
    _require(0 < click.domain_id < 2**31, f"domain id {click.domain_id} is not in 1..2^31-1")
    _require(len(click.address) in (0, 4, 16), f"address of {len(click.address)} bytes")
    _require(all(len(t) <= TEXT_BYTES_MAX for t in (click.user_agent, click.referrer, click.query)), "text too long")
    is_unknown = bool(click.flags & Flag.UNKNOWN_CODE)
    _require(is_unknown == (click.link_id == 0), "a click has a link id, or an unknown code")
    _require(is_unknown == (len(click.code) > 0) and len(click.code) <= CODE_BYTES_MAX, "a code stands without a link")


def _require_end(item: bytes, end: int) -> None:
    """What follows the content is padding: fewer than four zeros."""
    _require(end <= len(item) < end + 4 and not any(item[end:]), f"item of {len(item)} bytes holds {end}")


def _require(is_true: bool, message: str) -> None:
    if not is_true:
        raise FormatError("value", message)
