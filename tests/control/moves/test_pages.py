"""Pages of links, beside projection's own way from rows to records, and what PostgreSQL and Redis make of them."""

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import asyncpg
import hiredis
import pytest
import redis
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from control.links.model import HASH_OFFSET, key_hash
from control.moves._pages import COLUMNS, FAULTY_KEPT, PENDING_BYTES_MAX, ROW_BYTES_MAX, Batch, Reader, hashes
from control.projection.model import LINK_COLUMNS, TOMBSTONE_TTL_MS, Write, write_of
from control.projection.shard_writer import KEYS_PER_CALL
from tests.control.moves.copied import HEAD, TRAILER, copy_bytes, link, row_bytes
from tests.stack.fixtures import RedisFactory
from wire import record
from wire.record import LinkRecord

SHA = b"0123456789abcdef0123456789abcdef01234567"
DIGESTS = 2**64

_INSTANTS = st.none() | st.datetimes(datetime(1969, 12, 31), datetime.max, timezones=st.just(UTC))
_TARGETS = st.text("abc/:?\x7f é", max_size=20) | st.sampled_from(["a" * 8192, "a" * 8193, "é" * 5000])
ROWS = st.fixed_dictionaries(
    {
        "link_id": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10),
        "domain_id": st.integers(-(2**31), 2**31 - 1),
        "code": st.text("aZ09-_", max_size=64) | st.sampled_from(["é", "\r\n"]),
        "key_hash": st.integers(-(2**63), 2**63 - 1),
        "version": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**32),
        "status": st.sampled_from([301, 302, 307, 308]) | st.integers(-(2**15), 2**15 - 1),
        "target": st.just("https://example.com/") | _TARGETS,
        "is_enabled": st.booleans(),
        "not_before": _INSTANTS,
        "not_after": _INSTANTS,
        "cache_max_age_s": st.none() | st.integers(-(2**31), 2**31 - 1) | st.integers(0, 31_536_001),
        "deleted_at": st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    }
)
# What a key may hold beside the record that is expected there.
KINDS = st.sampled_from(["same", "absent", "older", "newer", "different", "tombstone", "short"])


def _whole(rows: Sequence[dict[str, Any]]) -> Reader:
    reader = Reader(1, SHA)
    assert reader.feed(copy_bytes((row, 0) for row in rows)) == len(rows)
    reader.finish()
    return reader


def _batch(rows: Sequence[dict[str, Any]]) -> Batch:
    return _whole(rows).take(0)


def _records(batch: Batch) -> dict[bytes, bytes]:
    return {key: batch.record(index) for index, key in enumerate(batch.keys)}


def _expected(row: dict[str, Any]) -> Write | None:
    try:
        return write_of(row)
    except (ValueError, OverflowError):
        return None


def _digest(held: dict[bytes, bytes]) -> int:
    """Of what is alive, as the stub states it."""
    alive = ((key, data) for key, data in held.items() if not (len(data) > 1 and data[1] & record.Flag.TOMBSTONE))
    return sum(xxhash.xxh64_intdigest(data, xxhash.xxh64_intdigest(key[2:])) for key, data in alive) % DIGESTS


def _parsed(data: bytes) -> list[Any]:
    """Commands as Redis reads them."""
    parser = hiredis.Reader()
    parser.feed(data)
    return list(iter(parser.gets, False))


@given(ROWS)
@example(link(1, not_after=datetime(2255, 6, 5, 23, 47, 34, 740_993, UTC)))
@example(link(1, not_before=datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)))
@example(
    link(1, not_before=datetime(1970, 1, 1, tzinfo=UTC), not_after=datetime(2004, 7, 13, 11, 38, 17, 172_000, UTC))
)
@example(link(1, not_after=datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)))
@example(link(1, not_before=datetime(2023, 11, 14, 22, 13, 20, 1_000, UTC), target="a" * 8192, cache_max_age_s=0))
def test_a_record_is_what_projection_writes(row: dict[str, Any]) -> None:
    """The same key and bytes, or both refuse the row, which is then counted and named."""
    reader, expected = _whole([row]), _expected(row)
    found = _records(reader.take(0))
    assert found == ({} if expected is None else {expected.key: expected.data})
    assert reader.faulty_count == (expected is None)
    assert [faulty.link_id for faulty in reader.faulty] == ([row["link_id"]] if expected is None else [])
    assert reader.last == (row["key_hash"], row["link_id"])


