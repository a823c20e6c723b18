"""pointsman link …"""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from control import command
from control.db import Database
from control.errors import Error
from control.links import bulk
from control.links.model import NewLink
from control.links.service import Links
from control.progress import progress_bar
from control.projection.rebuild import rebuild
from control.tags import model as tag_model

LIST_LENGTH: Final = 20
_TAGS: Final = click.option("--tag", "tags", multiple=True, help="A tag of the link; may be given several times.")


@click.group()
def link() -> None:
    """Create, show, list and import links."""


@link.command()
@click.argument("target")
@click.option("--code", help="The code; without it, one is generated.")
@click.option("--cache-max-age-s", type=int, help="How long browsers and shared caches may keep the redirect.")
@_TAGS
def create(target: str, code: str | None, cache_max_age_s: int | None, tags: tuple[str, ...]) -> None:
    """Create a link to TARGET and print its short URL."""
    new = NewLink(target=target, code=code, cache_max_age_s=cache_max_age_s, tags=list(tags))
    change = command.run(lambda database: _links(database).create(new))
    click.echo(change.view.short_url)


@link.command()
@click.argument("code")
def get(code: str) -> None:
    """Show the link at CODE as JSON."""
    view = command.run(lambda database: _links(database).get(None, code))
    click.echo(msgspec.json.format(msgspec.json.encode(view)).decode())


@link.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=LIST_LENGTH, show_default=True)
@click.option("--tag", help="Only links that have this tag.")
def list_links(limit: int, tag: str | None) -> None:
    """List the newest links."""
    table = Table("short URL", "target", "status", "kept for", "tags", "version")
    for item in command.run(lambda database: _links(database).page(None, limit, tag)):
        kept_for = "" if item.cache_max_age_s is None else f"{item.cache_max_age_s} s"
        tags = escape(", ".join(item.tags))
        table.add_row(item.short_url, item.target, str(item.status), kept_for, tags, str(item.version))
    Console().print(table)


@link.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_TAGS
def import_links(file: Path, tags: tuple[str, ...]) -> None:
    """Import links from FILE, a CSV of code,target[,cache_max_age_s] without a header.

    All of it is checked before any of it is stored. Links that exist are left alone and counted. Tags are given to
    all that are created. Redirects go on meanwhile.
    """
    imported = bulk.Imported(tag_model.parse_all(tags))
    result = command.run(lambda database: _import(database, file, imported))
    click.echo(f"{result.created} links created, {result.skipped} codes were taken")
    try:
        command.run(bulk.analyze)
    except Error as error:
        click.echo(f"PostgreSQL's statistics of links are old until autovacuum renews them: {error.message}", err=True)


async def _import(database: Database, file: Path, imported: bulk.Imported) -> bulk.Imported:
    hosts = await bulk.read_hosts(database)
    with progress_bar() as progress, TemporaryFile("w+", encoding="ascii") as checked:
        checking = progress.add_task("checking", total=None)
        count = bulk.check(file, hosts, checked, lambda done: progress.advance(checking, done))
        progress.update(checking, total=count, completed=count)
        loading, projecting = progress.add_task("storing", total=count), progress.add_task("projecting", total=None)

        async def load() -> None:
            await bulk.load(database, checked, imported, lambda done: progress.advance(loading, done))

        if await rebuild(database, lambda done: progress.advance(projecting, done), load):
            raise Error("internal", "some links cannot be projected")
        progress.update(projecting, total=progress.tasks[projecting].completed)
    return imported


def _links(database: Database) -> Links:
    """The service, without a projector to wake: the one of `pointsman control` hears of it by NOTIFY."""
    return Links(database, lambda: None)
