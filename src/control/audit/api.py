"""The route that shows the audit."""

from datetime import datetime

import msgspec

from control.audit import store
from control.audit.model import KINDS, Audit, Tally
from control.db import Database
from control.http import Call, NoQuery, Reply, Route


class DriftView(msgspec.Struct, frozen=True, kw_only=True):
    """So many keys of a shard were wrong in this way."""

    shard: str
    kind: str
    count: int


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """A pass: which part of all it has gone through, what it waits for, and what it has found."""

    id: int
    progress: float
    is_complete: bool
    waits_for: str | None
    compared: int
    keys: int
    skipped: int
    skipped_shards: list[str]
    repaired: int
    drift: list[DriftView]
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class AuditState(msgspec.Struct, frozen=True, kw_only=True):
    """The pass under way and the last one that has ended; null if there is none."""

    present: AuditView | None
    last: AuditView | None


def routes(database: Database) -> list[Route]:
    """The route, bound to the database."""

    async def show(_: Call) -> Reply:
        async with database.connection() as connection:
            present, last = await store.present(connection), await store.last(connection)
        return Reply(value=AuditState(present=_view(present), last=_view(last)))

    return [
        Route(
            method="GET",
            path="/api/v1/audit",
            name="getAudit",
            summary="Show how far the comparison of PostgreSQL and the shards is, and what it has found",
            handler=show,
            query=NoQuery,
            reply=AuditState,
        )
    ]


def _view(audit: Audit | None) -> AuditView | None:
    if audit is None:
        return None
    tally = audit.tally
    return AuditView(
        id=audit.id,
        progress=audit.progress,
        is_complete=audit.is_complete,
        waits_for=audit.waits_for,
        compared=tally.compared,
        keys=tally.keys,
        skipped=tally.skipped,
        skipped_shards=tally.skipped_shards,
        repaired=tally.repaired,
        drift=_drift(tally),
        started_at=audit.started_at,
        updated_at=audit.updated_at,
        ended_at=audit.ended_at,
    )


def _drift(tally: Tally) -> list[DriftView]:
    return [
        DriftView(shard=shard_id, kind=kind, count=found[kind])
        for shard_id, found in sorted(tally.drift.items())
        for kind in KINDS
        if kind in found
    ]
