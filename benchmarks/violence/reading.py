"""What the product says of its clicks, over its API; and what its tables hold, counted past it."""

import asyncio
from typing import Any, Final

import asyncpg
import redis

from benchmarks.violence.accounts import Product as Books
from tests.system.product import Product, request
from wire import keys

# Each way through the tables on which a click could be lost or counted twice.
_TOTALS: Final = """
SELECT (SELECT coalesce(sum(clicks), 0) FROM click_totals) AS totals,
    (SELECT coalesce(sum(clicks), 0) FROM click_link_days) AS link_days,
    (SELECT coalesce(sum(clicks), 0) FROM click_scope_days WHERE scope = 1) AS domain_days
"""


def read(product: Product, tag: str) -> Books:
    """The product's side of the books: frames first, totals last, so that none is older than what it rests on."""
    frames = _frames(product)
    told = product.call("GET", "/api/v1/clicks/reconciliation").json
    account = product.call("GET", "/api/v1/clicks").json
    tagged = product.call("GET", f"/api/v1/tags/{tag}/clicks").json
    edges: list[dict[str, Any]] = told["items"]
    return Books(
        served=sum(edge["served"] for edge in edges),
        stored=sum(edge["stored"] for edge in edges),
        dropped=sum(sum(edge["dropped"].values()) for edge in edges),
        dead=sum(edge["dead"] for edge in edges),
        in_flight=sum(edge["in_flight"] for edge in edges),
        missing=sum(edge["missing"] for edge in edges),
        open_writers=sum(edge["open_writers"] for edge in edges),
        frames=frames,
        duplicates=_metric(product.dev["control_url"], 'pointsman_click_frames_total{outcome="duplicate"}'),
        totals={
            "the account": account["total"],
            "the account, by its series": sum(point["humans"] + point["bots"] for point in account["series"]),
            "the tag of all links": tagged["total"],
            **asyncio.run(_counted(product.dev["postgres_dsn"])),
        },
    )


def _frames(product: Product) -> int:
    """Entries of all streams, and frames of which the edge waits to hear."""
    entries = sum(stream_length(shard["url"]) for shard in product.dev["shards"])
    return entries + _metric(product.dev["edge_admin_url"], "pointsman_edge_click_frames_in_flight")


def stream_length(url: str) -> int:
    """How many entries a shard's stream of clicks has."""
    with redis.Redis.from_url(url) as shard:
        return int(shard.xlen(keys.CLICKS))


def _metric(url: str, series: str) -> int:
    """A series' value; 0 if it is not there yet."""
    for line in request(url, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{series} "):
            return int(float(line.rpartition(" ")[2]))
    return 0


async def _counted(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(_TOTALS)
    finally:
        await connection.close()
    return {f"the sum of {name}": int(count) for name, count in row.items()}
