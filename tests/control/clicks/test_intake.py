"""Frames come in over the shards' streams, and each click is counted once, whoever brings it how often (I3)."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.clicks import merging
from control.clicks.model import Entry, Work
from control.clicks.service import Options
from tests.control.clicks.depot import (
    Depot,
    Segment,
    acknowledged,
    entry,
    name_of,
    plain_sum,
    play,
    report_of,
    send,
    some_frames,
    waiting,
)
from tests.stack.server import RedisServer
from wire import keys
from wire.frame import Frame


def test_frames_are_counted_acknowledged_and_removed(database_url: str, shards: list[RedisServer]) -> None:
    """From two streams into the rollups; the edge is told on the shard that it sent to, for an hour."""
    frames = some_frames(1, 20)

    async def work(depot: Depot) -> None:
        send(shards[0], *frames[:10])
        depot.start()
        send(shards[1], *frames[10:])
        for server, sent in zip(shards, (frames[:10], frames[10:]), strict=True):
            expected = {name_of(one): b"%d" % (one.start + len(one.body)) for one in sent}
            await depot.until_acknowledged(server, expected)
        assert [waiting(server) for server in shards] == [0, 0]
        assert await depot.totals() == plain_sum(frames)

    play(database_url, shards, work)


def test_frame_that_comes_again_changes_nothing(database_url: str, shards: list[RedisServer]) -> None:
    """Twice in a batch, in two batches, over two shards at once: counted once, acknowledged wherever it came."""
    frames = some_frames(2, 10)

    async def work(depot: Depot) -> None:
        send(shards[0], *frames, *frames)
        send(shards[1], *frames)
        depot.start()
        await depot.wait_empty()
        send(shards[0], *frames)
        await depot.wait_empty()
        names = {name_of(one) for one in frames}
        for server in shards:
            await depot.until_acknowledged(server, dict.fromkeys(names), only_names=True)
        assert await depot.totals() == plain_sum(frames)
        stored = await depot.rows("SELECT sum(stored)::bigint, sum(stored_unknown)::bigint FROM click_writers")
        assert stored[0][0] == sum(plain_sum(frames).values())

    play(database_url, shards, work)


def test_several_consumers_under_load_are_exact(database_url: str, shards: list[RedisServer]) -> None:
    """Three consumers of each of two streams, every frame on both, in other orders: the sums are those of one."""
    frames = some_frames(3, 400, links=50)
    shuffled = random.Random(3).sample(frames, len(frames))

    async def work(depot: Depot) -> None:
        depot.start(count=3)
        for at in range(0, len(frames), 50):
            send(shards[0], *frames[at : at + 50])
            send(shards[1], *shuffled[at : at + 50])
            await asyncio.sleep(0)
        await depot.wait_empty()
        assert await depot.totals() == plain_sum(frames)
        (counts,) = await depot.rows(
            "SELECT sum(humans + bots)::bigint, min(first_at) <= max(last_at), count(*) FROM click_totals"
        )
        assert counts == (sum(plain_sum(frames).values()), True, len(plain_sum(frames)))

    play(database_url, shards, work)


def test_writers_and_reports_come_together(database_url: str, shards: list[RedisServer]) -> None:
    """Late reports and reports that come twice lower nothing; the final one is acknowledged, the others are not."""
    segment = Segment()
    frames = [segment.cut([1, 2, 0]), segment.cut([1])]
    late = report_of(segment, recorded=1)
    final = report_of(segment, recorded=3, dropped={"disk_full": 2}, unknown_recorded=1, is_final=True)

    async def work(depot: Depot) -> None:
        send(shards[0], report_of(segment, recorded=2, dropped={"disk_full": 1}), *frames, late, final, late, final)
        depot.start(0)
        await depot.until_acknowledged(
            shards[0], dict.fromkeys([*map(name_of, frames), keys.report_name(segment.writer)]), only_names=True
        )
        (row,) = await depot.rows(
            "SELECT recorded, (dropped ->> 'disk_full')::int, stored, unknown_recorded, stored_unknown, is_final "
            "FROM click_writers"
        )
        assert row == (3, 2, 3, 1, 1, True)

    play(database_url, shards, work)


def test_raw_rows_are_kept_if_set(database_url: str, shards: list[RedisServer]) -> None:
    """One row for each click of a link, in the transaction of its frame; none for unknown codes."""
    frames = some_frames(4, 5)

    async def work(depot: Depot) -> None:
        await depot.store(*frames, *frames)
        rows = await depot.rows("SELECT link_id, count(*) FROM click_rows GROUP BY link_id")
        assert dict(rows) == plain_sum(frames)
        assert await depot.rows("SELECT DISTINCT class, browser, host(address) FROM click_rows") == [
            (0, "Firefox", "10.0.0.1")
        ]

    play(database_url, [], work, Options(keeps_rows=True, segments_days=35, dead_frames_max=1000))


def test_tags_and_campaigns_are_those_of_the_link(database_url: str) -> None:
    """A click counts for its link's tags, and has the campaign of its link's target where it brings none."""

    async def work(depot: Depot) -> None:
        await depot.rows(
            "INSERT INTO links (id, domain_id, code, key_hash, target, tags) "
            "VALUES (7, 1, 'abc', 0, 'https://a.example/?utm_source=mail', '{3,4}')"
        )
        await depot.store(Segment().cut([7, 7, 8]))
        found = await depot.rows("SELECT subject, clicks FROM click_scope_days WHERE scope = 2 ORDER BY subject")
        assert found == [(3, 2), (4, 2)]
        (document,) = (await depot.rows("SELECT document FROM click_link_days WHERE link_id = 7"))[0]
        assert b"mail" in document

    play(database_url, [], work)


def test_no_statement_has_more_documents_than_it_may(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many links and tags a batch touches: what all tags have in one message PostgreSQL would not take."""
    monkeypatch.setattr(merging, "PAGE_BYTES_MAX", 1_000_000)  # 26 documents of links, 7 of tags
    queries: list[tuple[str, int]] = []

    def note(query: Any) -> None:
        if "day" in query.query and "document" in query.query:
            queries.append((query.query, max(len(found) for found in query.args if isinstance(found, list))))

    async def work(depot: Depot) -> None:
        await depot.rows(
            "INSERT INTO links (id, domain_id, code, key_hash, target, tags) SELECT id, 1, 'c' || id, 0, "
            "'https://a.example/', ARRAY[2 * id, 2 * id + 1] FROM generate_series(1, 40) AS id"
        )
        segment = Segment()
        async with depot.database.dedicated() as connection:
            for _ in range(2):
                batch = Work()
                fields = [part for pair in entry(segment.cut(range(1, 41))).items() for part in pair]
                batch.take("shard-0", [Entry(b"1-1", fields)])
                with connection.query_logger(note):
                    await depot.tools.intake.store(connection, batch)
        assert await depot.totals() == dict.fromkeys(range(1, 41), 2)
        tags = await depot.rows("SELECT subject, clicks FROM click_scope_days WHERE scope = 2")
        assert dict(tags) == dict.fromkeys(range(2, 82), 2)
        of_links = [count for query, count in queries if "click_link_days" in query]
        of_scopes = [count for query, count in queries if "click_scope_days" in query]
        assert (max(of_links), max(of_scopes)) == (26, 7)

    play(database_url, [], work)


