"""`pointsman clicks …`: what operators see, and what is changed only when they say so."""

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from control.clicks import sheets, tail
from tests.control.clicks.depot import EDGE, Segment, entry, open_depot, report_of
from tests.control.clicks.test_api import NOON, click_of
from tests.control.station import DEADLINE_S, eventually, fetch, prepare
from tests.control.test_commands import SRC, _run
from tests.stack.server import RedisServer
from wire import click as wire_click
from wire import keys
from wire import report as wire_report
from wire.click import Click


@pytest.fixture
def ready_url(database_url: str, shards: list[RedisServer]) -> str:
    """A database with a topology and a link, and no control plane."""
    prepare(database_url, shards)
    _fill(database_url, [])
    assert "go.example/abc" in _run(database_url, "link", "create", "https://a.example/", "--code", "abc").stdout
    return database_url


def _fill(url: str, clicks: list[Click]) -> None:
    async def run() -> None:
        async with open_depot(url, []) as depot:
            if clicks:
                await depot.store(Segment().cut_body(wire_click.encode(clicks)))

    asyncio.run(run())


def test_show_draws_the_last_days(ready_url: str) -> None:
    """Counts, a bar a day, and what visitors used."""
    ((link_id,),) = fetch(ready_url, "SELECT id FROM links")
    _fill(ready_url, [click_of(NOON, link_id)] * 8 + [click_of(NOON - timedelta(days=1), link_id, "bot")])
    shown = _run(ready_url, "clicks", "show", "abc").stdout
    assert "9 clicks (8 humans, 1 bots)" in shown
    assert "▁█" in shown or "▂█" in shown
    assert "Firefox" in shown
    failed = _run(ready_url, "clicks", "show", "none")
    assert failed.returncode == 1
    assert "link_not_found" in failed.stderr
    assert "time_zone_unknown" in _run(ready_url, "clicks", "show", "abc", "--tz", "Europe/Atlantis").stderr


def test_reconcile_fails_when_clicks_are_missing(ready_url: str) -> None:
    """So that a script notices."""

    async def run(recorded: int, *, is_final: bool) -> None:
        async with open_depot(ready_url, []) as depot:
            segment = Segment()
            await depot.store(segment.cut([1, 2, 3]))
            report = report_of(segment, recorded, is_final=is_final)
            await depot.store({keys.REPORT_FIELD: wire_report.encode(report)})

    asyncio.run(run(3, is_final=True))
    done = _run(ready_url, "clicks", "reconcile")
    assert done.returncode == 0
    assert EDGE in done.stdout
    asyncio.run(run(5, is_final=True))
    done = _run(ready_url, "clicks", "reconcile")
    assert done.returncode == 1
    assert "2 clicks were recorded" in done.stderr
    done = _run(ready_url, "clicks", "reconcile", "--edge", "edge-l")
    assert done.returncode == 1
    assert "no edge edge-l has sent anything" in done.stderr


def test_replay_counts_what_is_repaired(ready_url: str) -> None:
    """A frame that was refused for its age, under a setting that takes it."""

    async def run() -> None:
        async with open_depot(ready_url, []) as depot:
            old = Segment(created_ms=Segment().created_ms - 50 * 86_400_000)
            await depot.store(entry(old.cut([1, 2])))

    asyncio.run(run())
    assert fetch(ready_url, "SELECT reason FROM click_dead_frames") == [("too_old",)]
    assert "1 dead frames tried, 0 are" in _run(ready_url, "clicks", "replay").stdout
    replayed = _run(ready_url, "clicks", "replay", POINTSMAN_CLICKS_SEGMENTS_DAYS="100")
    assert "1 dead frames tried, 1 are dead no longer" in replayed.stdout
    assert fetch(ready_url, "SELECT sum(clicks)::int FROM click_totals") == [(2,)]
    assert "0 dead frames tried" in _run(ready_url, "clicks", "replay").stdout


def test_retention_changes_nothing_unasked(ready_url: str) -> None:
    """It shows, asks, and then lets go."""
    fetch(ready_url, "INSERT INTO click_salts (day, salt) VALUES (1, 1)")
    for arguments in (["--dry-run"], []):
        shown = _run(ready_url, "clicks", "retention", *arguments)
        assert "click_salts" in shown.stdout
        assert fetch(ready_url, "SELECT count(*) FROM click_salts WHERE day = 1") == [(1,)]
    done = _run(ready_url, "clicks", "retention", "--yes")
    assert done.returncode == 0, done.stderr
    assert fetch(ready_url, "SELECT count(*) FROM click_salts WHERE day = 1") == [(0,)]
    assert "nothing has had its time" in _run(ready_url, "clicks", "retention", "--dry-run").stdout


def test_tail_prints_clicks_as_they_come(ready_url: str, shards: list[RedisServer]) -> None:
    """A line each, or JSON, until it is interrupted."""
    environ = {"PYTHONPATH": SRC, "POINTSMAN_DATABASE_URL": ready_url, "PATH": "", "PYTHONUNBUFFERED": "1"}
    # Whoever runs the tests in the background of a script lets them inherit that SIGINT is ignored.
    command = ["/usr/bin/env", "--default-signal=INT", sys.executable, "-m", "control", "clicks", "tail", "--json"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, cwd=Path(SRC))
    try:
        assert process.stdout is not None

        def listeners(server: RedisServer) -> int:
            with redis.Redis.from_url(server.url) as client:
                return int(client.pubsub_numsub(keys.CLICKS_TAIL)[0][1])

        eventually(lambda: all(map(listeners, shards)), "every shard is heard")
        with redis.Redis.from_url(shards[1].url) as client:
            client.publish(keys.CLICKS_TAIL, tail.encode([{"at_ms": 1, "link_id": None, "code": "x"}], 0))
        events = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [event["event"] for event in events] == ["shard", "shard", "click"]
        assert events[2]["code"] == "x"
    finally:
        process.send_signal(2)
        assert process.wait(DEADLINE_S) == 0


def test_a_line_has_no_control_characters() -> None:
    """A request could bring escape sequences for the terminal along."""
    line = sheets.line_of("click", {"at_ms": 0, "status": 302, "class": "human", "code": "x", "referrer": "\x1b[2J"})
    assert line == "1970-01-01T00:00:00.000Z 302 human /x - - - - - \ufffd[2J"


@pytest.mark.parametrize(
    ("counts", "expected"), [([], ""), ([0, 0], "  "), ([0, 1, 1000], " ▁█"), ([5], "█"), ([1, 2, 4, 8], "▁▂▄█")]
)
def test_bars_are_as_high_as_their_counts(counts: list[int], expected: str) -> None:
    """The highest is whole, and one click is seen."""
    assert sheets.sparkline(counts) == expected
