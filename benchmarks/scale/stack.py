"""The stack that is measured: `pointsman dev`, for itself alone."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from benchmarks import BenchmarkError
from benchmarks.processes import Command, check_alive, free_port, running, variables

SOURCE: Final = Path(__file__).parents[2] / "src"
START_S: Final = 90
# Small enough to be filled by a part of the links, so that what one weighs is the bound over their number.
CACHE_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack, by what its dev.json says."""

    postgres_dsn: str
    shard_urls: tuple[str, ...]
    edge_port: int
    edge_admin_port: int
    control_url: str
    api_key: str
    pids: Mapping[str, int]

    def run(self, *words: str) -> float:
        """Run a command of pointsman with its progress on this terminal; the seconds that it took."""
        settings = {
            "PYTHONPATH": str(SOURCE),
            "POINTSMAN_DATABASE_URL": self.postgres_dsn,
            "POINTSMAN_SHORT_URL": f"http://127.0.0.1:{self.edge_port}",
        }
        command = Command([sys.executable, "-m", "control", *words], settings)
        started = time.monotonic()
        ended = subprocess.run(command.arguments, env=variables(command), check=False)
        if ended.returncode != 0:
            raise BenchmarkError(f"`pointsman {' '.join(words)}` ended with code {ended.returncode}")
        return time.monotonic() - started


@contextlib.contextmanager
def running_stack(directory: Path, added: Mapping[str, str] = MappingProxyType({})) -> Iterator[Stack]:
    """A stack with empty stores, ready, as long as the block lasts; `added` are more settings."""
    edge_port, admin_port = free_port(), free_port()
    settings = {
        "PYTHONPATH": str(SOURCE),
        "POINTSMAN_DATA": str(directory / "data"),
        "POINTSMAN_CONTROL_PORT": str(free_port()),
        "POINTSMAN_EDGE_PORT": str(edge_port),
        "POINTSMAN_EDGE_ADMIN_PORT": str(admin_port),
        "POINTSMAN_EDGE_WORKERS": "1",
        "POINTSMAN_EDGE_CACHE_BYTES": str(CACHE_BYTES),
        **added,
    }
    log = directory / "stack.log"
    with running(Command([sys.executable, "-m", "control", "dev"], settings), log) as process:
        document = _wait(directory / "data" / "dev.json", process, log)
        urls = tuple(shard["url"] for shard in document["shards"])
        yield Stack(
            document["postgres_dsn"],
            urls,
            edge_port,
            admin_port,
            document["control_url"],
            document["api_key"],
            document["pids"],
        )
        check_alive(process, log)


def _wait(file: Path, process: "subprocess.Popen[bytes]", log: Path) -> dict[str, Any]:
    """The content of dev.json, which is there once everything is ready."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        check_alive(process, log)
        if file.exists():
            document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return document
        time.sleep(0.1)
    raise BenchmarkError(f"the stack was not ready within {START_S} s:{os.linesep}{log.read_text(encoding='utf-8')}")
