"""pointsman shard audit"""

import asyncio
from typing import Final

import click
import structlog
from rich.console import Console
from rich.progress import Progress

from control import command
from control.audit.model import Place, Tally
from control.audit.passes import Held, Options, Pass, Tools
from control.audit.sheets import of_tally
from control.audit.tasks import pace_of
from control.config import ControlConfig
from control.db import Database
from control.errors import Error
from control.metrics import AuditMetrics
from control.moves.throttle import RATE_MIN, Throttle
from control.progress import progress_bar
from control.projection import store as projection_store
from control.shards import service as shards

# Somebody waits for it; the shards' latency slows it down.
RATE_DEFAULT: Final = 10_000
RATE_MAX: Final = 1_000_000


@click.command()
@click.option("--repair", "is_repairing", is_flag=True, help="Repair what is found.")
@click.option("--shard", "shard_id", metavar="ID", help="Of this shard alone.")
@click.option(
    "--rate",
    "links_s",
    type=click.IntRange(int(RATE_MIN), RATE_MAX),
    default=RATE_DEFAULT,
    show_default=True,
    help="Links a second.",
)
def audit(is_repairing: bool, shard_id: str | None, links_s: int) -> None:
    """Compare all shards with PostgreSQL now. Ends with 1 if something is wrong and not repaired.

    What is missing or older is repaired by `pointsman control`, like any change: it has to run.
    """
    options = Options(is_repairing=is_repairing, shard_id=shard_id)
    tally = command.run_configured(lambda config, database: _audit(config, database, options, links_s))
    Console().print(of_tally(tally))
    if not tally.is_whole:
        names = ", ".join(tally.skipped_shards)
        raise click.ClickException(f"not everything could be compared: {names} cannot be judged now; try again")
    if tally.drifts > tally.repaired:
        raise click.ClickException(f"{tally.drifts - tally.repaired} keys are wrong; run it with --repair")


async def _audit(config: ControlConfig, database: Database, options: Options, links_s: int) -> Tally:
    topology = await shards.get_topology(database)
    if options.shard_id is not None:
        shards.shard_named(topology.shards, options.shard_id)
    async with database.connection() as connection:
        estimate = await projection_store.links_estimate(connection)
    throttle = Throttle(pace_of(config, links_s), asyncio.get_running_loop().time())
    # What is found is printed as a table; the lines that `pointsman control` logs would tear the bar.
    quiet = structlog.wrap_logger(structlog.PrintLogger(), processors=[_drop])
    tools = Tools(database=database, metrics=AuditMetrics(), log=quiet)
    going = Pass(tools, options, throttle, (Place(), Tally()))
    try:
        with progress_bar() as progress:
            await _show(going, progress, estimate if options.shard_id is None else 0)
    except Held as held:
        raise Error("move_under_way", f"{held}; audit the shards when that has ended") from held
    return going.tally


async def _show(going: Pass, progress: Progress, estimate: int) -> None:
    compared = progress.add_task("comparing links", total=estimate or None)
    looked_through = progress.add_task("looking through keys", total=None)

    async def report() -> None:
        progress.update(compared, completed=going.tally.compared)
        total = sum(scan.of for scan in going.place.scans.values())
        progress.update(looked_through, completed=going.tally.keys, total=total or None)

    await going.run(report)
    for task in (compared, looked_through):
        progress.update(task, total=progress.tasks[task].completed)


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent
