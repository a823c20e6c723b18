"""pointsman shard promote, rebuild."""

import sys

import click

from control import command
from control.db import Database
from control.failover import promotion, replacement
from control.failover.replacement import Filling
from control.progress import progress_bar
from control.shards.addresses import redacted

_LOST = click.option(
    "--lost", "is_lost", is_flag=True, help="The primary is gone, and out of reach for every edge, though it is silent."
)


@click.command()
@click.argument("shard_id", metavar="ID")
@click.option("--replica", "url", default="", metavar="URL", help="Which one.  [default: the one that has most]")
@_LOST
def promote(shard_id: str, url: str, is_lost: bool) -> None:
    """Make a replica of the shard ID its primary."""
    done = command.run(lambda database: promotion.promote(database, shard_id, url, is_lost))
    click.echo(f"{redacted(done.url)} is the primary of {shard_id} since epoch {done.topology.epoch}")
    if done.lacked:
        click.echo(f"{done.lacked} batches of changes were not there yet; control writes them again")
    if done.is_fenced:
        click.echo("the old primary is fenced; stop it, or make it a replica of the new one")
    if not done.is_kept:
        click.echo("the new one could not write it into its configuration: take replicaof out of that, if it is there")


@click.command()
@click.argument("shard_id", metavar="ID")
@click.option("--url", required=True, help="An empty Redis.")
@click.option(
    "--replica", "replicas", multiple=True, metavar="URL", help="A replica of it; may be given several times."
)
@_LOST
def rebuild(shard_id: str, url: str, replicas: tuple[str, ...], is_lost: bool) -> None:
    """Put an empty server in the place of the shard ID, which is lost for good, and wait until it is filled.

    `pointsman control` fills it from PostgreSQL; if this command is ended it goes on, and the same command follows it.
    """
    command.run(lambda database: _rebuild(database, shard_id, url, replicas, is_lost))
    click.echo(f"{shard_id} is complete")


async def _rebuild(database: Database, shard_id: str, url: str, replicas: tuple[str, ...], is_lost: bool) -> None:
    topology = await replacement.replace_lost(database, shard_id, url, replicas, is_lost)
    click.echo(f"{redacted(url)} is {shard_id} since epoch {topology.epoch}", file=sys.stderr)
    with progress_bar() as progress:
        task = progress.add_task(f"filling {shard_id}", total=None)

        def show(filling: Filling) -> None:
            # The number expected is an estimate: the bar is full when the shard is complete, and not before.
            total = filling.links if filling.is_complete else max(filling.links + 1, filling.links_expected)
            progress.update(task, completed=filling.links, total=total)

        await replacement.follow_filling(database, shard_id, show)
