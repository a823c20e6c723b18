"""The PROXY protocol: headers built by hand from its specification, refusals, cuts, mutations, and a plain reader."""

import ipaddress
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge._client import canonical
from edge._proxy import read_proxy
from tests.edge.guard_page import GuardPage

GUARD = GuardPage()
SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31
ENDS4 = bytes.fromhex("c0a80001 c0a8000b dc04 01bb")
ENDS6 = bytes.fromhex("20010db8 00000000 00000000 00000001 20010db8 00000000 00000000 00000002 dc04 01bb")
ENDS_UNIX = b"/run/client".ljust(108, b"\0") + b"/run/edge".ljust(108, b"\0")


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def tlv(kind: int, value: bytes) -> bytes:
    """Type, size, value."""
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def block(command: int = PROXY, family: int = TCP4, rest: bytes = ENDS4) -> bytes:
    """A header of version 2."""
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


def summed(rest: bytes, before: bytes = b"", after: bytes = b"", family: int = TCP4) -> bytes:
    """A header of version 2 with its checksum among other TLVs."""
    head = block(PROXY, family, rest + before + tlv(3, bytes(4)) + after)
    place = 16 + len(rest) + len(before) + 3
    return head[:place] + crc32c(head).to_bytes(4, "big") + head[place + 4 :]


