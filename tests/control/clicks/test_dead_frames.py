"""What cannot be counted is laid aside with its reason and blocks nothing; a replay counts it exactly once (I3, I7)."""

import asyncio
import struct
import time
import zlib
from dataclasses import replace

import pytest

from control.clicks import dead_frames, service
from control.clicks.model import DEAD_REASONS
from control.clicks.service import Options
from tests.control.clicks.depot import (
    EDGE,
    OPTIONS,
    Depot,
    Segment,
    acknowledged,
    clicks_of,
    entry,
    name_of,
    now_ms,
    play,
    report_of,
    send,
    some_frames,
)
from tests.control.station import Station
from tests.stack.server import RedisServer
from wire import click, frame, keys, report
from wire.frame import Frame

DAY_MS = 86_400_000
GOOD = click.encode(clicks_of([1, 1, 2]))


def _changed(one: Frame, at: int, value: bytes) -> dict[bytes, bytes]:
    data = frame.encode(one, is_compressed=False)
    return {keys.FRAME_FIELD: data[:at] + value + data[at + len(value) :]}


def _bodies() -> dict[str, bytes]:
    """Bodies of which the envelope is right."""
    text = struct.pack("<HBBIH", 12, click.TEXT, 0, 0, 2) + b"ab"
    return {
        "torn item": GOOD + text[:-4],
        "size 0": GOOD + bytes(12),
        "unknown kind": GOOD + struct.pack("<HBBII", 12, 9, 0, 0, 0),
        "odd size": GOOD + struct.pack("<HBBIIH", 14, click.TEXT, 0, 0, 1, 0),
        "text of nothing": GOOD + struct.pack("<HBBII", 12, click.TEXT, 0, 0, 0),
        "unknown flags": GOOD[:-41] + b"\xff" + GOOD[-40:],
    }


def test_every_reason_is_counted_from_nothing(bare_station: Station) -> None:
    """Before the first frame that is laid aside: what begins with it is no increase to who reads the counters."""
    lines = bare_station.client.get("/metrics").text.splitlines()
    for reason in DEAD_REASONS:
        assert f'pointsman_click_dead_frames_total{{reason="{reason}"}} 0' in lines
    assert "pointsman_click_dead_frames_evicted_total 0" in lines


def test_malformed_body_is_laid_aside_and_acknowledged(database_url: str, shards: list[RedisServer]) -> None:
    """The frames beside it are counted; nothing of it is; its bytes and its reason are kept."""
    segment = Segment()
    bad = [segment.cut_body(body) for body in _bodies().values()]
    good = segment.cut([1, 2])

    async def work(depot: Depot) -> None:
        send(shards[0], *bad, good, *bad)
        depot.start(0)
        await depot.until_acknowledged(shards[0], {name_of(one): 0 for one in (*bad, good)}, only_names=True)
        assert await depot.totals() == {1: 1, 2: 1}
        kept = await depot.rows("SELECT reason, data FROM click_dead_frames ORDER BY id")
        assert [(reason, frame.decode(data)) for reason, data in kept] == [("body", one) for one in bad]
        ((stored, dead),) = await depot.rows("SELECT stored, dead FROM click_writers")
        assert (stored, dead) == (2, sum(dead_frames.tell_clicks(one.body)[0] for one in bad))
        assert depot.metrics.clicks.dead.lines()[-1].endswith(f'{{reason="body"}} {len(bad)}')

    play(database_url, shards, work)


def _envelopes() -> dict[str, dict[bytes, bytes]]:
    """Entries whose frame's identity cannot be believed, or that are none."""
    one = Segment(writer=5).cut([1])
    bomb = frame._HEAD.pack(1, 1, 1, 100, 0, 5, 0, 4096, 0) + b"e" + zlib.compress(bytes(10_000_000))
    return {
        "frame: version": _changed(one, 0, b"\x02"),
        "frame: codec": _changed(one, 1, b"\x09"),
        "frame: edge id": _changed(one, 36, b"\0"),
        "frame: writer": _changed(one, 12, bytes(8)),
        "frame: truncated": {keys.FRAME_FIELD: entry(one)[keys.FRAME_FIELD][:30]},
        "frame: nothing": {keys.FRAME_FIELD: b""},
        "frame: inflates too far": {keys.FRAME_FIELD: bomb},
        "frame: past the end": entry(replace(one, start=2**31 - 2)),
        "checksum: body": _changed(one, 50, b"\xff\xff"),
        "entry: unknown field": {b"x": b"\0\xff"},
        "entry: two fields": {b"x": b"1", keys.FRAME_FIELD: b"2"},
        "report: no JSON": {keys.REPORT_FIELD: b"1{"},
        "report: version": {keys.REPORT_FIELD: b"7{}"},
        "report: writer": {keys.REPORT_FIELD: report.encode(report_of(Segment(writer=0), recorded=0))},
        "report: edge id": {keys.REPORT_FIELD: report.encode(report_of(Segment(edge_id="a\0b"), recorded=0))},
        "report: nested": {keys.REPORT_FIELD: b'1{"edge_id":' + b"[" * 1000 + b"]" * 1000 + b"}"},
        "report: counts": {keys.REPORT_FIELD: report.encode(report_of(Segment(), recorded=2**62))},
    }


