"""A pass of the audit over shards that hold what they should, in this process, as fast as it can."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import uvloop

from benchmarks.moves.costs import Costs, Meter
from benchmarks.scale.stack import Stack
from control.audit.model import Place, Tally
from control.audit.passes import Options, Pass, Tools
from control.db import Database, open_database
from control.metrics import AuditMetrics
from control.moves.throttle import Throttle
from control.moves.work import Pace

# More than there can be: nothing holds the pass up.
UNTHROTTLED: Final = Pace(links_s=10**9, latency_s=60.0)


@dataclass(frozen=True, slots=True)
class Audited:
    """What the two halves of a pass took."""

    links: Costs  # compared with their shards
    keys: Costs  # of the shards, looked through


def measure(stack: Stack) -> Audited:
    """One pass."""
    return uvloop.run(_measure(stack))


async def _measure(stack: Stack) -> Audited:
    shards = [pid for name, pid in stack.pids.items() if name.startswith("shard-")]
    read = partial(Meter.read, stack.pids["postgres"], shards)
    database = await open_database(stack.postgres_dsn)
    try:
        going = _pass(database)
        middle: list[Meter] = []

        async def report() -> None:
            if going.place.are_links_done and not middle:
                middle.append(read())

        begin = read()
        await going.run(report)
        end = read()
    finally:
        await database.close()
    tally = going.tally
    assert tally.is_whole, tally
    assert not tally.drift, tally
    return Audited(begin.until(middle[0], tally.compared), middle[0].until(end, tally.keys))


def _pass(database: Database) -> Pass:
    tools = Tools(database=database, metrics=AuditMetrics(), log=structlog.get_logger())
    throttle = Throttle(UNTHROTTLED, asyncio.get_running_loop().time())
    return Pass(tools, Options(is_repairing=False), throttle, (Place(), Tally()))
