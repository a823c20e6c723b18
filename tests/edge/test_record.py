"""The compiled record decoder against wire.record, its definition."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import _record
from wire import record
from wire.errors import FormatError

GOLDEN = Path(__file__).parent.parent / "wire" / "golden"
TARGETS = st.binary(min_size=1, max_size=200).map(lambda noise: bytes(0x21 + byte % 94 for byte in noise))
INSTANTS = st.none() | st.integers(0, 2**63 - 1)
TAGS = st.integers(0, 0xFFFF).filter(lambda tag: tag != record.TAG_CACHE_MAX_AGE)
# As any writer could make them, valid or not: a few tags in any order, the lifetime's length right or wrong.
ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 3) | st.just(0x8001),
        st.binary(max_size=6) | st.integers(0, 2**32 - 1).map(lambda seconds: seconds.to_bytes(4, "little")),
    ),
    min_size=1,
    max_size=4,
)
RECORDS = st.builds(
    record.LinkRecord,
    link_id=st.integers(0, 2**63 - 1),
    version=st.integers(1, record.LINK_VERSION_MAX),
    status=st.sampled_from(record.STATUSES),
    target=TARGETS,
    is_disabled=st.booleans(),
    not_before_ms=INSTANTS,
    not_after_ms=INSTANTS,
    cache_max_age_s=st.none() | st.integers(0, record.CACHE_MAX_AGE_S_MAX),
    tail=st.dictionaries(TAGS, st.binary(max_size=20), max_size=3).map(lambda tail: tuple(sorted(tail.items()))),
)


def assert_same_verdict(data: bytes) -> None:
    """Both decoders give the same fields, or both refuse."""
    assert verdict(decode_by_definition, data) == verdict(_record.decode, data)


def decode_by_definition(data: bytes) -> tuple[int, bytes, int, int, int | None] | None:
    """wire.record's answer in the compiled decoder's form."""
    value = record.decode(data)
    if isinstance(value, record.Tombstone):
        return None
    return value.status, value.target, value.version, value.link_id, value.cache_max_age_s


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
    for file in GOLDEN.glob("record-*.bin"):
        assert_same_verdict(file.read_bytes())


def with_tail(*entries: tuple[int, bytes]) -> bytes:
    """A common record with a tail that nobody has checked."""
    data = bytearray((GOLDEN / "record-common.bin").read_bytes())
    data[1] |= record.Flag.HAS_TAIL
    for tag, value in entries:
        data += tag.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
    return bytes(data)


@given(ENTRIES)
def test_tails_get_the_same_verdict(entries: list[tuple[int, bytes]]) -> None:
    """Twice, out of order, critical, of a wrong length, above the maximum, or right."""
    assert_same_verdict(with_tail(*entries))


@pytest.mark.parametrize("seconds", [0, 1, 3600, record.CACHE_MAX_AGE_S_MAX])
def test_cache_lifetime_is_decoded(seconds: int) -> None:
    """Whatever else the tail holds around it; without it there is none."""
    lifetime = (record.TAG_CACHE_MAX_AGE, seconds.to_bytes(4, "little"))
    for entries in ((lifetime,), ((0, b"ab"), lifetime), (lifetime, (2, b""), (0x7FFF, b"c"))):
        decoded = _record.decode(with_tail(*entries))
        assert decoded is not None
        assert decoded[4] == seconds
    common = _record.decode((GOLDEN / "record-common.bin").read_bytes())
    assert common is not None
    assert common[4] is None


@pytest.mark.parametrize(
    "entries",
    [
        [(record.TAG_CACHE_MAX_AGE, b"")],
        [(record.TAG_CACHE_MAX_AGE, b"abc")],
        [(record.TAG_CACHE_MAX_AGE, b"abcde")],
        [(record.TAG_CACHE_MAX_AGE, (record.CACHE_MAX_AGE_S_MAX + 1).to_bytes(4, "little"))],
        [(record.TAG_CACHE_MAX_AGE, b"\xff\xff\xff\xff")],
        [(record.TAG_CACHE_MAX_AGE, b"\0\0\0\0")] * 2,
        [(2, b""), (record.TAG_CACHE_MAX_AGE, b"\0\0\0\0")],
        [(2, b"a" * 40_000), (3, b"a" * 25_528)],
    ],
    ids=lambda entries: str(entries)[:40],
)
def test_malformed_tail_is_refused_by_both(entries: list[tuple[int, bytes]]) -> None:
    """The refusals of the definition, named one by one; the last one is a byte too long as a whole."""
    for decode in (record.decode, _record.decode):
        with pytest.raises(FormatError):
            decode(with_tail(*entries))


def test_longest_tail_is_taken_by_both() -> None:
    """As many bytes as the format allows."""
    assert_same_verdict(with_tail((2, b"a" * 40_000), (3, b"a" * 25_527)))
    assert _record.decode(with_tail((2, b"a" * 40_000), (3, b"a" * 25_527))) is not None
