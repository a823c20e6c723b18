"""A resolver and its shards inside the test process, over real Redis: for what no client can ask of a running edge."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from edge._cache import Cache
from edge._counters import BLOCK_BYTES, Counters
from edge._fast import Door, Ring, xxh64
from edge._front import Front
from edge._roster import Roster
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.origin import Origin
from edge.resolver import Resolver
from edge.shards import Listener, Shard
from edge.topology import Map, Rings, build
from tests.edge.stand import DEADLINE_S, HOST, Shards
from wire import keys
from wire.topology import Topology

TICK_S = 0.01


@dataclass(frozen=True)
class Rig:
    """The parts, connected as a worker connects them, and a listening socket in front."""

    config: EdgeConfig
    counters: Counters
    front: Front
    origin: Origin
    resolver: Resolver
    shards: dict[int, Shard]
    map: Map
    port: int

    def refresh(self, code: str) -> bool:
        """Look a code of domain 1 up without a waiter."""
        key = keys.cache_key(1, code)
        return self.resolver.refresh(key, xxh64(key))

    async def get(self, code: str) -> tuple[int, str]:
        """Status and target of one request over a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /{code} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, *fields = head.decode().split("\r\n")
        targets = [field.partition(": ")[2] for field in fields if field.startswith("Location: ")]
        return int(status.split()[1]), targets[0] if targets else ""

    async def idle(self) -> None:
        """Wait until no look-up is under way."""
        await until(lambda: self._under_way() == 0)

    def has_counted(self, name: str, count: int) -> bool:
        """Whether a counter is there."""
        self.resolver.report()
        return self.counters.get(name) >= count

    def _under_way(self) -> int:
        self.resolver.report()
        return sum(self.counters.get(name) for name in ("misses_under_way", "refreshes_under_way"))


def rings_of(described: Topology) -> Rings:
    """The rings of a topology."""
    second = described.second_members
    nodes = described.virtual_nodes
    return Rings(Ring(described.members, nodes), None if second is None else Ring(second, nodes))


async def until(condition: Callable[[], object]) -> None:
    """Ask again until the condition holds; fails after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  the parts under test have no event to wait for
            await asyncio.sleep(TICK_S)


@asynccontextmanager
async def running_rig(stand: Shards, **settings: object) -> AsyncIterator[Rig]:
    """A rig whose shards are all trusted; `settings` are those of edge.config."""
    values = {"seeds": tuple(server.url for server in stand.servers), "id": "rig", **settings}
    config = msgspec.convert(values, EdgeConfig)
    counters = Counters(bytearray(BLOCK_BYTES), 0)
    origin = Origin(config, counters)
    resolver = Resolver(config, counters, origin)
    links, absences = Cache(config.cache_bytes), Cache(config.absence_cache_bytes)
    front = Front(counters, links, absences, resolver.resolve, resolver.refresh, config)
    front.set_hosts({HOST.encode(): 1}, 1)
    resolver.bind(front)
    made = build(stand.topology, rings_of(stand.topology), {})
    listener = Listener(lambda _key, _data: None, resolver.on_invalidated)
    shards = {}
    for number, described in zip(made.numbers, made.topology.shards, strict=True):
        shards[number] = Shard(described.id, described.url, number, front=front, config=config, listener=listener)
        shards[number].hold(stand.topology.epoch)
        shards[number].acknowledge(stand.topology.epoch)
    resolver.route(made, shards)
    loop = asyncio.get_running_loop()
    door = Door(loop, Roster(front, loop, config))
    entry = socket.create_server(("127.0.0.1", 0), backlog=4096)
    door.listen(entry)
    rig = Rig(config, counters, front, origin, resolver, shards, made, entry.getsockname()[1])
    tasks = [asyncio.create_task(work) for work in (*(shard.run("rig") for shard in shards.values()), origin.run())]
    tasks.append(asyncio.create_task(_sweep(rig)))
    try:
        await until(lambda: all(shard.is_usable for shard in shards.values()))
        yield rig
    finally:
        door.close()
        entry.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sweep(rig: Rig) -> None:
    while True:
        now_ms = monotonic_ms()
        for shard in rig.shards.values():
            shard.sweep(now_ms)
        rig.origin.sweep(now_ms)
        rig.resolver.sweep(now_ms)
        await asyncio.sleep(TICK_S)
