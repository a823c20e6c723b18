"""A pass of the audit over the shards of a ground, and faults made in Redis itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import redis
import structlog

from control.audit.model import Place, Tally
from control.audit.passes import Options, Pass, Tools
from control.metrics import AuditMetrics
from control.moves.throttle import Throttle
from control.moves.work import Pace
from tests.control.moves.ground import FAST, Ground
from tests.stack.server import RedisServer
from wire import keys, record
from wire.record import LinkRecord

OnReport = Callable[[Pass], Awaitable[None]]


def tools(ground: Ground) -> Tools:
    """What a pass works with."""
    return Tools(database=ground.database, metrics=AuditMetrics(), log=structlog.get_logger())


async def audit(
    ground: Ground,
    *,
    is_repairing: bool = True,
    shard_id: str | None = None,
    pace: Pace = FAST,
    on_report: OnReport | None = None,
) -> Tally:
    """A whole pass; returns what it has found."""
    throttle = Throttle(pace, asyncio.get_running_loop().time())
    going = Pass(tools(ground), Options(is_repairing=is_repairing, shard_id=shard_id), throttle, (Place(), Tally()))

    async def report() -> None:
        if on_report is not None:
            await on_report(going)

    await going.run(report)
    return going.tally


async def owner(ground: Ground, code: str) -> tuple[str, RedisServer]:
    """The shard that has to hold the link."""
    for shard_id, links in (await ground.expected()).items():
        if keys.link_key(1, code) in links:
            return shard_id, ground.servers[shard_id]
    raise AssertionError(code)


def get(server: RedisServer, code: str) -> bytes | None:
    """What the shard has for the code."""
    with redis.Redis.from_url(server.url) as client:
        found: Any = client.get(keys.link_key(1, code))
        return None if found is None else bytes(found)


def put(server: RedisServer, code: str, value: bytes) -> None:
    """Write it, whatever is there."""
    with redis.Redis.from_url(server.url) as client:
        client.set(keys.link_key(1, code), value)


def drop(server: RedisServer, code: str) -> None:
    """Delete the key."""
    with redis.Redis.from_url(server.url) as client:
        client.delete(keys.link_key(1, code))


def changed(value: bytes | None, target: bytes, version: int) -> bytes:
    """The record with another target and version."""
    assert value is not None
    found = record.decode(value)
    assert isinstance(found, LinkRecord)
    return record.encode(LinkRecord(link_id=found.link_id, version=version, status=found.status, target=target))