def test_unreadable_entry_is_removed_and_not_acknowledged(database_url: str, shards: list[RedisServer]) -> None:
    """The edge still has what it meant, and sends it again."""
    good = Segment().cut([1, 2])
    bad = _envelopes()

    async def work(depot: Depot) -> None:
        send(shards[0], *bad.values(), good, *bad.values())
        depot.start(0)
        await depot.wait_empty(shards[0])
        await depot.until_acknowledged(shards[0], {name_of(good): 0}, only_names=True)
        assert await depot.totals() == {1: 1, 2: 1}
        reasons = await depot.rows("SELECT reason FROM click_dead_frames ORDER BY id")
        assert [reason for (reason,) in reasons] == [name.partition(":")[0] for name in bad]
        assert await depot.rows("SELECT count(*) FROM click_writers") == [(1,)]

    play(database_url, shards, work)


def test_frame_too_old_or_from_the_future_is_not_counted(database_url: str) -> None:
    """Nobody could tell whether it was counted when the identities of its segment are gone."""
    old = Segment(created_ms=now_ms() - 36 * DAY_MS).cut([1, 1])
    young = Segment(created_ms=now_ms() - 34 * DAY_MS).cut([2], now_ms())
    future = Segment(created_ms=now_ms() + 2 * DAY_MS).cut([3])
    never = Segment(created_ms=2**62).cut([3])

    async def work(depot: Depot) -> None:
        outcome = await depot.store(old, young, future, never, old)
        assert len(outcome.acknowledged) == 5
        assert await depot.totals() == {2: 1}
        reasons = await depot.rows("SELECT reason, clicks FROM click_dead_frames ORDER BY id")
        assert reasons == [("too_old", 2), ("too_new", 1), ("too_new", 1)]
        again = await depot.store(old)
        assert (again.duplicates, again.dead.total()) == (1, 0)
        assert await depot.rows("SELECT sum(dead)::int FROM click_writers") == [(4,)]

    play(database_url, [], work)


@pytest.mark.parametrize("wrong_days", [-20_000, -2, 40])
def test_frames_are_dated_by_postgresql(database_url: str, monkeypatch: pytest.MonkeyPatch, wrong_days: int) -> None:
    """A machine whose clock is wrong refuses nothing: its frames would leave their edge and be counted nowhere."""
    frames = some_frames(8, 3)
    wrong_ns = time.time_ns() + wrong_days * DAY_MS * 1_000_000

    async def work(depot: Depot) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: wrong_ns)
        outcome = await depot.store(*frames)
        assert (outcome.stored, outcome.dead.total()) == (3, 0)
        assert await depot.rows("SELECT count(*) FROM click_segments WHERE created_at > now()") == [(0,)]

    play(database_url, [], work)


def test_overlapping_frame_is_laid_aside(database_url: str) -> None:
    """A range of which a part is counted cannot be counted in part; the whole range again is a duplicate."""
    segment = Segment()
    first, second = segment.cut([1, 2]), segment.cut([3])
    across = replace(first, start=first.start + 4)
    both = replace(first, body=first.body + second.body)

    async def work(depot: Depot) -> None:
        await depot.store(first, second)
        outcome = await depot.store(across, both, replace(second, start=second.start + 4))
        assert (outcome.duplicates, outcome.dead) == (2, {"overlap": 1})
        assert await depot.totals() == {1: 1, 2: 1, 3: 1}

    play(database_url, [], work)


def test_values_that_postgresql_refuses_do_not_stop_a_batch(database_url: str) -> None:
    """A click from the year 9999 and a text with a NUL are counted or laid aside; the frames beside them count."""
    nul = click.encode(
        [replace(clicks_of([1])[0], user_agent=b"a\0b", referrer=b"https://a\0b/", query=b"utm_source=\0")]
    )
    late = click.encode([replace(clicks_of([1])[0], time_ms=2**62)])
    segment = Segment()

    async def work(depot: Depot) -> None:
        outcome = await depot.store(segment.cut([2]), segment.cut_body(nul), segment.cut_body(late), segment.cut([2]))
        assert len(outcome.acknowledged) == 4
        totals = await depot.totals()
        assert totals[2] == 2
        ((stored, dead),) = await depot.rows("SELECT stored, dead FROM click_writers")
        assert stored + dead == 4
        assert sum(totals.values()) == stored

    play(database_url, [], work, replace(OPTIONS, keeps_rows=True))


def test_dead_frames_are_bounded_and_the_oldest_go(database_url: str) -> None:
    """Beyond the bound the oldest are dropped, and counted; their edge was told, so they do not come again."""
    segment = Segment()
    bad = [segment.cut_body(GOOD + b"\0" * 4 * number) for number in range(1, 6)]

    async def work(depot: Depot) -> None:
        assert (await depot.store(*bad[:3])).evicted == 0
        assert (await depot.store(*bad[3:])).evicted == 2
        kept = await depot.rows("SELECT data FROM click_dead_frames ORDER BY id")
        assert [frame.decode(data) for (data,) in kept] == bad[2:]
        assert (await depot.store(*bad)).duplicates == 5
        assert await depot.rows("SELECT dead FROM click_writers") == [(15,)]

    play(database_url, [], work, Options(keeps_rows=False, segments_days=35, dead_frames_max=3))


