"""pointsman clicks …"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import click
from rich.console import Console

from control import command, log
from control.background import Background
from control.clicks import reconciliation, retention, service, sheets
from control.clicks.agents import Agents
from control.clicks.api import StatisticsQuery, view_of
from control.clicks.audience import Audience, Event, Wanted
from control.clicks.enrichment import Enricher
from control.clicks.reading import Reading, domain_of, link_id_of
from control.clicks.retention import Removal
from control.clicks.service import Intake, Replayed
from control.config import ControlConfig
from control.db import Database
from control.metrics import Metrics
from control.progress import progress_bar

VALUES_SHOWN: Final = 5
_WAIT_S: Final = 60.0


@click.group()
def clicks() -> None:
    """Show clicks, and look after what is kept of them."""


@clicks.command()
@click.argument("code")
@click.option("--domain", help="The link's domain, if it is not the default one.")
@click.option("--tz", default="UTC", show_default=True, help="Time zone of the days, such as Europe/Berlin.")
def show(code: str, domain: str | None, tz: str) -> None:
    """Show the clicks of the link at CODE: all of them, and those of the last 30 days."""
    view = view_of(StatisticsQuery(tz=tz, limit=VALUES_SHOWN))
    found = command.run(lambda database: Reading(database).link(domain, code, view, is_all_time=True))
    for part in sheets.of_link(found):
        Console().print(part)


@clicks.command()
@click.option("--code", help="Of one link.")
@click.option("--domain", help="Of one domain; with --code, the domain of the link.")
@click.option("--json", "is_json", is_flag=True, help="Print each event as a line of JSON.")
def tail(code: str | None, domain: str | None, is_json: bool) -> None:
    """Follow clicks as they are stored, until Ctrl-C. Of many, some are shown, and how many were left out."""
    with suppress(KeyboardInterrupt):
        command.run_configured(lambda config, database: _tail(config, database, (code, domain), is_json))


@clicks.command()
@click.argument("dead_ids", nargs=-1, type=click.IntRange(1, 2**63 - 1), metavar="[ID]...")
def replay(dead_ids: tuple[int, ...]) -> None:
    """Count dead frames again, all or those with these IDs, once what was wrong with them is repaired.

    A frame that was counted already is not counted twice. What still cannot be counted stays where it is.
    """
    replayed = command.run_configured(lambda config, database: _replay(config, database, dead_ids))
    click.echo(f"{replayed.tried} dead frames tried, {replayed.revived} are dead no longer")


@clicks.command()
@click.option("--edge", help="Of one edge, by its id.")
def reconcile(edge: str | None) -> None:
    """Compare what the edges served with what is stored. Ends with 1 if anything is missing."""
    edges = command.run(lambda database: reconciliation.reconcile(database, edge))
    if edge is not None and not edges:
        raise click.ClickException(f"no edge {edge} has sent anything; without --edge, those that have are shown")
    Console().print(sheets.of_books(edges))
    missing = sum(books.missing + books.unknown.missing for books in edges)
    if missing:
        raise click.ClickException(f"{missing} clicks were recorded, are not stored, and are on their way no longer")


@clicks.command("retention")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only show what would go.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
def let_go(is_dry: bool, is_sure: bool) -> None:
    """Show what has been kept for its time (POINTSMAN_CLICKS_…_DAYS), and let it go.

    `pointsman control` does the same by itself every ten minutes.
    """
    removals = command.run_configured(
        lambda config, database: retention.plan(database, retention.keep_of(config), datetime.now(UTC))
    )
    Console().print(sheets.of_removals(removals))
    if is_dry or not removals:
        return
    if not is_sure:
        click.confirm("Let all of this go?", abort=True)
    command.run_configured(lambda config, database: _let_go(config, database, removals))


async def _tail(config: ControlConfig, database: Database, names: tuple[str | None, str | None], is_json: bool) -> None:
    wanted = await _wanted(database, *names)
    background = Background(log.configure(config))
    audience = Audience(database, background, Metrics())
    background.start("clicks tail", audience.run)
    try:
        async with audience.join(wanted) as follower:
            while True:
                for event in await follower.take(_WAIT_S):
                    click.echo(_line(event, is_json))
    finally:
        await background.stop()


async def _wanted(database: Database, code: str | None, domain: str | None) -> Wanted:
    async with database.connection() as connection:
        if code is not None:
            return Wanted(link_id=await link_id_of(connection, domain, code))
        return Wanted(domain_id=None if domain is None else (await domain_of(connection, domain)).id)


def _line(event: Event, is_json: bool) -> str:
    if is_json:
        return json.dumps({"event": event.name} | event.data)
    return sheets.line_of(event.name, event.data)


async def _replay(config: ControlConfig, database: Database, dead_ids: Sequence[int]) -> Replayed:
    intake = Intake(Enricher(config.geo_file, Agents(), Metrics(), log.configure(config)), service.options_of(config))
    try:
        with progress_bar() as progress:
            task = progress.add_task("replaying", total=None)

            def on_progress(replayed: Replayed) -> None:
                progress.update(task, total=replayed.total, completed=replayed.tried)

            return await service.replay(database, intake, dead_ids or None, on_progress)
    finally:
        intake.close()


async def _let_go(config: ControlConfig, database: Database, removals: Sequence[Removal]) -> None:
    with progress_bar() as progress:
        tasks = {
            removal.partition or removal.table: progress.add_task(removal.partition or removal.table, total=None)
            for removal in removals
        }

        def on_removed(name: str, rows: int) -> None:
            if name in tasks:
                progress.update(tasks[name], advance=rows)

        await retention.apply(database, retention.keep_of(config), datetime.now(UTC), on_removed)
        for task in tasks.values():
            progress.update(task, total=progress.tasks[task].completed)
