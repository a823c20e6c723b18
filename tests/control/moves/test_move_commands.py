"""Moves by command: what operators type, what they see, and what they are told when it cannot be done."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

import pytest
from rich.console import Console

from control.db import Database
from control.moves import sheets
from control.moves.following import RATE_WINDOW_S, Rate, follow
from control.moves.model import Move
from control.moves.plan import Speed
from control.moves.service import Moves
from control.moves.steps import STEPS, Phase
from tests.control.commands import SRC, invoke, run_command
from tests.control.conftest import StationFactory
from tests.control.heartbeats import beat
from tests.control.station import DEADLINE_S, Station, eventually, fetch, prepare, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire.topology import Shard, Topology

NOWHERE: Final = "redis://127.0.0.1:1"
BACK: Final = ("reversing", "restoring", "reversed")
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEFORE: Final = Topology(epoch=1, shards=(Shard(id="shard-0", url=NOWHERE),))
MOVE: Final = Move(
    id=7,
    kind="add",
    shard_id="shard-2",
    phase="copying",
    phase_s=1.0,
    is_paused=False,
    is_reversed=False,
    wanted=None,
    lost=(),
    waits_for=None,
    waits_since=None,
    error=None,
    driver=1,
    epoch=2,
    before=BEFORE,
    after=BEFORE,
    plan={"pairs": [], "links": 0, "bytes": 0, "seconds": 0, "warnings": []},
    work={"fraction": 0.5, "counts": {"rows": 1200, "faulty": 0, "slow_shards": 1}},
    created_at=NOON,
    updated_at=NOON,
    ended_at=None,
)


@pytest.fixture
def target(redis_factory: RedisFactory) -> RedisServer:
    """The server that is brought in."""
    return redis_factory()


@pytest.fixture
def ready_url(database_url: str, shards: list[RedisServer]) -> str:
    """A database with a topology, and no control plane: a move that is started stays where it is."""
    prepare(database_url, shards)
    return database_url


def _text(part: Any) -> str:
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(part)
    return captured.get()


def _written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def _moves(url: str) -> list[tuple[Any, ...]]:
    return fetch(url, "SELECT kind, shard_id, phase FROM moves ORDER BY id")


@pytest.mark.slow
def test_move_is_followed_to_its_end(
    station_factory: StationFactory, database_url: str, shards: list[RedisServer], target: RedisServer
) -> None:
    """The plan, the question, each phase as a line, the end: and the links are where the plan said."""
    station = station_factory(database_url, shards, POINTSMAN_MOVES_SOAK_S="1")
    station.wait_trusted()
    codes = [station.create(f"https://a.example/{number}")["code"] for number in range(30)]
    result = run_command(database_url, "shard", "add", "shard-2", target.url, typed="y\n")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"shard-0 +│ shard-2 +│", result.stdout)
    assert "Move these links? [y/N]" in result.stdout
    assert "move 1 has begun" in result.stdout
    assert [phase for phase in STEPS if f"\n{phase}, " in result.stdout][-1] == "done"
    assert result.stdout.endswith("move 1 is done\n")
    listed = run_command(database_url, "shard", "list").stdout
    assert re.search(r"shard-2 +│ complete", listed)
    assert all(station.client.get(f"/api/v1/links/{code}").status_code == 200 for code in codes)
    shown = run_command(database_url, "move", "show", "1").stdout
    assert "bring in shard-2" in shown
    assert re.search(r"worked +│ done", shown)
    assert re.search(r"1 +│ bring in shard-2 +│ done +│ 100%", run_command(database_url, "move", "list").stdout)
    assert "move 1 is done" in run_command(database_url, "move", "watch").stdout


def test_plan_changes_nothing(ready_url: str, target: RedisServer) -> None:
    """With --plan, or when the question is not answered with yes."""
    commands = [
        ("add", "shard-2", target.url),
        ("add", "shard-2", target.url, "--weight", "0.5"),
        ("remove", "shard-1"),
        ("reweight", "shard-1", "2"),
        ("replace", "shard-1", "shard-2", target.url),
        ("drain", "shard-1"),
    ]
    for command in commands:
        planned = invoke(ready_url, "shard", *command, "--plan")
        assert (planned.returncode, planned.stderr) == (0, "")
        assert "total" in planned.stdout
        assert "it takes about" in planned.stdout
        for typed in ("n\n", ""):
            refused = invoke(ready_url, "shard", *command, typed=typed)
            assert refused.returncode == 1
            assert "Aborted!" in refused.stderr
    assert _moves(ready_url) == []
    assert fetch(ready_url, "SELECT count(*) FROM topologies") == [(1,)]


REFUSED: Final = [
    (("add", "shard-1", NOWHERE), "shard_exists", "choose another id"),
    (("add", "shard-2", NOWHERE), "shard_unreachable", "start it"),
    (("add", "shard-2", "http://127.0.0.1"), "topology_invalid", "is no redis URL"),
    (("add", "Shard", "{target}"), "topology_invalid", "[a-z0-9-]"),
    (("add", "shard-2", "{target}", "--weight=-1"), "topology_invalid", "0..1000"),
    (("add", "shard-2", "{target}", "--weight=nan"), "topology_invalid", "0..1000"),
    (("add", "shard-2", "{target}", "--weight=0.001"), "topology_invalid", "hundredths"),
    (("add", "shard-2", "{target}", "--replica={target}"), "topology_invalid", "twice"),
    (("add", "shard-2", "{0}"), "shard_exists", "a Redis of its own"),
    (("remove", "shard-9"), "shard_unknown", "there are shard-0, shard-1"),
    (("drain", "shard-9"), "shard_unknown", "there are shard-0, shard-1"),
    (("reweight", "shard-1", "1"), "move_empty", "already"),
    (("reweight", "shard-1", "1001"), "topology_invalid", "0..1000"),
    (("replace", "shard-9", "shard-2", "{target}"), "shard_unknown", "there are shard-0, shard-1"),
    (("replace", "shard-1", "shard-0", "{target}"), "shard_exists", "choose another id"),
]


def test_what_cannot_be_moved_is_refused(ready_url: str, shards: list[RedisServer], target: RedisServer) -> None:
    """Before anything is written, with the code and what to do."""
    for arguments, code, told in REFUSED:
        given = [text.replace("{target}", target.url).replace("{0}", shards[0].url) for text in arguments]
        result = invoke(ready_url, "shard", *given, "--yes")
        assert (result.returncode, result.stdout) == (1, ""), arguments
        assert f"({code})" in result.stderr, result.stderr
        assert told in result.stderr, result.stderr
    assert _moves(ready_url) == []


MISUSED: Final = [
    ("shard", "add", "shard-2"),
    ("shard", "reweight", "shard-1", "much"),
    ("shard", "reweight", "shard-1"),
    ("shard", "replace", "shard-1", "shard-2"),
    ("move", "show", "x"),
    ("move", "show", "0"),
    ("move", "pause"),
    ("move", "list", "--limit", "0"),
    ("move", "lost", "1"),
    ("edges", "now"),
]


def test_what_is_no_command_says_how_it_is_used(migrated_url: str) -> None:
    """As click does."""
    for arguments in MISUSED:
        result = invoke(migrated_url, *arguments)
        assert result.returncode == 2, arguments
        assert "Usage:" in result.stderr


def test_move_is_steered(ready_url: str, target: RedisServer) -> None:
    """--no-wait returns at once; pause, resume, abort and what they say; the second move is refused."""
    started = invoke(ready_url, "shard", "add", "shard-2", target.url, "--yes", "--no-wait")
    assert (started.returncode, "move 1 has begun" in started.stdout) == (0, True)
    assert _moves(ready_url) == [("add", "shard-2", "planned")]
    again = invoke(ready_url, "shard", "remove", "shard-0", "--yes")
    assert "pointsman move watch" in again.stderr
    assert "(move_under_way)" in again.stderr
    shown = invoke(ready_url, "move", "show", "1").stdout
    assert "is `pointsman control` running?" in shown
    assert "`pointsman move resume 1` lets it go on" in invoke(ready_url, "move", "pause", "1").stdout
    assert re.search(r"planned \(paused\)", invoke(ready_url, "move", "list").stdout)
    assert "paused; `pointsman move resume 1`" in invoke(ready_url, "move", "show", "1").stdout
    assert "goes on" in invoke(ready_url, "move", "resume", "1").stdout
    reverse = invoke(ready_url, "move", "reverse", "1")
    assert (reverse.returncode, "abort it instead" in reverse.stderr) == (1, True)
    assert "is taken back" in invoke(ready_url, "move", "abort", "1").stdout
    assert "asked to abort" in invoke(ready_url, "move", "show", "1").stdout


def test_unknown_move_is_said_to_be_unknown(ready_url: str) -> None:
    """With the command that shows what there is."""
    for command in ("show", "watch", "pause", "resume", "abort", "reverse"):
        result = invoke(ready_url, "move", command, "9")
        assert (result.returncode, result.stdout) == (1, "")
        assert "`pointsman move list`" in result.stderr
    assert "`pointsman shard --help`" in invoke(ready_url, "move", "watch").stderr
    assert invoke(ready_url, "move", "list").returncode == 0


def test_shard_is_declared_lost(ready_url: str, shards: list[RedisServer], target: RedisServer) -> None:
    """After a question, and only if it does not answer."""
    invoke(ready_url, "shard", "add", "shard-2", target.url, "--yes", "--no-wait")
    answers = invoke(ready_url, "move", "lost", "1", "shard-0", "--yes")
    assert (answers.returncode, "(shard_answers)" in answers.stderr) == (1, True)
    shards[0].kill()
    refused = invoke(ready_url, "move", "lost", "1", "shard-0", typed="n\n")
    assert "out of reach for every edge?" in refused.stdout
    assert fetch(ready_url, "SELECT lost FROM moves") == [([],)]
    assert invoke(ready_url, "move", "lost", "1", "shard-0", typed="y\n").returncode == 0
    assert fetch(ready_url, "SELECT lost FROM moves") == [(["shard-0"],)]


def test_watcher_may_leave_and_come_back(station: Station, shards: list[RedisServer], target: RedisServer) -> None:
    """Ctrl-C leaves the move alone and says how to get back; one that is taken back ends with 1."""
    beat(shards, "old-1.0", epoch=0)
    eventually(lambda: station.client.get("/api/v1/edges").json()["items"], "the edge is heard")
    environ = os.environ | {"PYTHONPATH": SRC, "POINTSMAN_DATABASE_URL": station.database_url, "COLUMNS": "220"}
    words = ("shard", "add", "shard-2", target.url, "--yes")
    watcher = subprocess.Popen(
        # A test run in the background of a shell ignores SIGINT, and so would what it starts.
        ["/usr/bin/env", "--default-signal=INT", sys.executable, "-m", "control", *words],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watcher.stdout is not None
    seen = ""
    while "waits for: edge old-1.0 still answers by epoch 0" not in seen:
        line = watcher.stdout.readline()
        assert line, seen
        seen += line
    watcher.send_signal(signal.SIGINT)
    rest, _ = watcher.communicate(timeout=DEADLINE_S)
    assert watcher.returncode == 1
    assert "move 1 goes on; `pointsman move watch 1` follows it" in rest
    assert _moves(station.database_url) == [("add", "shard-2", "planned")]
    run_command(station.database_url, "move", "abort", "1")
    back = run_command(station.database_url, "move", "watch", "1")
    assert back.returncode == 1
    assert "move 1 was taken back: it is aborted; `pointsman move show 1` says what happened" in back.stderr


def test_terminal_shows_the_way_as_it_changes(ready_url: str, target: RedisServer) -> None:
    """In place, to the end; the last picture stays."""
    invoke(ready_url, "shard", "add", "shard-2", target.url, "--yes", "--no-wait")
    console = Console(force_terminal=True, width=200, file=StringIO())

    async def watch(database: Database) -> Move:
        moves = Moves(database, lambda: None, Speed(copy_links_s=1, soak_s=1))
        following = asyncio.create_task(follow(moves, 1, console))
        async with asyncio.timeout(DEADLINE_S):
            while "is `pointsman control` running?" not in _written(console):  # noqa: ASYNC110  (it tells nobody)
                await asyncio.sleep(0.01)
        async with database.connection() as connection:
            await connection.execute("UPDATE moves SET phase = 'aborted', driver = 1, ended_at = now()")
        return await following

    assert with_database(ready_url, watch).phase == "aborted"
    assert re.search(r"▶.*planned", _written(console))
    assert re.search(r"✔.*aborted", _written(console))


def test_progress_shows_the_way_and_what_holds_it_up() -> None:
    """What is over, what is done now and how fast, what is waited for, what is left over."""
    text = _text(sheets.of_progress(MOVE, 5400.0))
    assert "move 7: bring in shard-2" in text
    assert re.search(r"✔ +│ arming_writes", text)
    assert re.search(r"▶ +│ copying +│ links are copied to their new owners +│ ━+", text)
    assert re.search(r"│ +│ soaking", text)
    assert "copying, 31%, 5,400 links/s" in text
    assert "rows 1,200, slow shards 1" in text
    held = replace(MOVE, phase="cutting_over", waits_for="shard x", error="e", wanted="reverse", is_paused=True)
    for line in ("waits for: shard x", "error: e", "asked to reverse", "`pointsman move resume 7`"):
        assert line in _text(sheets.of_progress(held))
    left = replace(MOVE, phase="aborted", work={"leftovers": {"shard-2": 5, "shard-1": 0}})
    assert "5 links are left over on shard shard-2" in _text(sheets.of_progress(left))
    assert "shard-1" not in _text(sheets.of_progress(left))
    assert "pointsman control" in _text(sheets.of_progress(replace(MOVE, driver=0)))


@pytest.mark.parametrize(
    ("phase", "is_reversed"), [*((phase, phase in BACK) for phase in STEPS), ("compensating", True)]
)
def test_each_phase_is_on_its_way(phase: Phase, is_reversed: bool) -> None:
    """Forward, or back; whichever it is in, the way ends where the phase leads, and the page can be made."""
    move = replace(MOVE, phase=phase, is_reversed=is_reversed)
    way = sheets.way_of(move)
    assert phase in way
    ends = {"compensating": "aborted", "aborted": "aborted"} if not is_reversed else dict.fromkeys(STEPS, "reversed")
    assert way[-1] == ends.get(phase, "done")
    assert f"{phase}, " in _text(sheets.of_progress(move))


def test_rate_is_that_of_late() -> None:
    """Of the phase's own work; none before the second look, and none where there is no work."""
    rate = Rate()

    def look(now_s: float, phase: Phase, **counts: int) -> float | None:
        return rate.of(replace(MOVE, phase=phase, work={"counts": counts}), now_s)

    assert look(0.0, "planned") is None
    assert look(1.0, "copying", rows=0) is None
    assert look(2.0, "copying", rows=500) == 500
    assert look(3.0, "copying", rows=500) == 250
    assert look(3.0 + RATE_WINDOW_S, "copying", rows=1500) == 1000 / RATE_WINDOW_S
    assert look(9.0, "verifying", rows=1500, verified=10) is None
    assert look(10.0, "verifying", rows=1500, verified=30) == 20
    assert look(11.0, "verifying", rows=1500, verified=0) == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min 0 s"), (7199, "119 min 59 s"), (7260, "2 h 1 min")]
)
def test_duration_is_said_as_people_do(seconds: float, text: str) -> None:
    """Two units at most."""
    assert sheets.duration(seconds) == text