FRAME_LISTS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=FRAME_LISTS, chance=st.randoms(use_true_random=False))
def test_totals_are_the_plain_sum(migrated_url: str, frames: list[list[int]], chance: random.Random) -> None:
    """Random frames, random duplicates, random orders and batches: what is counted is each frame once."""
    segments = [Segment(number=number) for number in range(2)]
    cut = [chance.choice(segments).cut(link_ids) for link_ids in frames]
    sent = chance.choices(cut, k=len(cut) * 2)

    async def work(depot: Depot) -> None:
        before = await depot.totals()
        batches: list[list[Frame]] = [[] for _ in range(chance.randint(1, 4))]
        for one in sent:
            chance.choice(batches).append(one)
        await asyncio.gather(*(depot.store(*batch) for batch in batches))
        after = await depot.totals()
        added = {link: after[link] - before.get(link, 0) for link in after if after[link] != before.get(link, 0)}
        assert added == plain_sum(sent)

    play(migrated_url, [], work)


def test_day_and_salt(database_url: str) -> None:
    """Clicks count on their own day, and each day has a salt of its own."""
    day_ms = 86_400_000
    segment = Segment()

    async def work(depot: Depot) -> None:
        await depot.store(segment.cut([1, 1], day_ms * 20_000), segment.cut([1], day_ms * 20_001))
        found = await depot.rows("SELECT day, clicks FROM click_link_days ORDER BY day")
        assert found == [(20_000, 2), (20_001, 1)]
        salts = await depot.rows("SELECT day, salt FROM click_salts ORDER BY day")
        assert [day for day, _ in salts] == [20_000, 20_001]
        assert len({salt for _, salt in salts}) == 2

    play(database_url, [], work)


@pytest.mark.parametrize("lost", ["FLUSHALL", "group"])
def test_shard_that_came_back_empty_gets_its_group_again(
    database_url: str, shards: list[RedisServer], lost: str
) -> None:
    """The consumer goes on with what the edge sends again."""
    frames = some_frames(5, 6)

    async def work(depot: Depot) -> None:
        depot.start(0)
        send(shards[0], *frames[:3])
        await depot.wait_empty(shards[0])
        depot.command(
            shards[0], *(["FLUSHALL"] if lost == "FLUSHALL" else ["XGROUP", "DESTROY", "pm:clicks", "control"])
        )
        send(shards[0], *frames)
        await depot.wait_empty(shards[0])
        assert await depot.totals() == plain_sum(frames)

    play(database_url, shards, work)


def test_shard_that_was_killed_and_emptied_is_consumed_again(database_url: str, shards: list[RedisServer]) -> None:
    """Another process, without anything: the same."""
    frames = some_frames(6, 6)

    async def work(depot: Depot) -> None:
        depot.start(0)
        send(shards[0], *frames[:3])
        await depot.wait_empty(shards[0])
        shards[0].kill()
        shards[0].lose_disk()
        shards[0].start()
        send(shards[0], *frames)
        await depot.wait_empty(shards[0])
        assert await depot.totals() == plain_sum(frames)
        assert set(acknowledged(shards[0])) == set(map(name_of, frames))

    play(database_url, shards, work)
