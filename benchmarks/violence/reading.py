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
    """The product's side of the books."""
    told = product.call("GET", "/api/v1/clicks/reconciliation").json
    account = product.call("GET", "/api/v1/clicks").json
    tagged = product.call("GET", f"/api/v1/tags/{tag}/clicks").json
    total: dict[str, Any] = told["total"]
    return Books(
        served=total["served"],
        stored=total["stored"],
        dropped=sum(total["dropped"].values()),
        dead=total["dead"],
        in_flight=total["in_flight"],
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