@given(st.lists(st.tuples(ROWS, st.integers(0, 2)), max_size=6), st.lists(st.integers(1, 200), min_size=1))
def test_where_bytes_are_cut_does_not_matter(rows: list[tuple[dict[str, Any], int]], cuts: list[int]) -> None:
    """Pieces of any size, also as bytearrays; each target gets its rows in order."""
    data = copy_bytes(rows)
    reader = Reader(3, SHA)
    at = count = 0
    while at < len(data):
        size = cuts[at % len(cuts)]
        count += reader.feed(bytearray(data[at : at + size]))
        at += size
    reader.finish()
    assert count == reader.rows == len(rows)
    for target in range(3):
        writes = [write for row, of in rows if of == target and (write := _expected(row)) is not None]
        batch = reader.take(target)
        assert batch.target == target
        assert batch.keys == [write.key for write in writes]
        assert [batch.record(index) for index in range(batch.count)] == [write.data for write in writes]
    assert reader.pending_bytes == 0


@pytest.mark.parametrize("count", [0, 1, KEYS_PER_CALL, KEYS_PER_CALL + 1, 3 * KEYS_PER_CALL - 1])
def test_commands_are_calls_of_the_script(count: int) -> None:
    """As redis-py would encode them: not too many keys in one, all of them in order."""
    batch = _batch([link(number) for number in range(count)])
    calls = _parsed(b"".join(batch.commands))
    keys, data = [], []
    for call in calls:
        size = int(call[2])
        assert call[:2] == [b"EVALSHA", SHA]
        assert size <= KEYS_PER_CALL
        assert call[3 + size] == b"%d" % TOMBSTONE_TTL_MS
        keys += call[3 : 3 + size]
        data += call[4 + size :]
    assert len(calls) == -(-count // KEYS_PER_CALL)
    assert keys == batch.keys == [b"l:1:code%d" % number for number in range(count)]
    assert data == [batch.record(index) for index in range(count)]
    assert batch.data_bytes == sum(map(len, keys + data))
    assert batch.commands == batch.writes(range(count))


def test_commands_name_the_epoch_and_the_fence() -> None:
    """Behind all that write.lua has without them, in whole batches and in parts."""
    rows = [link(number) for number in range(KEYS_PER_CALL + 1)]
    reader = Reader(1, SHA, 7)
    reader.feed(copy_bytes((row, 0) for row in rows))
    batch, plain = reader.take(0), _batch(rows)
    expected = [[*call, b"7", b"pm:fence"] for call in _parsed(b"".join(plain.commands))]
    assert _parsed(b"".join(batch.commands)) == expected
    assert _parsed(b"".join(batch.writes(range(len(rows))))) == expected


def test_some_of_a_batch_are_written() -> None:
    """By index; another index is an error."""
    batch = _batch([link(number) for number in range(5)])
    assert [call[3:5] for call in _parsed(b"".join(batch.writes([1, 4])))] == [[b"l:1:code1", b"l:1:code4"]]
    assert batch.writes([]) == []
    for index in (-1, 5):
        with pytest.raises(IndexError):
            batch.writes([index])
        with pytest.raises(IndexError):
            batch.record(index)
        with pytest.raises(IndexError):
            batch.key(index)


@given(st.lists(st.tuples(KINDS, st.booleans()), max_size=20))
def test_differences_are_those_that_the_versions_say(cases: list[tuple[str, bool]]) -> None:
    """Missing, older, newer and different values, beside links and beside tombstones, which need not be there."""
    deleted_at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        link(n, version=5, deleted_at=deleted_at if is_deleted else None) for n, (_, is_deleted) in enumerate(cases)
    ]
    batch = _batch(rows)
    values = [_value(kind, batch.record(index)) for index, (kind, _) in enumerate(cases)]
    differences = batch.compare(values)
    names: dict[str, list[int]] = {"missing": [], "older": [], "newer": [], "different": []}
    for index, (kind, is_deleted) in enumerate(cases):
        wanted = {"absent": None if is_deleted else "missing", "same": None, "short": "older", "tombstone": "newer"}
        name = wanted.get(kind, kind)
        if name is not None:
            names[name].append(index)
    assert names == {name: getattr(differences, name) for name in names}
    held = {key: value for key, value in zip(batch.keys, values, strict=True) if value is not None}
    alive = [data for data in held.values() if not (len(data) > 1 and data[1] & 1)]
    assert (differences.links, differences.digest) == (len(alive), _digest(held))
    assert (batch.links, batch.digest) == (sum(not deleted for _, deleted in cases), _digest(_records(batch)))


