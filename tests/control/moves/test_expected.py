"""What a shard may hold for a link, judged between two reads of PostgreSQL."""

import asyncio

import pytest

from control import migrations
from control.db import open_database
from control.domains import service as domains
from control.moves.expected import _READ, Expected, Verdict, judge, name_of
from control.projection.model import Write
from wire import keys, record
from wire.record import LinkRecord, Tombstone

KEY = keys.link_key(1, "a")


def _data(version: int, target: bytes = b"https://example.com/") -> bytes:
    return record.encode(LinkRecord(link_id=7, version=version, status=302, target=target))


def _link(version: int, *, queued: bool = False) -> Expected:
    return Expected(write=Write(KEY, _data(version), 7, version), is_deleted=False, is_queued=queued)


def _deleted(version: int) -> Expected:
    data = record.encode(Tombstone(link_id=7, version=version))
    return Expected(write=Write(KEY, data, 7, version), is_deleted=True, is_queued=False)


CASES: list[tuple[str, Expected, bytes | None, Expected | None, Verdict]] = [
    ("the same", _link(3), _data(3), _link(3), "right"),
    ("missing", _link(3), None, _link(3), "lacking"),
    ("missing, and a change is on its way", _link(3, queued=True), None, _link(3), "pending"),
    ("old", _link(3), _data(2), _link(3), "lacking"),
    ("old, and a change is on its way", _link(3, queued=True), _data(2), _link(3), "pending"),
    ("too short to have a version", _link(3), b"1", _link(3), "lacking"),
    ("changed before it was read", _link(3), _data(4), _link(4), "right"),
    ("changed after it was read", _link(3), _data(3), _link(4), "right"),
    ("changed twice meanwhile", _link(3), _data(4), _link(5), "right"),
    ("newer than PostgreSQL", _link(3), _data(4), _link(3), "wrong"),
    ("other bytes of the same version", _link(3), _data(3, b"https://evil.example/"), _link(3), "wrong"),
    ("other bytes of the newer version", _link(3), _data(4, b"https://evil.example/"), _link(4), "wrong"),
    ("deleted, and no tombstone", _deleted(3), None, _deleted(3), "right"),
    ("deleted, and a tombstone", _deleted(3), _deleted(3).write.data, _deleted(3), "right"),
    ("deleted, and the link is still there", _deleted(3), _data(2), _deleted(3), "lacking"),
    ("deleted, and a link of the same version", _deleted(3), _data(3), _deleted(3), "wrong"),
    ("deleted meanwhile", _link(3), _deleted(4).write.data, _deleted(4), "right"),
    ("deleted when it was read, created again", _deleted(3), None, _link(4), "right"),
    ("purged meanwhile", _link(3), None, None, "right"),
]


@pytest.mark.parametrize(
    ("before", "held", "after", "verdict"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_a_shard_holds_is_judged(
    before: Expected, held: bytes | None, after: Expected | None, verdict: Verdict
) -> None:
    """Nothing may be newer than the second read, nor older than what had arrived at the first."""
    assert judge(before, held, after) == verdict


def test_names_of_keys() -> None:
    """Only what `wire.keys` makes is a link's key."""
    assert name_of(b"l:1:abc_-9") == (1, "abc_-9")
    strange = (b"l:1:", b"l:01:a", b"l::a", b"l:a", b"l:1:a b", b"l:1:\xff", b"l:9999999999:a", b"l:1:" + b"a" * 65)
    assert [name_of(key) for key in strange] == [None] * len(strange)


def test_a_backlog_costs_nothing(database_url: str) -> None:
    """Whether a link is queued is looked up in an index, however many others are."""
    plan = asyncio.run(_plan(database_url))
    assert "outbox_links" in plan
    assert "Seq Scan on outbox" not in plan


async def _plan(url: str) -> str:
    database = await open_database(url)
    try:
        await migrations.migrate(database)
        await domains.ensure_default(database, "http://localhost")
        async with database.connection() as connection:
            await connection.execute(
                """
                INSERT INTO links (domain_id, code, key_hash, target)
                SELECT 1, 'c' || n, n, 'https://example.com/' FROM generate_series(1, 5000) AS n
                """
            )
            await connection.execute(
                "INSERT INTO outbox (link_id, version) SELECT n, 1 FROM generate_series(1, 50000) AS n"
            )
            await connection.execute("ANALYZE")
            codes = [f"c{number}" for number in range(1, 501)]
            rows = await connection.fetch(f"EXPLAIN {_READ}", [1] * len(codes), codes)
        return "\n".join(row[0] for row in rows)
    finally:
        await database.close()
