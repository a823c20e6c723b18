"""The acts: what is killed, at which moment, and when it counts as recovered.

A batch is caught in its middle by a lock on a table that it writes last:

1. we lock click_scope_days against writers;
2. the consumer has noted the frames' identities and the links' clicks, and waits for the lock;
3. we kill, and only then let go.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import redis

from benchmarks.processes import local_ports
from benchmarks.violence.reading import stream_length
from tests.stack.server import children
from tests.system.product import Product, request, until, until_ended
from wire import fence, keys

RECOVERY_S: Final = 60
BATCH_S: Final = 30  # a consumer has something to do every second
POLL_S: Final = 0.005
_WAITER: Final = "SELECT pid FROM pg_locks WHERE relation = 'click_scope_days'::regclass AND NOT granted LIMIT 1"
_IS_DONE: Final = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND xact_start IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class Act:
    """One blow; `strike` returns when what it hit works again."""

    name: str
    title: str
    strike: Callable[[Product], None]


def kill_worker(product: Product) -> None:
    """The others answer meanwhile; the clicks in its open segment are found by the shipper."""
    edge = product.pids()["edge"]
    before = children(edge)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(children(edge)) - {before[0]}) == len(before) and _is_edge_ready(product), RECOVERY_S)


def kill_edge(product: Product) -> None:
    """Nobody answers until it is back; all segments are found by the next shipper."""
    victim = _kill(product, "edge")
    _wait_for_another(product, "edge", victim)
    until(lambda: _is_edge_ready(product), RECOVERY_S)


def empty_shard(product: Product) -> None:
    """A shard without persistence: it comes back without its stream, its acknowledgements, its links. A batch is held
    meanwhile, so that the stream is not empty already."""
    shards = {shard["id"]: shard["url"] for shard in product.dev["shards"]}

    async def strike() -> tuple[str, int]:
        async with _caught_batch(product):
            name = max(shards, key=lambda each: stream_length(shards[each]))
            with redis.Redis.from_url(shards[name]) as shard:
                shard.config_set("appendonly", "no")
            shutil.rmtree(product.directory / name / "appendonlydir")
            return name, _kill(product, name)

    name, victim = asyncio.run(strike())
    _wait_for_another(product, name, victim)
    until(lambda: _is_complete(shards[name]), RECOVERY_S)


def kill_control_in_batch(product: Product) -> None:
    """Half of a batch is written; another consumer claims its frames from the dead one."""

    victim = asyncio.run(_kill_in_batch(product, "control"))
    _wait_for_another(product, "control", victim)
    until(lambda: _is_control_ready(product), RECOVERY_S)


def kill_control_after_commit(product: Product) -> None:
    """A batch is committed and nobody was told, because the shards took no writes: its frames come again, and must
    change nothing."""

    async def strike() -> int:
        async with _caught_batch(product) as batch:
            with _closed_shards(product) as shards:
                await batch.finish()
                ports = local_ports(product.pids()["control"])
                victim = _kill(product, "control")
                # A shard still holds what it was sent, as long as it does not know that the sender is gone.
                until(lambda: not any(ports & _peers(shard) for shard in shards), RECOVERY_S)
                return victim

    victim = asyncio.run(strike())
    _wait_for_another(product, "control", victim)
    until(lambda: _is_control_ready(product), RECOVERY_S)


def kill_postgres_in_batch(product: Product) -> None:
    """Half of a batch is written; nothing of it may stay."""

    victim = asyncio.run(_kill_in_batch(product, "postgres"))
    _wait_for_another(product, "postgres", victim)
    until(lambda: _is_control_ready(product), RECOVERY_S)


ACTS: Final = (
    Act("worker", "a worker of the edge", kill_worker),
    Act("shard", "a shard, which comes back empty", empty_shard),
    Act("control", "control, in the middle of a batch", kill_control_in_batch),
    Act("edge", "the whole edge", kill_edge),
    Act("postgres", "PostgreSQL, in the middle of a batch", kill_postgres_in_batch),
    Act("unheard", "control, between commit and acknowledgement", kill_control_after_commit),
)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A consumer's transaction that waits for our lock, and its backend."""

    connection: Any
    backend: int

    async def finish(self) -> None:
        """Let it go on until it is committed."""
        await self.connection.execute("ROLLBACK")
        await _until(self.connection, _IS_DONE, self.backend)


async def _kill_in_batch(product: Product, name: str) -> int:
    async with _caught_batch(product):
        return _kill(product, name)


@contextlib.asynccontextmanager
async def _caught_batch(product: Product) -> AsyncIterator[_Batch]:
    """A batch in its middle, held there until the block ends or finishes it."""
    connection = await asyncpg.connect(product.dev["postgres_dsn"])
    try:
        await connection.execute("BEGIN")
        await connection.execute("LOCK TABLE click_scope_days IN SHARE MODE")
        yield _Batch(connection, await _until(connection, _WAITER))
    finally:
        connection.terminate()  # PostgreSQL may be gone


async def _until(connection: Any, query: str, *arguments: int) -> Any:
    """The first true answer of a query."""
    async with asyncio.timeout(BATCH_S):
        while not (answer := await connection.fetchval(query, *arguments)):  # noqa: ASYNC110  (no signal)
            await asyncio.sleep(POLL_S)
    return answer


@contextlib.contextmanager
def _closed_shards(product: Product) -> Iterator[list[redis.Redis]]:
    """The shards answer whoever reads, and let everybody wait who writes."""
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(redis.Redis.from_url(shard["url"])) for shard in product.dev["shards"]]
        for shard in shards:
            stack.callback(shard.client_unpause)
            shard.client_pause(RECOVERY_S * 1000, all=False)
        yield shards


def _peers(shard: redis.Redis) -> set[int]:
    """The ports from which a shard's clients are connected."""
    return {int(client["addr"].rpartition(":")[2]) for client in shard.client_list()}


def _kill(product: Product, name: str) -> int:
    """Kill a process and wait until it is gone; the pid that it had."""
    victim = product.pids()[name]
    handle = os.pidfd_open(victim)
    os.kill(victim, signal.SIGKILL)
    until_ended(handle)
    return victim


def _wait_for_another(product: Product, name: str, victim: int) -> None:
    """Until the product's supervision has another process in its place."""
    until(lambda: product.pids()[name] not in {victim, 0}, RECOVERY_S)


def _is_edge_ready(product: Product) -> bool:
    return _answers(product.dev["edge_admin_url"])


def _is_control_ready(product: Product) -> bool:
    return _answers(product.dev["control_url"])


def _answers(url: str) -> bool:
    try:
        return request(url, "GET", "/readyz").status == 200
    except OSError:
        return False


def _is_complete(url: str) -> bool:
    """Whether edges may believe the shard again: its fence is of this very process."""
    try:
        with redis.Redis.from_url(url) as shard:
            data, run_id = shard.get(keys.FENCE), shard.info("server")["run_id"]
    except redis.ConnectionError:
        return False
    found = None if data is None else fence.decode(data)
    return found is not None and found.state == "complete" and found.run_id == run_id
