"""Links for moves: rows of PostgreSQL to calls of write.lua, and beside what a shard holds."""

from benchmarks.micro import plain_pages
from benchmarks.micro.compare import Compare
from control.moves._pages import Reader

SHA = b"0123456789abcdef0123456789abcdef01234567"
LINKS = 10_000


def _reader(data: bytes) -> Reader:
    reader = Reader(1, SHA)
    reader.feed(data)
    reader.finish()
    return reader


def test_commands(compare: Compare) -> None:
    """From the bytes of a COPY to those of the calls."""
    compare(
        "calls for 10,000 links",
        lambda data: _reader(data).take(0).commands,
        lambda data: plain_pages.commands(data, SHA),
        [plain_pages.copy(LINKS)],
    )


def test_comparison(compare: Compare) -> None:
    """Of the records of a page with values that are the same, but for two; digests among it."""
    batch = _reader(plain_pages.copy(LINKS)).take(0)
    expected = plain_pages.writes(plain_pages.copy(LINKS))
    values: list[bytes | None] = [bytes(bytearray(data)) for _, data in expected]
    changed = expected[4711][1]
    values[17], values[4711] = None, changed[:4] + b"\2" + changed[5:]
    compare(
        "10,000 links beside values",
        lambda held: tuple(batch.compare(held)),
        lambda held: plain_pages.differences(expected, held),
        [values],
    )
