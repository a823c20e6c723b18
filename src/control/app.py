"""The composition root of the control plane: what is built, in which order, and how it stops. Read this first.

request ──▶ BlackSheep router ──▶ _handle: key, query, body ──▶ a feature's service ──▶ PostgreSQL
                                                                          │ commit, then wake()
outbox ◀── LISTEN ── Projector ──▶ shards ◀── Keeper (one a shard) ◀── Housekeeper
                                   shards ◀── Driver of moves (one in all control processes)
                                   shards ◀── Auditor (one in all control processes)
                                     │
                                     └─ clicks ──▶ Consumer (one a shard) ──▶ Intake ──▶ PostgreSQL
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from blacksheep import Application, Request, Response, Router

from control import migrations, system
from control.audit import api as audit_api
from control.audit.passes import Options as AuditOptions
from control.audit.passes import Tools as AuditTools
from control.audit.tasks import Auditor, pace_of
from control.auth import service as auth
from control.background import Background, Pulse
from control.bell import Bell
from control.clicks import api as clicks_api
from control.clicks import retention
from control.clicks import streamed as clicks_streamed
from control.clicks.agents import Agents
from control.clicks.audience import Audience
from control.clicks.enrichment import Enricher
from control.clicks.export import Exports
from control.clicks.service import Intake, options_of
from control.clicks.tail import Tail
from control.clicks.tasks import Consumers, Tools
from control.config import ControlConfig
from control.db import Database, open_database
from control.domains import service as domains
from control.errors import Error
from control.failover import api as failover_api
from control.failover import sentinel, sentinels
from control.http import Reply, Route, call_of, header, problem_response, response_of
from control.links import api as links_api
from control.links import tasks as links_tasks
from control.links.service import Links
from control.log import Logger
from control.metrics import Metrics
from control.moves import api as moves_api
from control.moves.driver import Tools as MoveTools
from control.moves.service import Moves
from control.moves.tasks import WORKS, Driver, speed_of
from control.moves.tasks import options_of as move_options_of
from control.projection import api as projection_api
from control.projection.acknowledgement import Acknowledgements
from control.projection.batch import BatchResult
from control.projection.keeper import Tools as KeeperTools
from control.projection.tasks import Housekeeper, Projector
from control.projection.writers import Writers
from control.shards import api as shards_api
from control.shards.current import CurrentPlacement
from control.shards.edges import Edges
from control.shards.registry import Registry
from control.streaming import STALL_S, Stream, follow, taken_in_time
from control.tags import api as tags_api
from control.tags.service import Tags

DOCS_URL: Final = "/docs"
_PATH_MEMBER: Final = re.compile(r"{\w+}")
_STALLED: Final = Error("client_stalled", f"the client has taken nothing for {STALL_S:.0f} s")

Handle = Callable[[Request], Awaitable[Response]]


async def build(config: ControlConfig, log: Logger, stopping: asyncio.Event) -> Application:
    """The application, not started; starting and stopping it starts and stops the background tasks. `stopping` ends the
    answers that would go on for ever: the server waits for all answers before it stops the application."""
    database = await open_database(config.database_url)
    metrics = Metrics()
    background = Background(log)
    writers = Writers(background)
    edges = Edges()
    placement, topology_bell = CurrentPlacement(), Bell()
    acknowledgements = Acknowledgements(database, edges, placement)
    on_batch = partial(_on_batch, metrics, acknowledgements)
    projector = Projector(database, writers, placement, topology_bell, on_batch)
    keeping = KeeperTools(database=database, placement=placement, bell=topology_bell, wake=projector.wake, log=log)
    housekeeper = Housekeeper(keeping, background, edges)
    links = Links(database, projector.wake)
    intake = Intake(Enricher(config.geo_file, Agents(), metrics, log), options_of(config))
    consumers = Consumers(
        _tools(config, database, intake, metrics), background, retention.keep_of(config), topology_bell
    )
    driver = Driver(_move_tools(config, database, edges, metrics, log))
    followers = [sentinels.Follower(watched, database, log) for watched in sentinel.parse(config.sentinels)]
    state = system.State(
        database=database, metrics=metrics, background=background, housekeeper=housekeeper, edges=edges
    )
    routes = links_api.routes(links, acknowledgements) + projection_api.routes(database)
    routes += tags_api.routes(Tags(database)) + shards_api.routes(Registry(database, edges))
    routes += moves_api.routes(Moves(database, driver.wake, speed_of(config))) + failover_api.routes(database)
    audience = Audience(database, background, metrics)
    exports = Exports(database, are_rows_kept=config.clicks_raw == "on")
    routes += clicks_api.routes(database, config.clicks_links_days)
    routes += clicks_streamed.routes(database, audience, exports)
    routes += audit_api.routes(database)
    routes += system.routes(state, routes)

    application = Application(router=_router(routes, _Answering(database, metrics, log, stopping)))

    async def start(_: Application) -> None:
        background.start("set up", partial(_set_up, database, config))
        background.start("projector", projector.run)
        background.start("outbox listener", projector.listen)
        background.start("topology", housekeeper.follow_topology)
        background.start("tidy", housekeeper.tidy)
        background.start("moves", driver.run)
        for number, follower in enumerate(followers):
            background.start(f"sentinel {number}", follower.run)
        if config.audit_links_s:
            background.start(system.AUDIT_TASK, _auditor(config, database, metrics, log).run)
        background.start("clicks tail", audience.run)
        background.start("purge", partial(links_tasks.purge, database))
        background.start("click topology", consumers.follow_topology)
        background.start("click tidy", consumers.tidy)

    async def stop(_: Application) -> None:
        await background.stop()
        intake.close()
        await writers.close()
        await database.close()

    application.on_start += start
    application.on_stop += stop
    return application


def _tools(config: ControlConfig, database: Database, intake: Intake, metrics: Metrics) -> Tools:
    return Tools(
        database=database,
        intake=intake,
        metrics=metrics,
        claim_idle_ms=config.clicks_claim_idle_ms,
        offer=Tail().offer,
    )


def _move_tools(config: ControlConfig, database: Database, edges: Edges, metrics: Metrics, log: Logger) -> MoveTools:
    return MoveTools(
        database=database,
        edges=edges,
        works=WORKS,
        options=move_options_of(config),
        log=log,
        on_end=lambda phase: metrics.moves_ended.add(phase=phase),
    )


def _auditor(config: ControlConfig, database: Database, metrics: Metrics, log: Logger) -> Auditor:
    tools = AuditTools(database=database, metrics=metrics.audit, log=log)
    return Auditor(tools, AuditOptions(is_repairing=config.audit_repair == "on"), pace_of(config, config.audit_links_s))


async def prepare_database(database: Database, config: ControlConfig) -> None:
    """Bring the default domain in line with the settings; raises Error for a database without this build's tables."""
    async with database.connection() as connection:
        await migrations.check(connection)
    await domains.ensure_default(database, config.short_url)