GOOD = [
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"),
    (b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", "2001:db8::1"),
    (b"PROXY TCP6 " + b" ".join([b":".join([b"FFFF"] * 8)] * 2) + b" 65535 65535\r\n", ":".join(["ffff"] * 8)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n", None),
    (b"PROXY UNKNOWN \xff\x00 \r \n whatever\r\n", None),
    (block(), "192.168.0.1"),
    (block(family=TCP6, rest=ENDS6), "2001:db8::1"),
    (block(family=UNIX, rest=ENDS_UNIX), "::"),
    (block(LOCAL, UNSPEC, b""), None),
    (block(LOCAL, TCP4, ENDS4), None),
    (block(LOCAL, 0xFF, b"whatever"), None),
    (block(PROXY, UNSPEC, b""), None),
    (block(PROXY, UNSPEC, b"whatever"), None),
    (block(rest=ENDS4 + tlv(0x04, b"\0" * 9) + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9")), "192.168.0.1"),
    (block(rest=ENDS4 + tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3")) + tlv(0x02, b"sho.rt")), "192.168.0.1"),
    (block(rest=ENDS4 + tlv(0x20, b"\0" * (4096 - 16 - 12 - 3))), "192.168.0.1"),
    (summed(ENDS4), "192.168.0.1"),
    (summed(ENDS6, tlv(1, b"h2"), tlv(4, b""), TCP6), "2001:db8::1"),
    (summed(ENDS_UNIX, family=UNIX), "::"),
]
BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\t2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8\r\n",
    b"PROXY TCP4 1.2.3.4\r\n",
    b"PROXY TCP4 \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY \r\n",
    b"PROXY\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 123456\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
    b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n",
    b"PROXY TCP4 1.2.3.4\x00 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 ::1 ::2 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 :::1 ::1 1 2\r\n",
    b"PROXY TCP5 ::1 ::2 1 2\r\n",
    b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY unknown\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY TCP4 " + b"1" * 100,
    SIGNATURE[:11] + b"\x0b",
    block(0x11),
    block(0x31),
    block(0x22),
    block(family=UDP4),
    block(family=UDP6, rest=ENDS6),
    block(family=0x32, rest=ENDS_UNIX),
    block(family=0x10),
    block(family=0x01),
    block(family=0x41),
    block(rest=ENDS4[:-1]),
    block(family=TCP6, rest=ENDS6[:-1]),
    block(family=UNIX, rest=ENDS_UNIX[:-1]),
    block(rest=ENDS4 + b"\x04"),
    block(rest=ENDS4 + b"\x04\x00"),
    block(rest=ENDS4 + b"\x04\x00\x01"),
    block(rest=ENDS4 + tlv(4, b"") + b"\x04\xff\xff" + b"x" * 9),
    block(rest=ENDS4 + tlv(3, bytes(4))),
    block(rest=ENDS4 + tlv(3, bytes(3))),
    block(rest=ENDS4 + tlv(3, bytes(5))),
    summed(ENDS4, tlv(3, bytes(4))),
    summed(ENDS4)[:-1] + b"\x00",
    block(rest=ENDS4 + tlv(0x20, b"\0" * (4096 - 16 - 12 - 2))),
    block(LOCAL, UNSPEC, b"\0" * 4081),
]


def test_the_checksum_of_these_tests_is_crc32c() -> None:
    """The published check value."""
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_reads_headers(header: bytes, client: str | None) -> None:
    """Every kind that the specification allows to a stream, and the bytes behind it stay."""
    assert (len(header), client) == read_proxy(GUARD.put(header))
    assert (len(header), client) == read_proxy(GUARD.put(header + b"GET /c HTTP/1.1\r\n"))


@pytest.mark.parametrize("header", [header for header, _ in GOOD])
def test_every_cut_of_a_header_needs_more(header: bytes) -> None:
    """It is neither refused nor taken before its end, however it arrives."""
    assert [0] * len(header) == [read_proxy(GUARD.put(header[:size])) for size in range(len(header))]


@pytest.mark.parametrize("header", BAD)
def test_refuses(header: bytes) -> None:
    """Whatever is not exactly a header, and what follows cannot mend it."""
    assert read_proxy(GUARD.put(header)) == -1
    assert read_proxy(GUARD.put(header + b"\r\n" * 60)) == -1


def test_header_of_text_has_a_maximum() -> None:
    """107 bytes with the CRLF: as many are awaited, and no more."""
    assert read_proxy(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n") == (107, None)
    assert read_proxy(b"PROXY UNKNOWN " + b"x" * 92) == 0
    assert read_proxy(b"PROXY UNKNOWN " + b"x" * 91 + b"\r") == 0
    assert read_proxy(b"PROXY UNKNOWN " + b"x" * 92 + b"\r") == -1


LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n", re.ASCII
)
UNKNOWN_LINE = re.compile(rb"PROXY UNKNOWN(?: .*?)??\r\n", re.DOTALL)


def plain_line(data: bytes) -> tuple[int, str | None] | None:
    """What a header of version 1 at the start of the data says, or None."""
    data = data[:107]
    unknown = UNKNOWN_LINE.match(data)
    if unknown:
        return unknown.end(), None
    match = LINE.match(data)
    if not match or max(int(match[4]), int(match[5])) > 65_535:
        return None
    family = ipaddress.IPv4Address if match[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, _ = family(match[2].decode()), family(match[3].decode())
    except ValueError:
        return None
    return match.end(), canonical(str(source))


def plain_block(data: bytes) -> tuple[int, str | None] | None:
    """The same for version 2."""
    total = 16 + int.from_bytes(data[14:16], "big")
    if data[:12] != SIGNATURE or data[12] not in (LOCAL, PROXY) or not total <= min(len(data), 4096):
        return None
    family, rest = data[13], data[16:total]
    if data[12] == LOCAL or family == UNSPEC:
        return total, None
    sizes = {TCP4: 12, TCP6: 36, UNIX: 216}
    if family not in sizes or len(rest) < sizes[family] or not plain_tlvs(data[:total], 16 + sizes[family]):
        return None
    if family == UNIX:
        return total, "::"
    return total, canonical(str(ipaddress.ip_address(rest[: 4 if family == TCP4 else 16])))


def plain_tlvs(header: bytes, at: int) -> bool:
    """Whether they fill the header and the one checksum is right."""
    sums = []
    while at < len(header):
        size = int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 + size > len(header):
            return False
        if header[at] == 3:
            sums.append((at + 3, size))
        at += 3 + size
    if not sums:
        return True
    place, size = sums[0]
    blank = header[:place] + bytes(4) + header[place + 4 :]
    return len(sums) == 1 and size == 4 and crc32c(blank) == int.from_bytes(header[place : place + 4], "big")


HEADERS = st.sampled_from([header for header, _ in GOOD if len(header) < 400] + BAD[:-2])
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 300), st.one_of(st.binary(max_size=2), st.sampled_from([b"\r\n", b" ", b"0", b":"]))),
    max_size=3,
)


def mutate(data: bytes, mutations: list[tuple[int, bytes]]) -> bytes:
    """Overwrite, insert or delete at a few places."""
    for place, noise in mutations:
        at = place % (len(data) + 1)
        data = data[:at] + noise + data[at + 1 :]
    return data


@settings(max_examples=2000)
@given(HEADERS, MUTATIONS, st.binary(max_size=20))
@example(SIGNATURE, [], b"")
def test_takes_just_what_a_plain_reader_takes(header: bytes, mutations: list[tuple[int, bytes]], tail: bytes) -> None:
    """Any mutation of any header; nothing behind the bytes is read."""
    data = mutate(header, mutations) + tail
    expected = plain_block(data) if data[:1] == b"\r" and len(data) >= 16 else plain_line(data)
    actual = read_proxy(GUARD.put(data))
    assert expected == (None if isinstance(actual, int) else actual)


@settings(max_examples=500)
@given(HEADERS, MUTATIONS, st.data())
def test_no_cut_contradicts_the_whole(header: bytes, mutations: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Any part gives the whole's verdict or asks for more; so no cut of the bytes into packets matters."""
    whole = mutate(header, mutations)
    part = whole[: data.draw(st.integers(0, len(whole)))]
    assert read_proxy(GUARD.put(part)) in (0, read_proxy(GUARD.put(whole)))
