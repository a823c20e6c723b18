"""The one Redis behind the servers: a shard as control would leave it, and plain targets for rivals that read Redis."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks import BenchmarkError
from benchmarks.environment import which
from benchmarks.macro.cores import pinned
from benchmarks.macro.links import Link
from benchmarks.processes import Command, check_alive, free_port, running
from wire import domains, fence, keys, record, topology

DOMAIN_ID: Final = 1
DOMAIN_HOST: Final = "127.0.0.1"
PLAIN_PREFIX: Final = "plain:"
EPOCH: Final = 1
START_S: Final = 10
BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Store:
    """A running Redis; `hits` is its own count of keys that were read and there."""

    pid: int
    port: int
    client: "redis.Redis"

    def hits(self) -> int:
        """Keys read and found since the start."""
        return int(self.client.info("stats")["keyspace_hits"])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running_store(links: list[Link], core: int) -> Iterator[Store]:
    """A Redis that holds the links, as long as the block lasts."""
    program = which("redis-server")
    if program is None:
        raise BenchmarkError("redis-server is missing: apt-get install redis-server")
    port = free_port()
    arguments = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as directory:
        log = Path(directory, "redis.log")
        with running(Command(pinned(core, [program, *arguments])), log) as process:
            client = redis.Redis(port=port)
            _wait(client, lambda: check_alive(process, log))
            store = Store(process.pid, port, client)
            _fill(store, links)
            yield store
            client.close()


def _wait(client: "redis.Redis", check: Callable[[], None]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        check()
        try:
            client.ping()
        except redis.ConnectionError as error:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"redis-server did not answer within {START_S} s") from error
            time.sleep(0.02)
        else:
            return


def _fill(store: Store, links: list[Link]) -> None:
    """Write the links and then, as control does, the documents that let an edge trust the shard."""
    for start in range(0, len(links), BATCH):
        batch = {}
        for number, link in enumerate(links[start : start + BATCH], start + 1):
            batch[keys.link_key(DOMAIN_ID, link.code)] = _record(number, link)
            batch[f"{PLAIN_PREFIX}{link.code}".encode()] = link.target.encode()
        store.client.mset(batch)
    run_id = str(store.client.info("server")["run_id"])
    shards = (topology.Shard(id="shard-0", url=store.url),)
    store.client.mset(
        {
            keys.TOPOLOGY: topology.encode(topology.Topology(epoch=EPOCH, shards=shards)),
            keys.DOMAINS: domains.encode(
                domains.Domains(revision=1, default_id=DOMAIN_ID, hosts={DOMAIN_HOST: DOMAIN_ID})
            ),
            keys.FENCE: fence.encode(fence.Fence(epoch=EPOCH, state="complete", run_id=run_id)),
        }
    )


def _record(number: int, link: Link) -> bytes:
    return record.encode(record.LinkRecord(link_id=number, version=1, status=302, target=link.target.encode()))
