"""Routes about the service itself: health, readiness, metrics, the OpenAPI document and the docs page."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from control import migrations, openapi
from control.audit import store as audit_store
from control.audit.model import KINDS
from control.background import Background
from control.clicks import dead_frames as clicks
from control.db import Database
from control.errors import Error
from control.http import Call, NoQuery, Reply, Route
from control.metrics import CONTENT_TYPE, Metrics
from control.moves import store as move_store
from control.projection import store as projection_store
from control.projection.tasks import Housekeeper
from control.shards import store as shard_store
from control.shards.edges import Edges

BACKLOG_COUNTED_MAX: Final = 10_000
HTML: Final = b"text/html; charset=utf-8"
AUDIT_TASK: Final = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What health and metrics look at."""

    database: Database
    metrics: Metrics
    background: Background
    housekeeper: Housekeeper
    edges: Edges


def routes(state: State, api_routes: Sequence[Route]) -> list[Route]:
    """The routes; `api_routes` are what the OpenAPI document describes."""
    document = openapi.document(api_routes)
    page = openapi.page(document)

    async def healthz(_: Call) -> Reply:
        return Reply(value={"status": "alive"})

    async def readyz(_: Call) -> Reply:
        await _check_ready(state)
        return Reply(value={"status": "ready"})

    async def metrics(_: Call) -> Reply:
        await _measure(state)
        return Reply(value=state.metrics.text().encode(), content_type=CONTENT_TYPE.encode())

    async def openapi_json(_: Call) -> Reply:
        return Reply(value=document)

    async def docs(_: Call) -> Reply:
        return Reply(value=page, content_type=HTML)

    table = [
        ("/healthz", "healthz", "Whether the process is alive", healthz),
        ("/readyz", "readyz", "Whether PostgreSQL, its migrations and the topology are there", readyz),
        ("/metrics", "metrics", "Metrics in Prometheus' text format", metrics),
        ("/openapi.json", "openapi", "This API as an OpenAPI document", openapi_json),
        ("/docs", "docs", "This API as a page", docs),
    ]
    return [
        Route(
            method="GET",
            path=path,
            name=name,
            summary=summary,
            handler=handler,
            query=NoQuery,
            is_public=True,
        )
        for path, name, summary, handler in table
    ]


async def _check_ready(state: State) -> None:
    async with state.database.connection() as connection:
        try:
            await migrations.check(connection)
        except Error as error:
            raise Error("not_ready", error.message) from error
        if await shard_store.current_epoch(connection) == 0:
            raise Error("not_ready", "no topology is set; run `pointsman topology set --shard ID=URL …`")


async def _measure(state: State) -> None:
    """Bring the gauges up to date; without PostgreSQL those about the outbox keep their last values."""
    metrics = state.metrics
    for name, pulse in state.background.pulses.items():
        metrics.task_failures.set(pulse.failures, task=name)
    for shard_id, keeper in state.housekeeper.keepers.items():
        metrics.shard_complete.set(int(keeper.is_complete), shard=shard_id)
    now_s = asyncio.get_running_loop().time()
    for shard_id, edges in state.edges.by_shard.items():
        metrics.edges.set(len(edges.live), shard=shard_id)
        metrics.edges_lag.set(edges.lag_s(now_s), shard=shard_id)
        for kind in KINDS:  # from 0 on: what appears with a drift would be no increase
            metrics.audit.drift.add(0, shard=shard_id, kind=kind)
    for gauge in (metrics.shard_complete, metrics.edges, metrics.edges_lag):
        gauge.keep("shard", state.housekeeper.keepers)
    try:
        async with state.database.connection() as connection:
            backlog = await projection_store.backlog(connection, BACKLOG_COUNTED_MAX)
            dead_frames = await clicks.count_dead(connection)
            moves = await move_store.gauges(connection)
            audit = await audit_store.gauges(connection)
    except Error as error:
        metrics.database_up.set(0)
        metrics.problems.add(code=error.code)
        return
    metrics.database_up.set(1)
    metrics.outbox.set(backlog.ready, state="ready")
    metrics.outbox.set(backlog.waiting, state="waiting")
    metrics.outbox.set(backlog.set_aside, state="set_aside")
    metrics.outbox_oldest.set(backlog.oldest_s)
    metrics.move_under_way.set(moves.under_way)
    metrics.move_progress.set(moves.progress)
    metrics.move_waits.set(moves.waits_s)
    metrics.move_leftovers.set(moves.leftovers)
    is_auditing = AUDIT_TASK in state.background.pulses  # where it is off, that no pass ends is no fault
    metrics.audit.age.set(audit.age_s if is_auditing else 0)
    metrics.audit.progress.set(audit.progress if is_auditing else 0)
    for reason, count in dead_frames.items():
        metrics.clicks.dead_kept.set(count, reason=reason)
