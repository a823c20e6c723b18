"""The floor: what the kernel alone costs. See floor.c; compiled when it is started."""

import subprocess
from pathlib import Path
from typing import Final

from benchmarks.environment import which
from benchmarks.macro.rivals.rival import Rival, Stage, location_of_all
from benchmarks.processes import Command

SOURCE: Final = Path(__file__).with_name("floor.c")
LOCATION: Final = "https://www.example.com/articles/12345/a-title-of-usual-length?ref=short"


def _command(stage: Stage) -> Command:
    program = stage.directory / "floor"
    subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), f'-DLOCATION="{LOCATION}"', str(SOURCE)], check=True)
    return Command([str(program), str(stage.port), "keep-alive" if stage.is_keep_alive else "close"])


def _missing() -> str:
    return "" if which("cc") else "no C compiler: apt-get install gcc"


FLOOR = Rival(
    name="floor",
    title="bare epoll loop in C, fixed bytes, no parsing",
    source="memory",
    command=_command,
    missing=_missing,
    location=location_of_all(LOCATION),
)
