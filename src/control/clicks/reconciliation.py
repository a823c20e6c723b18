"""Reconciliation: what edges say they served, against what is stored here.

For each writer (the life of one worker's process)

    served = recorded + dropped             as it reports
    recorded = stored + dead + in_flight + missing

and the same for unknown codes, apart. How exact each number is:

- `stored` is exact at every instant: it is raised by the transaction that counts the clicks.
- `recorded` and `dropped` are as old as the last report, some seconds. What was stored since then was recorded too, so
  `recorded` is at least `stored` + `dead`.
- `dead` is what lies in the dead frames, or was dropped from there for room. In a frame whose body is malformed only
  the clicks in front of the fault can be told apart; the rest of them is in `missing` in the end.
- `in_flight` is what a writer has recorded and nothing has become of yet. It is on the edge's disk, in a stream, or in
  a batch.
- `missing` is the same for a writer whose final report is here. It is given after all its segments were acknowledged,
  so nothing is on its way any more: anything but 0 is a loss.

Books of writers are kept as long as POINTSMAN_CLICKS_WRITERS_DAYS says; the sums are over these.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from control.db import Connection, Database
from wire.report import DROP_REASONS

EDGES_MAX: Final = 10_000

_DROPPED: Final = ", ".join(
    f"coalesce(sum((dropped ->> '{reason}')::bigint), 0)::bigint AS dropped_{reason}" for reason in DROP_REASONS
)
_QUERY: Final = f"""
WITH known AS (
    SELECT *, greatest(recorded, stored + dead) AS sure, stored_unknown + dead_unknown AS unknown_settled,
        greatest(unknown_recorded, stored_unknown + dead_unknown) AS sure_unknown
    FROM click_writers
)
SELECT edge_id, count(*) AS writers, count(*) FILTER (WHERE NOT is_final) AS open_writers,
    max(reported_at) AS reported_at,
    sum(sure)::bigint AS recorded, {_DROPPED}, sum(stored)::bigint AS stored, sum(dead)::bigint AS dead,
    coalesce(sum(sure - stored - dead) FILTER (WHERE NOT is_final), 0)::bigint AS in_flight,
    coalesce(sum(sure - stored - dead) FILTER (WHERE is_final), 0)::bigint AS missing,
    sum(sure_unknown)::bigint AS unknown_recorded, sum(unknown_dropped)::bigint AS unknown_dropped,
    sum(stored_unknown)::bigint AS unknown_stored, sum(dead_unknown)::bigint AS unknown_dead,
    coalesce(sum(sure_unknown - unknown_settled) FILTER (WHERE NOT is_final), 0)::bigint AS unknown_in_flight,
    coalesce(sum(sure_unknown - unknown_settled) FILTER (WHERE is_final), 0)::bigint AS unknown_missing
FROM known WHERE $1::text IS NULL OR edge_id = $1
GROUP BY edge_id ORDER BY edge_id LIMIT $2
"""  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownBooks:
    """Answers to codes that do not exist."""

    recorded: int
    dropped: int
    stored: int
    dead: int
    in_flight: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeBooks:
    """All writers of one edge together; `open_writers` have not given their final report."""

    edge_id: str
    writers: int
    open_writers: int
    reported_at: datetime | None
    served: int
    recorded: int
    dropped: dict[str, int]
    stored: int
    dead: int
    in_flight: int
    missing: int
    unknown: UnknownBooks

    @property
    def is_settled(self) -> bool:
        """Whether everything that was served is stored, or dropped with a reason."""
        waiting = (self.in_flight, self.missing, self.unknown.in_flight, self.unknown.missing)
        return not any(waiting)


async def reconcile(database: Database, edge_id: str | None = None) -> list[EdgeBooks]:
    """The books of each edge, or of one."""
    async with database.connection() as connection:
        return [_edge(row) for row in await _rows(connection, edge_id)]


async def _rows(connection: Connection, edge_id: str | None) -> list[Any]:
    rows: list[Any] = await connection.fetch(_QUERY, edge_id, EDGES_MAX)
    return rows


def _edge(row: Any) -> EdgeBooks:
    dropped = {reason: row[f"dropped_{reason}"] for reason in DROP_REASONS}
    names = ("recorded", "dropped", "stored", "dead", "in_flight", "missing")
    return EdgeBooks(
        edge_id=row["edge_id"],
        writers=row["writers"],
        open_writers=row["open_writers"],
        reported_at=row["reported_at"],
        served=row["recorded"] + sum(dropped.values()),
        recorded=row["recorded"],
        dropped=dropped,
        stored=row["stored"],
        dead=row["dead"],
        in_flight=row["in_flight"],
        missing=row["missing"],
        unknown=UnknownBooks(**{name: row[f"unknown_{name}"] for name in names}),
    )
