"""The compiled record decoder against wire.record, its definition."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge import _record
from wire import record
from wire.errors import FormatError

GOLDEN = Path(__file__).parent.parent / "wire" / "golden"
TARGETS = st.binary(min_size=1, max_size=200).map(lambda noise: bytes(0x21 + byte % 94 for byte in noise))
INSTANTS = st.none() | st.integers(0, 2**63 - 1)
RECORDS = st.builds(
    record.LinkRecord,
    link_id=st.integers(0, 2**63 - 1),
    version=st.integers(1, record.LINK_VERSION_MAX),
    status=st.sampled_from(record.STATUSES),
    target=TARGETS,
    is_disabled=st.booleans(),
    not_before_ms=INSTANTS,
    not_after_ms=INSTANTS,
    tail=st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=3).map(tuple),
)


def assert_same_verdict(data: bytes) -> None:
    """Both decoders give the same fields, or both refuse."""
    assert verdict(decode_by_definition, data) == verdict(_record.decode, data)


def decode_by_definition(data: bytes) -> tuple[int, bytes, int, int] | None:
    """wire.record's answer in the compiled decoder's form."""
    value = record.decode(data)
    return None if isinstance(value, record.Tombstone) else (value.status, value.target, value.version, value.link_id)


def verdict(decode: Callable[[bytes], object], data: bytes) -> object:
    """What a decoder says: its value, or whether the refusal is about the format's version."""
    try:
        return decode(data)
    except FormatError as error:
        return "version" if error.code == "version" else "refused"


@given(RECORDS)
def test_valid_records_decode_alike(value: record.LinkRecord) -> None:
    """Whatever wire can encode, with its critical tail entries refused by both."""
    assert_same_verdict(record.encode(value))


@given(RECORDS, st.data())
def test_mutated_records_get_the_same_verdict(value: record.LinkRecord, data: st.DataObject) -> None:
    """One byte changed, or the end cut off."""
    encoded = bytearray(record.encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    assert_same_verdict(bytes(encoded))
    assert_same_verdict(bytes(encoded[:at]))


@given(st.binary(max_size=120))
def test_noise_gets_the_same_verdict(noise: bytes) -> None:
    """Random bytes behind a right version byte."""
    assert_same_verdict(b"\x01" + noise)


def test_golden_records_get_the_same_verdict() -> None:
    """The golden files, too."""
    for name in ("record-common.bin", "record-full.bin", "record-tombstone.bin"):
        assert_same_verdict((GOLDEN / name).read_bytes())
