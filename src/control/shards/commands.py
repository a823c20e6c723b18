"""pointsman topology …"""

import click

from control import command
from control.shards import service
from wire.topology import Shard


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
        click.echo(f"{shard.id} {shard.url} weight {shard.weight}")


def _shard(text: str) -> Shard:
    shard_id, found, url = text.partition("=")
    if not found:
        raise click.BadParameter(f"{text!r} is not of the form ID=URL", param_hint="--shard")
    return Shard(id=shard_id, url=url)
