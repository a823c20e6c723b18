"""A database, shards and consumers in this process, fed with frames; and what they should add up to."""

import asyncio
import itertools
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import redis
import structlog

from control import migrations
from control.background import Background
from control.clicks.agents import Agents
from control.clicks.enrichment import Enricher
from control.clicks.model import Entry, Work
from control.clicks.service import Intake, Options, Outcome
from control.clicks.tasks import Consumer, Tools, consumer_name
from control.db import Database, open_database
from control.domains import service as domains
from control.metrics import Metrics
from control.shards import service as shards
from tests.control.station import DEADLINE_S, SHORT_URL, shard_list
from tests.stack.server import RedisServer
from wire import click, frame, keys, report
from wire.click import Click, Flag
from wire.frame import Frame
from wire.report import DROP_REASONS, Report
from wire.topology import Shard

EDGE = "edge-1"
OPTIONS = Options(keeps_rows=False, segments_days=35, dead_frames_max=1000)
CLAIM_IDLE_MS = 1000
BROWSER = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_AGENTS: list[Agents] = []


def now_ms() -> int:
    """This instant."""
    return time.time_ns() // 1_000_000


def clicks_of(link_ids: Iterable[int], time_ms: int | None = None) -> list[Click]:
    """A click of a browser on each of these links; 0 is a code that does not exist."""
    instant = now_ms() if time_ms is None else time_ms
    return [
        Click(time_ms=instant, link_id=link_id, domain_id=1, status=302, user_agent=BROWSER, address=b"\x0a\0\0\1")
        if link_id
        else Click(time_ms=instant, link_id=0, domain_id=1, status=404, flags=Flag.UNKNOWN_CODE, code=b"nope")
        for link_id in link_ids
    ]


@dataclass(slots=True)
class Segment:
    """A segment of a worker, from which frames are cut one after another."""

    writer: int = field(default_factory=lambda: secrets.randbits(62) + 1)
    number: int = 0
    end: int = 4096
    edge_id: str = EDGE
    created_ms: int = field(default_factory=now_ms)

    def cut(self, link_ids: Iterable[int], time_ms: int | None = None) -> Frame:
        """The next frame, with these clicks."""
        return self.cut_body(click.encode(clicks_of(link_ids, time_ms)))

    def cut_body(self, body: bytes) -> Frame:
        """The next frame, with this body."""
        start, self.end = self.end, self.end + len(body)
        return Frame(
            edge_id=self.edge_id,
            writer=self.writer,
            segment=self.number,
            start=start,
            created_ms=self.created_ms,
            body=body,
        )


def entry(one: Frame, *, is_compressed: bool = True) -> dict[bytes, bytes]:
    """A frame as an entry of a stream."""
    return {keys.FRAME_FIELD: frame.encode(one, is_compressed=is_compressed)}


def report_of(segment: Segment, recorded: int, **members: Any) -> Report:
    """A report of the segment's writer."""
    dropped = dict.fromkeys(DROP_REASONS, 0) | members.pop("dropped", {})
    base = Report(
        edge_id=segment.edge_id,
        writer=segment.writer,
        started_ms=segment.created_ms,
        at_ms=now_ms(),
        served=recorded + sum(dropped.values()),
        recorded=recorded,
        dropped=dropped,
        unknown_recorded=0,
        unknown_dropped=0,
        is_final=False,
    )
    return replace(base, **members)


def send(server: RedisServer, *items: Frame | Report | dict[bytes, bytes]) -> list[bytes]:
    """Put items on a shard's stream, as the edge does; returns their ids."""
    ids = []
    with redis.Redis.from_url(server.url) as client:
        for item in items:
            fields: Any = item
            if isinstance(item, Frame):
                fields = entry(item)
            elif isinstance(item, Report):
                fields = {keys.REPORT_FIELD: report.encode(item)}
            ids.append(client.xadd(keys.CLICKS, fields))
    return ids


def acknowledged(server: RedisServer, edge_id: str = EDGE) -> dict[bytes, bytes]:
    """What the edge is told on this shard."""
    with redis.Redis.from_url(server.url) as client:
        found: Any = client.hgetall(keys.click_ack_key(edge_id))
        return dict(found)


def name_of(one: Frame) -> bytes:
    """The frame's field in the acknowledgements."""
    return keys.frame_name(one.writer, one.segment, one.start)


def waiting(server: RedisServer) -> int:
    """Entries in a shard's stream."""
    with redis.Redis.from_url(server.url) as client:
        length: Any = client.xlen(keys.CLICKS)
        return int(length)


