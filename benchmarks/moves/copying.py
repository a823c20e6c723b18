"""The links that a new shard takes over are copied to it by the work of a move, in this process, as fast as it can."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
import uvloop

from benchmarks.moves.costs import Costs, Meter
from benchmarks.processes import Command, free_port, running
from benchmarks.scale.stack import Stack
from control.db import Connection, Database, open_database
from control.moves import documents
from control.moves.carry import copy
from control.moves.steps import STEPS
from control.moves.work import Cursor, Done, Job, Pace, Progress
from control.shards import store as shard_store
from control.shards.current import placement_of
from wire.topology import Shard, Topology

JOINING: Final = "joining"
# More than there can be: nothing holds the copy up.
UNTHROTTLED: Final = Pace(links_s=10**9, latency_s=60.0)
READY_S: Final = 20


@contextmanager
def target(directory: Path) -> Iterator[tuple[int, str]]:
    """An empty Redis: its process and its URL."""
    port = free_port()
    settings = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "yes",
        "--dir",
        str(directory),
    ]
    with running(Command(["redis-server", *settings]), directory / "target.log") as process:
        url = f"redis://127.0.0.1:{port}/0"
        _wait(url)
        yield process.pid, url


def measure(stack: Stack, pid: int, url: str) -> Costs:
    """One copy to the target, which is emptied before."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        run_id = client.info("server")["run_id"]
    return uvloop.run(_measure(stack, pid, url, run_id))


async def _measure(stack: Stack, pid: int, url: str, run_id: str) -> Costs:
    database = await open_database(stack.postgres_dsn)
    try:
        job = await _job(database, url, run_id)
        begin = Meter.read(stack.pids["postgres"], [pid])
        result = await copy(job)
        end = Meter.read(stack.pids["postgres"], [pid])
    finally:
        await database.close()
    assert isinstance(result, Done), result
    return begin.until(end, sum(result.detail["rows"].values()))


async def _job(database: Database, url: str, run_id: str) -> Job:
    """What the driver of a move that adds a shard would ask for."""
    async with database.connection() as connection:
        before = await shard_store.current(connection)
        assert before is not None  # the stack has one
        await _prepare(connection, run_id)
    after = Topology(epoch=1, shards=(*before.shards, Shard(id=JOINING, url=url)), virtual_nodes=before.virtual_nodes)
    armed = documents.build(STEPS["copying"].document, before, after, before.epoch + 1, before)

    async def report(cursor: Cursor, progress: Progress) -> None:
        work = json.dumps({"cursor": cursor, "fraction": progress.fraction, "counts": progress.counts})
        async with database.connection() as connection:
            await connection.execute("UPDATE moves SET work = $1, updated_at = clock_timestamp()", work)

    async def hold(connection: Connection) -> None:
        await connection.execute("SELECT 1 FROM moves FOR UPDATE")

    return Job(
        move_id=1,
        database=database,
        placement=await placement_of(armed),
        arcs=await asyncio.to_thread(documents.arcs, before, after),
        joining=documents.joining(before, after),
        leaving=(),
        lost=frozenset(),
        pace=UNTHROTTLED,
        cursor={},
        report=report,
        hold=hold,
    )


async def _prepare(connection: Any, run_id: str) -> None:
    """The rows that the move and the shard would have; the move is at its end, so that nobody drives it."""
    await connection.execute("DELETE FROM shards WHERE id = $1", JOINING)
    await connection.execute("INSERT INTO shards (id, run_id, is_joining) VALUES ($1, $2, true)", JOINING, run_id)
    await connection.execute(
        """
        INSERT INTO moves (kind, shard_id, phase, before, after, plan, ended_at)
        SELECT 'add', $1, 'done', '', '', '{}', now() WHERE NOT EXISTS (SELECT FROM moves)
        """,
        JOINING,
    )


def _wait(url: str) -> None:
    deadline = time.monotonic() + READY_S
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except redis.RedisError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.05)
            else:
                return
