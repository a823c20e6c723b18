"""Granian with one worker on uvloop, and under it the least application that answers as the others do."""

import shutil
import sys
from pathlib import Path
from typing import Final

from benchmarks.macro.rivals.floor import LOCATION
from benchmarks.macro.rivals.least_rsgi import LOCATION_VARIABLE
from benchmarks.macro.rivals.rival import Rival, Stage, location_of_all
from benchmarks.processes import Command

APPLICATION: Final = Path(__file__).with_name("least_rsgi.py")
# One process that serves, its loop and its runtime in one thread each; HTTP/1 only, as wrk speaks nothing else.
OPTIONS: Final = ("--interface", "rsgi", "--workers", "1", "--loop", "uvloop", "--runtime-mode", "st", "--http", "1")
QUIET: Final = ("--no-ws", "--log-level", "warning", "--no-access-log", "--backlog", "4096")


def command(application: str, port: int, environment: dict[str, str]) -> Command:
    """Granian serving an application on a port of 127.0.0.1."""
    address = ("--host", "127.0.0.1", "--port", str(port))
    return Command([sys.executable, "-m", "granian", *OPTIONS, *QUIET, *address, application], environment)


def _least(stage: Stage) -> Command:
    # A copy: imported from here it would bring the whole package into the server.
    shutil.copy(APPLICATION, stage.directory)
    environment = {"PYTHONPATH": str(stage.directory), LOCATION_VARIABLE: LOCATION}
    return command(f"{APPLICATION.stem}:app", stage.port, environment)


LEAST_RSGI = Rival(
    name="granian-rsgi",
    title="Granian, the least RSGI application, fixed answer",
    source="memory",
    command=_least,
    location=location_of_all(LOCATION),
)