@dataclass(frozen=True, kw_only=True)
class Depot:
    """Everything that stores clicks; consumers run when a test starts them."""

    database: Database
    shards: list[Shard]
    servers: list[RedisServer]
    tools: Tools
    background: Background
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def metrics(self) -> Metrics:
        """Those of the consumers."""
        return self.tools.metrics

    def start(self, *shard_numbers: int, count: int = 1) -> list[str]:
        """Run `count` consumers of each of these shards, or of all; returns the tasks' names."""
        names = []
        for number in shard_numbers or range(len(self.shards)):
            for _ in range(count):
                names.append(f"clicks {number} {next(self._numbers)}")
                self.background.start(names[-1], Consumer(self.shards[number], consumer_name(), self.tools).run)
        return names

    async def store(self, *frames: Frame | dict[bytes, bytes]) -> Outcome:
        """Store one batch, without a stream."""
        work = Work()
        for one in frames:
            fields = entry(one) if isinstance(one, Frame) else one
            work.take("shard-0", [Entry(b"1-1", [part for pair in fields.items() for part in pair])])
        async with self.database.dedicated() as connection:
            return await self.tools.intake.store(connection, work)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def totals(self) -> dict[int, int]:
        """Clicks by link; each of the rollups says the same."""
        totals = dict(await self.rows("SELECT link_id, clicks FROM click_totals"))
        days = dict(await self.rows("SELECT link_id, sum(clicks)::bigint FROM click_link_days GROUP BY link_id"))
        assert totals == days
        whole = sum(totals.values())
        for scope in (1, 3):
            found = await self.rows("SELECT sum(clicks)::bigint FROM click_scope_days WHERE scope = $1", scope)
            assert (found[0][0] or 0) == whole, scope
        return totals

    async def eventually(self, check: Callable[[], Awaitable[Any]], what: str) -> Any:
        """The first true answer of `check`: what another task or process does gives no signal here."""
        async with asyncio.timeout(DEADLINE_S):
            while not (answer := await check()):  # noqa: ASYNC110  (no signal)
                await asyncio.sleep(0.01)
        assert answer, what
        return answer

    def command(self, server: RedisServer, *command: object) -> Any:
        """The reply of a shard."""
        with redis.Redis.from_url(server.url) as client:
            return client.execute_command(*command)

    async def until_acknowledged(
        self, server: RedisServer, expected: dict[bytes, Any], *, only_names: bool = False
    ) -> None:
        """Wait until the edge is told this on the shard."""

        async def is_told() -> bool:
            told = await asyncio.to_thread(acknowledged, server)
            return told.keys() == expected.keys() if only_names else told == expected

        await self.eventually(is_told, f"acknowledgements of {sorted(expected)}")

    async def wait_empty(self, *servers: RedisServer) -> None:
        """Wait until the streams of these shards, or of all, are empty."""

        async def is_empty() -> bool:
            return not any(await asyncio.gather(*(asyncio.to_thread(waiting, one) for one in servers or self.servers)))

        await self.eventually(is_empty, "empty streams")


@asynccontextmanager
async def open_depot(url: str, servers: Sequence[RedisServer], options: Options = OPTIONS) -> AsyncIterator[Depot]:
    """A depot on a migrated database."""
    if not _AGENTS:
        _AGENTS.append(Agents())
    log = structlog.get_logger()
    database = await open_database(url)
    background = Background(log)
    metrics = Metrics()
    intake = Intake(Enricher("", _AGENTS[0], metrics, log), options)
    try:
        await migrations.migrate(database)
        await domains.ensure_default(database, SHORT_URL)
        if servers:
            await shards.set_topology(database, shard_list(list(servers)))
        tools = Tools(database=database, intake=intake, metrics=metrics, claim_idle_ms=CLAIM_IDLE_MS)
        yield Depot(
            database=database,
            shards=shard_list(list(servers)),
            servers=list(servers),
            tools=tools,
            background=background,
        )
    finally:
        await background.stop()
        intake.close()
        await database.close()


def play(
    url: str,
    servers: Sequence[RedisServer],
    work: Callable[[Depot], Awaitable[None]],
    options: Options = OPTIONS,
) -> None:
    """Run a test's coroutine in a depot."""

    async def run() -> None:
        async with open_depot(url, servers, options) as depot:
            await work(depot)

    asyncio.run(run())


def plain_sum(frames: Iterable[Frame]) -> Counter[int]:
    """What the frames' clicks add up to, each identity once; unknown codes are not clicks of a link."""
    seen = {(one.writer, one.segment, one.start): one for one in frames}
    counts: Counter[int] = Counter()
    for one in seen.values():
        counts.update(found.link_id for found in click.decode(one.body) if found.link_id)
    return counts


def some_frames(seed: int, count: int, links: int = 20, writers: int = 3) -> list[Frame]:
    """Frames of a few workers, with clicks on a few links."""
    chance = random.Random(seed)
    segments = [Segment() for _ in range(writers)]
    return [
        chance.choice(segments).cut(chance.randrange(links + 1) for _ in range(chance.randint(1, 60)))
        for _ in range(count)
    ]
