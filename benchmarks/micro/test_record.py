"""Records of links, as a shard sends them."""

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _record
from wire import record

TARGET = b"https://www.example.com/articles/12345/a-title-of-usual-length?ref=short"
COMMON = record.LinkRecord(link_id=12_345, version=3, status=302, target=TARGET)
FULL = record.LinkRecord(
    link_id=12_345,
    version=3,
    status=301,
    target=TARGET,
    not_before_ms=1_700_000_000_000,
    not_after_ms=1_900_000_000_000,
    cache_max_age_s=86_400,
    tail=((2, b"rule" * 8), (3, b"rule" * 8)),
)
LINKS = {"common": COMMON, "with all fields": FULL}


@pytest.mark.parametrize(("name", "link"), LINKS.items(), ids=LINKS)
def test_decode(compare: Compare, name: str, link: record.LinkRecord) -> None:
    """The same record over and over."""
    compare(f"link record, {name}", _record.decode, plain.decode_record, [record.encode(link)] * 100)
