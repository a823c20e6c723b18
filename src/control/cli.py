"""The command `pointsman`."""

import os
import sys
from typing import Any

import click
import uvloop

from control import command, config, log, migrations
from control.audit import commands as audit_commands
from control.auth.commands import key
from control.clicks.commands import clicks
from control.errors import Error
from control.failover.commands import promote, rebuild
from control.links.commands import link
from control.moves.commands import move
from control.projection.commands import project
from control.server import serve
from control.shards.commands import edges, shard, topology


class Commands(click.Group):
    """Shows an Error as one line and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Error as error:
            raise click.ClickException(f"{error.message} ({error.code})") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Pointsman redirects links: a compiled edge over sharded Redis, a control plane over PostgreSQL."""


@main.command()
def control() -> None:
    """Run the control plane: the API, the projector and the shards' keepers."""
    settings = config.load(os.environ)
    uvloop.run(serve(settings, log.configure(settings)))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def edge(arguments: tuple[str, ...]) -> None:
    """Run an edge: the supervisor and its workers."""
    os.execv(sys.executable, [sys.executable, "-m", "edge", *arguments])  # noqa: S606  (no shell, our own module)


@main.command()
def dev() -> None:
    """Run everything on this machine: PostgreSQL, shards, control and edge."""
    from control.dev import run  # noqa: PLC0415  (the embedded servers are an extra that production does not install)

    sys.exit(run(os.environ))


@main.command()
def migrate() -> None:
    """Bring the database to this build's version."""
    for migration in command.run(migrations.migrate):
        click.echo(f"applied {migration.version:04} {migration.name}")


main.add_command(clicks)
main.add_command(key)
main.add_command(link)
main.add_command(topology)
shard.add_command(audit_commands.audit)
main.add_command(shard)
shard.add_command(promote)
shard.add_command(rebuild)
main.add_command(move)
main.add_command(edges)
main.add_command(project)
