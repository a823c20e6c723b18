"""SQL of the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from control.audit.model import Audit, Place, Tally, as_json
from control.db import Connection, LockKind

_LOCK: Final = LockKind.AUDITOR
# Who audits says something every second, or some seconds later after a page whose changes hang. A process that is
# silent for so long was stopped, and another one audits.
AUDITOR_SILENT_MAX_S: Final = 60
KEPT_MAX: Final = 100
_AUDIT: Final = "id, started_at, updated_at, ended_at, is_complete, waits_for, place, tally"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Which topology is in force, and in which phase the move under way is; None without one."""

    epoch: int
    phase: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """For metrics: how long no pass has been complete, and how far the one under way is."""

    age_s: float
    progress: float


async def try_auditor_lock(connection: Connection) -> bool:
    """Become the one auditor until the connection ends, or until this process is silent for too long."""
    await connection.execute(f"SET idle_session_timeout = '{AUDITOR_SILENT_MAX_S}s'")
    taken: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, 0)", _LOCK)
    return taken


async def situation(connection: Connection) -> Situation:
    """What decides whether the audit may go on."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT coalesce(max(epoch), 0) FROM topologies) AS epoch,
            (SELECT phase FROM moves WHERE ended_at IS NULL) AS phase
        """
    )
    return Situation(**row)


async def queue(connection: Connection, links: Sequence[tuple[int, int]]) -> None:
    """Have links projected again; pairs of link id and version."""
    await connection.execute(
        "INSERT INTO outbox (link_id, version) SELECT * FROM unnest($1::bigint[], $2::bigint[])",
        [link_id for link_id, _ in links],
        [version for _, version in links],
    )


async def begin(connection: Connection) -> Audit:
    """The pass under way, or else a new one."""
    await connection.execute(
        """
        INSERT INTO audits (complete_since)
        SELECT coalesce(
            (SELECT CASE WHEN is_complete THEN ended_at ELSE complete_since END FROM audits ORDER BY id DESC LIMIT 1),
            clock_timestamp()
        )
        ON CONFLICT DO NOTHING
        """
    )
    row = await connection.fetchrow(f"SELECT {_AUDIT} FROM audits WHERE ended_at IS NULL")  # noqa: S608 (constant)
    return _audit(row)


async def save(connection: Connection, audit_id: int, place: Place, tally: Tally, waits_for: str | None) -> None:
    """Where the pass is, and what was found."""
    await connection.execute(
        """
        UPDATE audits SET place = $2, tally = $3, waits_for = $4, updated_at = clock_timestamp()
        WHERE id = $1 AND ended_at IS NULL
        """,
        audit_id,
        orjson.dumps(as_json(place)).decode(),
        orjson.dumps(as_json(tally)).decode(),
        waits_for,
    )


async def end(connection: Connection, audit_id: int, *, is_complete: bool) -> None:
    """The pass is over; forget those of long ago."""
    await connection.execute(
        "UPDATE audits SET ended_at = clock_timestamp(), is_complete = $2, waits_for = NULL WHERE id = $1",
        audit_id,
        is_complete,
    )
    await connection.execute(
        """
        DELETE FROM audits WHERE id <= (SELECT max(id) FROM audits) - $1
            AND id <> coalesce((SELECT max(id) FROM audits WHERE is_complete), 0)
        """,
        KEPT_MAX,
    )


async def present(connection: Connection) -> Audit | None:
    """The pass under way."""
    row = await connection.fetchrow(f"SELECT {_AUDIT} FROM audits WHERE ended_at IS NULL")  # noqa: S608 (constant)
    return _audit(row) if row else None


async def last(connection: Connection) -> Audit | None:
    """The newest pass that has ended."""
    row = await connection.fetchrow(
        f"SELECT {_AUDIT} FROM audits WHERE ended_at IS NOT NULL ORDER BY id DESC LIMIT 1"  # noqa: S608 (constant)
    )
    return _audit(row) if row else None


async def rests_for(connection: Connection, complete_s: float, incomplete_s: float) -> float:
    """How long ago the last pass ended has to be, less how long ago that was; 0 if one is under way."""
    rest_s: float | None = await connection.fetchval(
        """
        SELECT CASE WHEN ended_at IS NULL THEN 0::float8 ELSE
            (CASE WHEN is_complete THEN $1::float8 ELSE $2::float8 END)
            - extract(epoch FROM clock_timestamp() - ended_at)::float8 END
        FROM audits ORDER BY id DESC LIMIT 1
        """,
        complete_s,
        incomplete_s,
    )
    return max(0.0, rest_s or 0.0)


async def gauges(connection: Connection) -> Gauges:
    """Of all control processes; zeros where nothing was ever audited."""
    row = await connection.fetchrow(
        """
        SELECT place, ended_at, extract(
            epoch FROM clock_timestamp() - CASE WHEN is_complete THEN ended_at ELSE complete_since END
        )::float8 AS age_s
        FROM audits ORDER BY id DESC LIMIT 1
        """
    )
    if row is None:
        return Gauges(age_s=0.0, progress=0.0)
    progress = 1.0 if row["ended_at"] else Place.of(orjson.loads(row["place"])).progress
    return Gauges(age_s=max(0.0, row["age_s"]), progress=progress)


def _audit(row: Any) -> Audit:
    place, tally = orjson.loads(row["place"]), orjson.loads(row["tally"])
    return Audit(**{**dict(row), "place": Place.of(place), "tally": Tally(**tally)})