def _value(kind: str, expected: bytes) -> bytes | None:
    versions = {"older": 4, "newer": 6, "different": 5}
    if kind in ("same", "absent"):
        return expected if kind == "same" else None
    if kind == "tombstone":
        return record.encode(record.Tombstone(link_id=1, version=9))
    if kind == "short":
        return expected[:7]
    return record.encode(LinkRecord(link_id=9, version=versions[kind], status=301, target=b"https://example.org"))


def test_values_must_be_those_of_the_keys() -> None:
    """As many as there are keys, and bytes."""
    batch = _batch([link(1)])
    with pytest.raises(ValueError, match="2 values beside 1 keys"):
        batch.compare([None, None])
    with pytest.raises(TypeError):
        batch.compare(["text"])  # type: ignore[list-item]


def test_the_digest_does_not_depend_on_order_or_on_batches() -> None:
    """Sums of parts are the sum of all."""
    rows = [link(number) for number in range(50)]
    all_of_them = _batch(rows).digest
    assert all_of_them == _batch(rows[::-1]).digest
    assert all_of_them == (_batch(rows[:20]).digest + _batch(rows[20:]).digest) % DIGESTS


@given(st.data())
def test_damaged_bytes_are_refused_or_read(data: st.DataObject) -> None:
    """Whatever is changed: rows that came whole before it can be taken, and what follows it is refused."""
    whole = bytearray(copy_bytes((link(number, not_after=datetime(2027, 1, 1, tzinfo=UTC)), 0) for number in range(4)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    reader = Reader(1, SHA)
    try:
        reader.feed(whole)
        reader.finish()
    except ValueError:
        pass
    batch = reader.take(0)
    assert len(_parsed(b"".join(batch.commands))) == (batch.count > 0)
    assert all(record.decode(batch.record(index)) for index in range(batch.count))


@pytest.mark.parametrize(
    "data",
    [
        b"PGCOPY\n\xff\r\n\1" + bytes(8),
        HEAD[:11] + b"\0\1\0\0" + bytes(4),
        HEAD[:15] + struct.pack(">i", -1),
        HEAD[:15] + struct.pack(">i", 1_000_000),
        HEAD + struct.pack(">h", 12),
        HEAD + struct.pack(">h", -2),
        HEAD + row_bytes(link(1), target=1),
        HEAD + row_bytes(link(1), target=-1),
        HEAD + TRAILER + b"\0",
        HEAD + struct.pack(">hi", 13, -2),
        HEAD + struct.pack(">hi", 13, ROW_BYTES_MAX + 1),
        HEAD + row_bytes(link(1, target="a" * ROW_BYTES_MAX)),
    ],
)
def test_what_is_no_copy_of_the_columns_is_refused(data: bytes) -> None:
    """Another signature, flags, extension, number of fields or target; bytes behind the end; sizes that cannot be."""
    reader = Reader(1, SHA)
    with pytest.raises(ValueError, match=r"COPY|target"):
        reader.feed(data)
    with pytest.raises(ValueError, match="failed before"):
        reader.feed(TRAILER)
    with pytest.raises(ValueError, match="end"):
        reader.finish()


def test_a_null_where_the_table_has_none_is_refused() -> None:
    """Only instants and the cache lifetime can be null."""
    null = struct.pack(">i", -1)
    row = row_bytes(link(1))
    with pytest.raises(ValueError, match="COPY"):
        Reader(1, SHA).feed(HEAD + row[:2] + null + row[14:])


def test_a_copy_that_ends_early_is_not_finished() -> None:
    """In its head, in a row, or before its trailer."""
    whole = copy_bytes([(link(1), 0)])
    for size in (0, 5, len(HEAD), len(HEAD) + 20, len(whole) - 2, len(whole) - 1):
        reader = Reader(1, SHA)
        reader.feed(whole[:size])
        with pytest.raises(ValueError, match="end"):
            reader.finish()


def test_faulty_links_are_counted_and_the_first_are_named() -> None:
    """The others are written."""
    reader = _whole([link(n, target="" if n % 2 else "https://example.com") for n in range(2 * FAULTY_KEPT + 20)])
    assert reader.faulty_count == FAULTY_KEPT + 10
    assert [faulty.link_id for faulty in reader.faulty] == list(range(1, 2 * FAULTY_KEPT, 2))
    assert "target" in reader.faulty[0].reason
    assert reader.take(0).count == FAULTY_KEPT + 10


def test_what_is_pending_is_bounded() -> None:
    """The reader refuses what would be too much, and goes on when something was taken."""
    rows = b"".join(row_bytes(link(n, target="a" * 8192)) for n in range(1000))
    reader = Reader(1, SHA)
    reader.feed(HEAD)
    while reader.pending_bytes + len(rows) <= PENDING_BYTES_MAX:
        reader.feed(rows)
    with pytest.raises(ValueError, match="take what is pending"):
        reader.feed(rows)
    assert PENDING_BYTES_MAX - len(rows) < reader.pending_bytes <= PENDING_BYTES_MAX
    assert reader.rows == reader.take(0).count
    assert reader.pending_bytes == 0
    reader.feed(rows + TRAILER)
    reader.finish()
    assert reader.take(0).count == 1000


@pytest.mark.parametrize("targets", [0, -1, 65_537])
def test_targets_are_limited(targets: int) -> None:
    """One at least; and one that there is not cannot be taken."""
    with pytest.raises(ValueError, match="targets"):
        Reader(targets, SHA)
    with pytest.raises(ValueError, match="no target 1"):
        Reader(1, SHA).take(1)


def test_batches_come_from_readers_alone() -> None:
    """Nobody makes one."""
    with pytest.raises(TypeError):
        Batch()


@given(st.lists(st.tuples(st.integers(1, 2**31 - 1), st.text("aZ09-_", min_size=1, max_size=64)), max_size=20))
def test_hashes_are_those_of_the_links(links: list[tuple[int, str]]) -> None:
    """By which they are placed on the ring."""
    keys = [b"l:%d:%s" % (domain_id, code.encode()) for domain_id, code in links]
    assert hashes(keys) == [key_hash(domain_id, code) for domain_id, code in links]


@pytest.mark.parametrize("key", [b"", b"l", b"pm:fence", b"x:1:a"])
def test_keys_of_something_else_have_no_hash(key: bytes) -> None:
    """They are no links."""
    with pytest.raises(ValueError, match="no key of a link"):
        hashes([b"l:1:a", key])


def test_a_page_of_postgresql_is_read_and_written(migrated_url: str, redis_factory: RedisFactory) -> None:
    """Links of two arcs by COPY, in pieces as they come; Redis holds what projection would have written there."""
    script = (resources.files("control.projection") / "write.lua").read_text(encoding="utf-8")
    with redis.Redis.from_url(redis_factory().url) as client:
        reader = Reader(2, client.script_load(script).encode())
        expected = asyncio.run(_copy(migrated_url, reader))
        assert reader.faulty_count == 0
        batches = [reader.take(target) for target in range(2)]
        assert [{write.key: write.data for write in writes} for writes in expected] == [*map(_records, batches)]
        assert min(batch.count for batch in batches) > 2 * KEYS_PER_CALL
        assert max(batch.count - batch.links for batch in batches) > 0
        for batch in batches:
            _check_written(client, batch)


def _check_written(client: redis.Redis, batch: Batch) -> None:
    before = batch.compare(_values(client, batch))
    assert (len(before.missing), before.links, before.digest) == (batch.links, 0, 0)
    assert _send(client, batch.commands) == batch.count
    assert _send(client, batch.commands) == 0
    after = batch.compare(_values(client, batch))
    assert after == ([], [], [], [], batch.links, batch.digest)


def _values(client: redis.Redis, batch: Batch) -> Any:
    return client.mget(batch.keys)


def _send(client: redis.Redis, commands: list[bytes]) -> int:
    """How many keys were written."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_packed_command([b"".join(commands)])  # type: ignore[no-untyped-call]
        return sum(connection.read_response() for _ in commands)
    finally:
        client.connection_pool.release(connection)


async def _copy(url: str, reader: Reader) -> list[list[Write]]:
    """Read the links of two arcs, which are for targets 0 and 1; what projection says of each arc's links."""
    connection = await asyncpg.connect(url)

    async def take(data: bytearray) -> None:
        reader.feed(data)

    try:
        await _fill(connection)
        arcs = [(-HASH_OFFSET, -1), (0, HASH_OFFSET - 1)]
        await connection.copy_from_query(
            f"SELECT {COLUMNS} FROM unnest($1::bigint[], $2::bigint[], $3::int[]) AS arc (first, last, target) "
            "JOIN links l ON l.key_hash BETWEEN arc.first AND arc.last ORDER BY l.key_hash, l.id",
            [first for first, _ in arcs],
            [last for _, last in arcs],
            [0, 1],
            output=take,
            format="binary",
        )
        reader.finish()
        query = f"SELECT {LINK_COLUMNS} FROM links l WHERE l.key_hash BETWEEN $1 AND $2 ORDER BY l.key_hash, l.id"
        return [[write_of(row) for row in await connection.fetch(query, *arc)] for arc in arcs]
    finally:
        await connection.close()


async def _fill(connection: Any) -> None:
    """Links with all that a link can have."""
    domain_id = await connection.fetchval(
        "INSERT INTO domains (host, base_url) VALUES ('pages.test', 'https://pages.test') RETURNING id"
    )
    rows = []
    for n in range(2000):
        window = (datetime(2023, 11, 14, 22, 13, 20, 1_000 * (n % 1000), UTC), datetime(2255 + n, 6, 5, tzinfo=UTC))
        rows.append(
            (
                key_hash(domain_id, f"code{n}") - HASH_OFFSET,
                1 + n,
                datetime(2026, 1, 1, tzinfo=UTC) if n % 7 == 0 else None,
                window[0] if n % 3 == 0 else None,
                window[1] if n % 5 == 0 else None,
                domain_id,
                (301, 302, 307, 308)[n % 4],
                n % 11 > 0,
                f"code{n}",
                f"https://example.com/{'x' * n}",
                n if n % 2 else None,
            )
        )
    await connection.executemany(
        "INSERT INTO links (key_hash, version, deleted_at, not_before, not_after, domain_id, status, is_enabled, code, "
        "target, cache_max_age_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        rows,
    )
