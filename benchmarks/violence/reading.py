"""What the product says of its clicks, over its API; and what its tables hold, counted past it."""

import asyncio
from typing import Any, Final

import asyncpg

from benchmarks.violence.accounts import Product as Books
from tests.system.product import Product

# Each way through the tables on which a click could be lost or counted twice.
_TOTALS: Final = """
SELECT (SELECT coalesce(sum(clicks), 0) FROM click_totals) AS totals,
    (SELECT coalesce(sum(clicks), 0) FROM click_link_days) AS link_days,
    (SELECT coalesce(sum(clicks), 0) FROM click_scope_days WHERE scope = 1) AS domain_days
"""


def read(product: Product, tag: str) -> Books:
    """The product's side of the books: the reconciliation first, so that the totals are not older than it."""
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
        totals={
            "the account": account["total"],
            "the account, by its series": sum(point["humans"] + point["bots"] for point in account["series"]),
            "the tag of all links": tagged["total"],
            **asyncio.run(_counted(product.dev["postgres_dsn"])),
        },
    )


async def _counted(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(_TOTALS)
    finally:
        await connection.close()
    return {f"the sum of {name}": int(count) for name, count in row.items()}
