"""Unknown versions and malformed bytes are refused with a stable code, never guessed (I7)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import domains, fence, heartbeat, record, topology
from wire.errors import FormatError

GOLDEN = Path(__file__).parent / "golden"
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "record-common.bin": record.decode,
    "record-cached.bin": record.decode,
    "record-tombstone.bin": record.decode,
    "topology.json": topology.decode,
    "domains.json": domains.decode,
    "fence.json": fence.decode,
    "heartbeat.json": heartbeat.decode,
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("version", [b"", b"\x00", b"\x02", b"0", b"9", b"\xff"])
def test_unknown_version_is_refused(name: str, version: bytes) -> None:
    """Another version byte gives the code "version"."""
    data = version + (GOLDEN / name).read_bytes()[1:]
    if not version:
        data = b""
    with pytest.raises(FormatError) as caught:
        DECODERS[name](data)
    assert caught.value.code == "version"


BOUNDED = record.LinkRecord(
    link_id=1, version=1, status=301, target=b"https://e.x/", not_before_ms=5, not_after_ms=2**62
)


@pytest.mark.parametrize(
    "data",
    [
        (GOLDEN / "record-common.bin").read_bytes(),
        (GOLDEN / "record-tombstone.bin").read_bytes(),
        record.encode(BOUNDED),
    ],
)
def test_every_cut_of_a_record_is_refused(data: bytes) -> None:
    """No prefix of a record without a tail is a record, and nothing may follow it."""
    for size in range(len(data)):
        with pytest.raises(FormatError):
            record.decode(data[:size])
    with pytest.raises(FormatError):
        record.decode(data + b"\x00")


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_are_refused(noise: bytes) -> None:
    """Whatever the bytes, decoding gives a record that encodes to them, or FormatError."""
    data = b"\x01" + noise
    try:
        decoded = record.decode(data)
    except FormatError:
        return
    assert data == record.encode(decoded)


@pytest.mark.parametrize(
    "change",
    [
        {"status": 303},
        {"target": b""},
        {"target": b"https://e.x/ y"},
        {"target": b"https://e.x/\r\nSet-Cookie: a"},
        {"target": b"https://e.x/\xc3\xbc"},
        {"target": b"https://e.x/" + b"a" * 8192},
        {"version": 0},
        {"version": 2**32},
        {"link_id": -1},
        {"not_before_ms": -1},
        {"tail": ((70_000, b""),)},
        {"tail": ((2, b""), (2, b""))},
        {"tail": ((3, b""), (2, b""))},
        {"tail": ((1, b"\0\0\0\0"),)},
        {"tail": ((2, b"a" * 40_000), (3, b"a" * 25_528))},
        {"tail": ((2, b"a" * 40_000), (3, b"a" * 25_520)), "cache_max_age_s": 0},
        {"cache_max_age_s": -1},
        {"cache_max_age_s": 31_536_001},
        {"cache_max_age_s": 2**32},
    ],
    ids=str,
)
def test_values_that_the_record_cannot_hold_are_refused(change: dict[str, Any]) -> None:
    """Encoding checks what decoding checks."""
    fields: dict[str, Any] = {"link_id": 1, "version": 1, "status": 302, "target": b"https://e.x/"}
    with pytest.raises(FormatError):
        record.encode(record.LinkRecord(**(fields | change)))


def test_critical_tail_entry_is_refused_and_an_optional_one_is_skipped() -> None:
    """A record with a rule that must be understood is not used by a reader that does not know it."""
    plain = record.LinkRecord(link_id=1, version=1, status=302, target=b"https://e.x/", tail=((9, b"x"),))
    assert plain == record.decode(record.encode(plain))
    critical = record.LinkRecord(link_id=1, version=1, status=302, target=b"https://e.x/", tail=((0x8001, b"x"),))
    with pytest.raises(FormatError) as caught:
        record.decode(record.encode(critical))
    assert caught.value.code == "tail"


def _with_tail(tail: bytes) -> bytes:
    data = bytearray((GOLDEN / "record-common.bin").read_bytes())
    data[1] |= record.Flag.HAS_TAIL
    return bytes(data) + tail


HOUR = b"\x01\0\x04\0" + (3600).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("tail", "code", "message"),
    [
        (b"\x01\0\0\0", "tail", "0 bytes instead of 4"),
        (b"\x01\0\x03\0abc", "tail", "3 bytes instead of 4"),
        (b"\x01\0\x08\0abcdefgh", "tail", "8 bytes instead of 4"),
        (b"\x01\0\x04\0" + (31_536_001).to_bytes(4, "little"), "value", "31536001 s is not in 0..31536000"),
        (b"\x01\0\x04\0\xff\xff\xff\xff", "value", "4294967295 s is not in 0..31536000"),
        (HOUR + HOUR, "tail", "0x0001 twice"),
        (b"\x02\0\0\0" + HOUR, "tail", "0x0001 twice or out of order"),
        (HOUR[:-1], "truncated", "inside its tail"),
    ],
)
def test_malformed_cache_lifetime_is_refused(tail: bytes, code: str, message: str) -> None:
    """Wrong length, above the maximum, twice, cut off: each says what is wrong."""
    with pytest.raises(FormatError, match=message) as caught:
        record.decode(_with_tail(tail))
    assert caught.value.code == code


def test_a_cache_lifetime_takes_eight_bytes_and_none_takes_none() -> None:
    """A common link keeps its size."""
    common, cached = ((GOLDEN / f"record-{name}.bin").read_bytes() for name in ("common", "cached"))
    assert len(common) == 18 + len(b"https://example.com/")
    assert _with_tail(HOUR) == cached
    assert len(cached) == len(common) + 8


SECOND = (
    b'2{"epoch":1,"mode":"%s","virtual_nodes":1,"shards":[{"id":"a","url":"u","replicas":[],"place":"%s",'
    b'"weight":%s,"second_weight":%s},{"id":"b","url":"v","replicas":[],"place":"","weight":1,"second_weight":0}]}'
)


@pytest.mark.parametrize(
    "body",
    [
        b"1[]",
        b"1{",
        b'1{"epoch":1,"virtual_nodes":1,"shards":[]}',
        b'1{"epoch":0,"virtual_nodes":1,"shards":[{"id":"a","url":"u","replicas":[],"weight":1}]}',
        b'1{"epoch":true,"virtual_nodes":1,"shards":[{"id":"a","url":"u","replicas":[],"weight":1}]}',
        b'1{"epoch":1,"virtual_nodes":1,"shards":[{"id":"A!","url":"u","replicas":[],"weight":1}]}',
        b'1{"epoch":1,"virtual_nodes":1,"shards":[{"id":"a","url":"u","replicas":[1],"weight":1}]}',
        b'1{"epoch":1,"virtual_nodes":1,"shards":[{"id":"a","url":"u","replicas":[],"weight":0}]}',
        b'1{"epoch":1,"virtual_nodes":1,"shards":[1]}',
        b'1{"epoch":1,"virtual_nodes":65536,"shards":[{"id":"a","url":"u","replicas":[],"weight":1000}]}',
        SECOND % (b"calm", b"", b"1", b"0"),
        SECOND % (b"steady", b"", b"1", b"0.5"),
        SECOND % (b"armed", b"", b"1", b"0"),
        SECOND % (b"steady", b"", b"1.001", b"0"),
        SECOND % (b"steady", b"", b"-1", b"0"),
        SECOND % (b"steady", b"", b"true", b"0"),
        SECOND % (b"steady", b"b", b"1", b"0"),
    ],
)
def test_unusable_topologies_are_refused(body: bytes) -> None:
    """A topology that no ring can be built of is refused where it is read and where it is written."""
    with pytest.raises(FormatError):
        topology.decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b'1{"revision":1,"default_id":1,"hosts":{}}',
        b'1{"revision":1,"default_id":2,"hosts":{"a":1}}',
        b'1{"revision":1,"default_id":1,"hosts":{"A":1}}',
        b'1{"revision":1,"default_id":1,"hosts":{"a":"1"}}',
    ],
)
def test_unusable_tables_of_domains_are_refused(body: bytes) -> None:
    """Hosts are lower-case ASCII and the default is one of them."""
    with pytest.raises(FormatError):
        domains.decode(body)
