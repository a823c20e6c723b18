"""pointsman key …"""

import click
from rich.console import Console
from rich.table import Table

from control import command
from control.auth import service


@click.group()
def key() -> None:
    """Create, list and revoke API keys."""


@key.command()
@click.argument("name")
def create(name: str) -> None:
    """Create a key called NAME and print it; it is not shown again."""
    _, secret = command.run(lambda database: service.create(database, name))
    click.echo(secret)


@key.command("list")
def list_keys() -> None:
    """List the keys, by their first characters."""
    table = Table("id", "name", "key", "created", "revoked")
    for item in command.run(service.list_all):
        revoked = item.revoked_at.isoformat(timespec="seconds") if item.revoked_at else ""
        table.add_row(str(item.id), item.name, f"{item.hint}…", item.created_at.isoformat(timespec="seconds"), revoked)
    Console().print(table)


@key.command()
@click.argument("key_id", type=click.IntRange(1, 2**31 - 1))
def revoke(key_id: int) -> None:
    """Refuse the key KEY_ID from now on."""
    command.run(lambda database: service.revoke(database, key_id))
    click.echo(f"key {key_id} is revoked")