def test_malformed_document_is_replaced_and_kept(database_url: str) -> None:
    """A stored document that cannot be read would stop every batch with its link."""
    segment = Segment()

    async def work(depot: Depot) -> None:
        await depot.store(segment.cut([1, 2]))
        await depot.rows("UPDATE click_link_days SET document = 'junk' WHERE link_id = 1")
        outcome = await depot.store(segment.cut([1, 2, 2]))
        assert outcome.dead == {"document": 1}
        assert await depot.rows("SELECT reason, data FROM click_dead_frames") == [("document", b"junk")]
        assert await depot.rows("SELECT link_id, clicks FROM click_link_days ORDER BY link_id") == [(1, 1), (2, 3)]
        assert await depot.rows("SELECT link_id, clicks FROM click_totals ORDER BY link_id") == [(1, 2), (2, 3)]

    play(database_url, [], work)


async def _dead(depot: Depot, one: Frame) -> None:
    """Lay a good frame aside, as a build that could not read it would have."""
    data = frame.encode(one, is_compressed=True)
    await depot.rows(
        "INSERT INTO click_segments (writer, segment, edge_id, created_at, dead) "
        "VALUES ($1, $2, $3, now(), int4multirange(int4range($4, $5)))",
        one.writer,
        one.segment,
        EDGE,
        one.start,
        one.start + len(one.body),
    )
    await depot.rows("INSERT INTO click_writers (writer, edge_id, dead) VALUES ($1, $2, 2)", one.writer, EDGE)
    await depot.rows(
        "INSERT INTO click_dead_frames (shard_id, reason, message, writer, segment, range, clicks, data, sha256) "
        "VALUES ('shard-0', 'body', '', $1, $2, int4range($3, $4), 2, $5, sha256($5))",
        one.writer,
        one.segment,
        one.start,
        one.start + len(one.body),
        data,
    )


def test_replay_counts_exactly_once(database_url: str) -> None:
    """Several replays at once and the frame itself from the edge again: one of them counts it."""
    one = Segment().cut([1, 2])

    async def work(depot: Depot) -> None:
        await _dead(depot, one)
        assert (await depot.store(one)).duplicates == 1
        replays = [service.replay(depot.database, depot.tools.intake) for _ in range(3)]
        results, _ = await asyncio.gather(asyncio.gather(*replays), depot.store(one))
        assert sum(result.revived for result in results) >= 1
        assert await depot.totals() == {1: 1, 2: 1}
        assert await depot.rows("SELECT count(*) FROM click_dead_frames") == [(0,)]
        assert await depot.rows("SELECT stored, dead FROM click_writers") == [(2, 0)]
        assert (await depot.store(one)).duplicates == 1

    play(database_url, [], work)


def test_replay_leaves_what_is_still_wrong(database_url: str) -> None:
    """It stays where it is, is counted nowhere, and the books stay as they were."""
    segment = Segment()
    bad, good = segment.cut_body(GOOD + bytes(4)), segment.cut([1])
    unreadable = _changed(segment.cut([5]), 50, b"\xff\xff")

    async def work(depot: Depot) -> None:
        await depot.store(bad, good, unreadable)
        progress = await service.replay(depot.database, depot.tools.intake)
        assert (progress.tried, progress.revived) == (2, 0)
        assert await depot.totals() == {1: 1}
        reasons = await depot.rows("SELECT reason FROM click_dead_frames ORDER BY reason")
        assert reasons == [("body",), ("checksum",)]
        assert await depot.rows("SELECT stored, dead FROM click_writers") == [(1, 3)]

    play(database_url, [], work)


def test_replay_of_some(database_url: str) -> None:
    """Only the ids that are given."""
    one, other = Segment().cut([1]), Segment().cut([2])

    async def work(depot: Depot) -> None:
        await _dead(depot, one)
        await _dead(depot, other)
        ((dead_id,),) = await depot.rows("SELECT id FROM click_dead_frames WHERE writer = $1", other.writer)
        assert (await service.replay(depot.database, depot.tools.intake, [dead_id])).revived == 1
        assert await depot.totals() == {2: 1}

    play(database_url, [], work)


def test_shard_keeps_what_others_acknowledged(database_url: str, shards: list[RedisServer]) -> None:
    """Acknowledgements of a batch are by edge, and expire."""
    one, other = Segment(edge_id="a").cut([1]), Segment(edge_id="b").cut([1])

    async def work(depot: Depot) -> None:
        send(shards[0], one, other)
        depot.start(0)
        await depot.eventually(lambda: asyncio.to_thread(acknowledged, shards[0], "b"), "the second edge")
        assert set(acknowledged(shards[0], "a")) == {name_of(one)}
        assert 0 < depot.command(shards[0], "PTTL", "pm:clicks:ack:a") <= 3_600_000

    play(database_url, shards, work)
