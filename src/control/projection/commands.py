"""pointsman project"""

import click

from control import command
from control.db import Database
from control.progress import progress_bar
from control.projection import store
from control.projection.rebuild import rebuild


@click.command()
@click.option("--all", "is_all", is_flag=True, required=True, help="Every link, to every shard.")
def project(is_all: bool) -> None:
    """Write every link to its shard again. Redirects go on meanwhile."""
    faulty = command.run(_project)
    if faulty:
        raise click.ClickException(f"{faulty} links cannot be projected; they were not written by this build")


async def _project(database: Database) -> int:
    async with database.connection() as connection:
        total = await store.links_estimate(connection)
    with progress_bar() as progress:
        task = progress.add_task("projecting links", total=total or None)
        faulty = await rebuild(database, lambda count: progress.advance(task, count))
        progress.update(task, total=progress.tasks[task].completed)
    return faulty
