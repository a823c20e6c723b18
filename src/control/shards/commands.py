"""pointsman topology …, shard list, edges. What moves links is in `control.moves.commands`, under `shard` too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import click
from rich.console import Console

from control import command, log
from control.background import Background
from control.config import ControlConfig
from control.db import Database
from control.shards import service, sheets
from control.shards.addresses import redacted
from control.shards.edges import Edges, EdgeWatch
from control.shards.registry import LOOK_TIMEOUT_S, Registry, Workers, ask_all
from control.shards.view import ShardView
from wire import heartbeat
from wire.topology import Shard

# On a small shard heartbeats are found at once; on a large one every worker has written its own after this time.
HEARD_WAIT_S: Final = heartbeat.EXPIRES_MS / 1000 + LOOK_TIMEOUT_S
# A worker that lives is heard again after a second, on a busy machine somewhat later.
RATES_WAIT_S: Final = 2.5 * heartbeat.INTERVAL_MS / 1000


@click.group()
def topology() -> None:
    """Show and set the topology: which shards there are."""


@topology.command("set")
@click.option(
    "--shard",
    "shards",
    multiple=True,
    required=True,
    metavar="ID=URL",
    help="A shard, such as shard-0=redis://10.0.0.1",
)
def set_topology(shards: tuple[str, ...]) -> None:
    """Set the first topology, or other URLs for the same shards."""
    parsed = [_shard(text) for text in shards]
    current = command.run(lambda database: service.set_topology(database, parsed))
    click.echo(f"the topology of epoch {current.epoch} is in force")


@topology.command()
def show() -> None:
    """Show the topology in force."""
    current = command.run(service.get_topology)
    click.echo(f"epoch {current.epoch}, {current.virtual_nodes} virtual nodes a unit of weight")
    for shard in current.shards:
        click.echo(f"{shard.id} {redacted(shard.url)} weight {shard.weight}")


@click.group()
def shard() -> None:
    """Show shards; bring them in, take them out, change their share."""


@shard.command("list")
def list_shards() -> None:
    """List the shards, and what each says of itself now."""
    shards, workers = command.run_configured(_shards)
    Console().print(sheets.of_shards(shards))
    for item in shards:
        if item.reason is not None:
            click.echo(item.reason, err=True)
    _warn(workers)


@click.command()
def edges() -> None:
    """List the live edge workers."""
    found = command.run_configured(_edges)
    Console().print(sheets.of_edges(found.items))
    _warn(found)


async def _shards(config: ControlConfig, database: Database) -> tuple[list[ShardView], Workers]:
    async with _listening(config, database) as (registry, _):
        return await registry.shards(), await registry.workers()


async def _edges(config: ControlConfig, database: Database) -> Workers:
    async with _listening(config, database) as (registry, heard):
        await heard.hear_rates(RATES_WAIT_S)
        return await registry.workers()


@asynccontextmanager
async def _listening(config: ControlConfig, database: Database) -> AsyncIterator[tuple[Registry, Edges]]:
    """A registry that has heard of the edges, as `pointsman control` has, but for those that only shards that are away
    know."""
    topology = await service.get_topology(database)
    heard = Edges()
    background = Background(log.configure(config))
    try:
        answers = await ask_all(topology.shards)
        present = [item for item in topology.shards if answers[item.id].run_id]
        for item in present:
            background.start(f"edges {item.id}", EdgeWatch(item, heard.of(item.id)).run)
        await heard.wait({item.id: 0 for item in present}, HEARD_WAIT_S)
        yield Registry(database, heard), heard
    finally:
        await background.stop()


def _warn(found: Workers) -> None:
    if found.unread:
        names = ", ".join(found.unread)
        click.echo(f"{names} live too, but their heartbeats are of another build: bring both to the same one", err=True)
    if found.unheard_shards:
        names = ", ".join(found.unheard_shards)
        click.echo(f"edges that only {names} know may be missing: they could not be heard there", err=True)


def _shard(text: str) -> Shard:
    shard_id, found, url = text.partition("=")
    if not found:
        raise click.BadParameter(f"{text!r} is not of the form ID=URL", param_hint="--shard")
    return Shard(id=shard_id, url=url)
