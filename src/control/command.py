"""How a command of the CLI gets its settings and its database."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from control import config
from control.config import ControlConfig
from control.db import Database, open_database

_T = TypeVar("_T")


def run(work: Callable[[Database], Awaitable[_T]]) -> _T:
    """Run a command's coroutine with a database that is closed afterwards."""
    return run_configured(lambda _, database: work(database))


def run_configured(work: Callable[[ControlConfig, Database], Awaitable[_T]]) -> _T:
    """The same for a command that needs the settings too."""
    settings = config.load(os.environ)

    async def with_database() -> _T:
        database = await open_database(settings.database_url)
        try:
            return await work(settings, database)
        finally:
            await database.close()

    return asyncio.run(with_database())