async def _set_up(database: Database, config: ControlConfig, pulse: Pulse) -> None:
    """Prepare a database that was down when control started, as soon as it is there."""
    await prepare_database(database, config)
    pulse.beat()
    await pulse.rest()


@dataclass(frozen=True, slots=True)
class _Answering:
    """What every answer needs besides its route."""

    database: Database
    metrics: Metrics
    log: Logger
    stopping: asyncio.Event


def _router(routes: Sequence[Route], answering: _Answering) -> Router:
    router = Router()
    for route in routes:
        router.add(route.method, route.path, _handler(route, answering))
    router.fallback = _fallback(routes, answering.metrics)
    return router


def _handler(route: Route, answering: _Answering) -> Handle:
    metrics = answering.metrics

    async def handle(request: Request) -> Response:
        try:
            if not route.is_public:
                await auth.authenticate(answering.database, header(request, b"authorization"))
            reply = await route.handler(await call_of(route, request))
            if reply.stream is not None:
                reply.stream = _followed(route, reply, reply.stream, request, answering)
            response = response_of(route, reply)
        except Error as error:
            response = _problem(error, metrics)
        except Exception:
            answering.log.error("request failed", method=route.method, path=route.path, exc_info=True)
            response = _problem(Error("internal", "see the log of the control plane"), metrics)
        metrics.requests.add(status=str(response.status))
        return response

    return handle


async def _followed(route: Route, reply: Reply, stream: Stream, request: Request, answering: _Answering) -> Stream:
    """The stream as long as its client stays. What fails under way tears the answer off, so that nobody takes a part of
    it for the whole: the server closes the connection without the end of the body."""
    metrics = answering.metrics
    metrics.streams.add(1, route=route.name)
    try:
        ended = answering.stopping if reply.is_endless else None
        async with aclosing(follow(stream, request.content.receive, ended)) as chunks:  # type: ignore[union-attr]
            async for chunk in chunks:
                async with taken_in_time(chunks, partial(_torn, route, answering, _STALLED)):
                    yield chunk
    except Exception as error:
        _torn(route, answering, error)
        raise
    finally:
        metrics.streams.add(-1, route=route.name)


def _torn(route: Route, answering: _Answering, error: Exception) -> None:
    answering.metrics.problems.add(code=error.code if isinstance(error, Error) else "internal")
    answering.log.warning("answer torn off", path=route.path, reason=str(error))


def _fallback(routes: Sequence[Route], metrics: Metrics) -> Handle:
    """Answers what no route matches: a path that takes other methods with 405, the rest with 404."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(_PATH_MEMBER.sub("[^/]+", route.path), []).append(route.method)

    async def fallback(request: Request) -> Response:
        for pattern, allowed in methods.items():
            if re.fullmatch(pattern, request.path):
                response = _problem(Error("method_not_allowed", f"this path takes {', '.join(allowed)}"), metrics)
                response.add_header(b"allow", ", ".join(allowed).encode())
                return response
        return _problem(Error("route_not_found", "there is nothing at this path; /docs lists what there is"), metrics)

    return fallback


def _problem(error: Error, metrics: Metrics) -> Response:
    metrics.problems.add(code=error.code)
    return problem_response(error, DOCS_URL)


def _on_batch(metrics: Metrics, acknowledgements: Acknowledgements, result: BatchResult) -> None:
    acknowledgements.on_projected(result)
    metrics.projected.add(sum(len(numbered.writes) for numbered in result.numbered))
    metrics.parked.add(result.parked)
    metrics.set_aside.add(result.set_aside)
    for lag_s in result.lags_s:
        metrics.lag.observe(lag_s)
