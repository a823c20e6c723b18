"""What the stores use, read from the stores."""

import asyncio
import re
import urllib.request
from dataclasses import dataclass

import asyncpg
import redis

from benchmarks import BenchmarkError
from benchmarks.scale.stack import Stack

_SERIES = re.compile(r'^pointsman_edge_l1_(bytes|entries)\{kind="link"[^}]*\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of the table of links, of its indexes, and of all shards."""

    table_bytes: int
    index_bytes: int
    redis_bytes: int


def read(stack: Stack) -> Memory:
    """What is used now."""
    table_bytes, index_bytes = asyncio.run(_postgres(stack.postgres_dsn))
    return Memory(
        table_bytes=table_bytes,
        index_bytes=index_bytes,
        redis_bytes=sum(_redis(url) for url in stack.shard_urls),
    )


def l1_bytes_per_link(stack: Stack) -> float:
    """What an entry of L1 takes, its share of the slots included; the cache should be full."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.edge_admin_port}/metrics", timeout=5) as answer:
        values = dict(_SERIES.findall(answer.read().decode()))
    if values.keys() != {"bytes", "entries"} or not int(values["entries"]):
        raise BenchmarkError(f"the edge's metrics say {values} of L1")
    return int(values["bytes"]) / int(values["entries"])


async def _postgres(dsn: str) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow("SELECT pg_table_size('links'), pg_indexes_size('links')")
    finally:
        await connection.close()
    return int(row[0]), int(row[1])


def _redis(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("memory")["used_memory"])
