"""What runs for a shard goes on over epochs that do not change the shard; a new topology is heard of at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog

from control.background import Background
from control.bell import Bell, heard
from control.projection import keeper as keepers
from control.projection import tasks
from control.projection.keeper import Tools
from control.projection.tasks import Housekeeper, Projector
from control.shards.edges import Edges
from tests.control.rings import NEW, arm, shards_of
from tests.control.scene import Scene, play
from tests.control.station import DEADLINE_S, fence_of
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer

LONG_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Company:
    """The background tasks of projection, in this process."""

    background: Background
    edges: Edges
    housekeeper: Housekeeper


@asynccontextmanager
async def _company(scene: Scene) -> AsyncIterator[Company]:
    background, edges, bell = Background(structlog.get_logger()), Edges(), Bell()
    projector = Projector(scene.database, scene.writers, scene.placement, bell, lambda _: None)
    tools = Tools(
        database=scene.database,
        placement=scene.placement,
        bell=bell,
        wake=projector.wake,
        log=structlog.get_logger(),
    )
    housekeeper = Housekeeper(tools, background, edges)
    background.start("outbox listener", projector.listen)
    background.start("topology", housekeeper.follow_topology)
    try:
        yield Company(background=background, edges=edges, housekeeper=housekeeper)
    finally:
        await background.stop()


async def _eventually(check: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not check():
        assert asyncio.get_running_loop().time() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.01)


def _has_epoch(server: RedisServer, epoch: int) -> bool:
    found = fence_of(server)
    return found is not None and found.epoch == epoch


def test_keepers_of_shards_that_stay_go_on(
    database_url: str,
    shards: list[RedisServer],
    redis_factory: RedisFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With intervals of minutes: that fences follow each epoch is the bell's work."""
    for module, name in ((tasks, "TOPOLOGY_INTERVAL_S"), (keepers, "CHECK_INTERVAL_S")):
        monkeypatch.setattr(module, name, LONG_S)
    servers = [*shards, redis_factory()]

    async def work(scene: Scene) -> None:
        async with _company(scene) as company:
            housekeeper = company.housekeeper
            await _eventually(lambda: not company.edges.unknown(("shard-0", "shard-1")), "the edges known")
            stay = [housekeeper.keepers["shard-0"], company.edges.of("shard-0")]
            names = ("keeper shard-0", "edges shard-0", "keeper shard-1", "edges shard-1")
            before = [company.background.pulses[name] for name in names]
            await arm(scene, servers)
            await _eventually(lambda: all(_has_epoch(server, 2) for server in servers), "all fenced")
            assert NEW in housekeeper.keepers
            assert [company.background.pulses[name] for name in names] == before
            assert [housekeeper.keepers["shard-0"], company.edges.of("shard-0")] == stay
            left = company.edges.of(NEW)

            await scene.set_topology(mode="steady", shards=shards_of(shards, [(1.0, 0.0), (1.0, 0.0)]))
            await _eventually(lambda: all(_has_epoch(server, 3) for server in shards), "all fenced")
            await _eventually(lambda: NEW not in company.edges.by_shard, "it has left")
            assert left.is_gone
            assert sorted(housekeeper.keepers) == ["shard-0", "shard-1"]
            assert f"keeper {NEW}" not in company.background.pulses
            assert [company.background.pulses[name] for name in names] == before
            assert _has_epoch(servers[2], 2), "nobody keeps what has left"

    play(database_url, shards, work)


def test_bell_is_heard_by_who_listened_before_it_rang() -> None:
    """However late he waits; who listens afterwards waits for the next time."""

    async def run() -> None:
        bell = Bell()
        event = bell.listen()
        bell.ring()
        await heard(event, DEADLINE_S)
        assert event.is_set()
        late = bell.listen()
        await heard(late, 0.01)
        assert not late.is_set()

    asyncio.run(run())
