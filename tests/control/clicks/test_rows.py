"""Raw rows, taken by a real PostgreSQL."""

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import asyncpg

from tests.control.clicks.folding import enriched
from tests.control.clicks.plain_fold import PlainEnricher, PlainFacts
from wire.click import Click, Flag

# The columns as Batch.rows has them; what the table is called does not matter to COPY.
TABLE = """CREATE TABLE rows (at timestamptz, link_id bigint, domain_id integer, status smallint, flags smallint,
    class smallint, country text, city text, browser text, os text, device text, referrer text, utm_source text,
    utm_medium text, utm_campaign text, address inet, user_agent text, referrer_url text)"""


async def _copy(url: str, data: bytes) -> Sequence[Any]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLE)
        await connection.copy_to_table("rows", source=io.BytesIO(data), format="binary")
        return list(await connection.fetch("SELECT * FROM rows"))
    finally:
        await connection.close()


def test_rows_are_copied(database_url: str) -> None:
    """All columns, at their limits; texts that are no UTF-8, or have a NUL; no unknown codes."""
    clicks = [
        Click(
            time_ms=1_700_000_000_123,
            link_id=2**63 - 1,
            domain_id=2**31 - 1,
            status=308,
            flags=int(Flag.TLS | Flag.STALE),
            user_agent=b"bot\xff\0/Linux/desktop",
            referrer=b"r",
            query=b"s&m&c",
            address=b"\xc0\0\2\1",
        ),
        Click(
            time_ms=0, link_id=1, domain_id=1, status=302, flags=int(Flag.HEAD), address=b"\x20\1\x0d\xb8" + bytes(12)
        ),
        Click(time_ms=1, link_id=0, domain_id=1, status=404, flags=int(Flag.UNKNOWN_CODE), code=b"x"),
        Click(time_ms=2**63 - 1, link_id=3, domain_id=1, status=301, user_agent=b"preview"),
    ]
    enricher = PlainEnricher()
    facts = {3: PlainFacts(campaign=(enricher.number("a"), 0, enricher.number("b")))}
    rows = [tuple(row) for row in asyncio.run(_copy(database_url, enriched(clicks, facts, enricher).rows()))]
    bot, v6 = "bot\ufffd\ufffd", IPv6Address("2001:db8::")
    browser = "bot\xff "
    assert len(rows) == 3
    assert rows[0][:9] == (
        datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC), 2**63 - 1, 2**31 - 1, 308, 18, 1, "C3", "City 0", browser,
    )  # fmt: skip
    assert rows[0][9:] == (
        "Linux", "desktop", "r", "s", "m", "c", IPv4Address("192.0.2.1"), f"{bot}/Linux/desktop", "r",
    )  # fmt: skip
    assert rows[1] == (datetime(1970, 1, 1, tzinfo=UTC), 1, 1, 302, 1, 3, "C4", "City 1", *[""] * 7, v6, "", "")
    last = datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)
    assert rows[2] == (last, 3, 1, 301, 0, 2, "", "", "preview", "", "", "", "a", "", "b", None, "preview", "")


def test_no_clicks_are_no_rows(database_url: str) -> None:
    """A batch of unknown codes alone copies nothing, and that is no error."""
    unknown = Click(time_ms=1, link_id=0, domain_id=1, status=404, flags=int(Flag.UNKNOWN_CODE), code=b"x")
    assert asyncio.run(_copy(database_url, enriched([unknown], {}, PlainEnricher()).rows())) == []


def test_samples_are_the_newest_first() -> None:
    """Of those asked for, in the form that was recorded."""
    clicks = [
        Click(time_ms=ms, link_id=1, domain_id=1, status=302, user_agent=b"bot", address=bytes((10, 0, 0, ms)))
        for ms in (3, 1, 2)
    ]
    samples = enriched(clicks, {}, PlainEnricher()).samples(2)
    assert [(sample["at_ms"], sample["address"], sample["class"]) for sample in samples] == [
        (3, "10.0.0.3", "bot"),
        (2, "10.0.0.2", "bot"),
    ]
