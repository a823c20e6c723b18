"""One run of wrk, and what it counted."""

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.macro.cores import pinned
from benchmarks.macro.count import Count

SCRIPT: Final = Path(__file__).with_name("wrk.lua")
TIMEOUT_S: Final = 5


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is to do."""

    codes: Path
    connections: int
    is_keep_alive: bool


def run(load: Load, port: int, seconds: int, core: int) -> Count:
    """Load a server; raises BenchmarkError for any answer but 2xx and 3xx and for any socket error."""
    arguments = [f"--connections={load.connections}", f"--duration={seconds}s", f"--timeout={TIMEOUT_S}s"]
    if not load.is_keep_alive:
        arguments += ["--header", "Connection: close"]
    command = ["wrk", "--threads=1", *arguments, f"--script={SCRIPT}", f"http://127.0.0.1:{port}", "--"]
    before = _children_cpu_us()
    ended = subprocess.run(pinned(core, [*command, str(load.codes)]), capture_output=True, text=True, check=False)
    cpu_us = _children_cpu_us() - before
    if ended.returncode != 0:
        raise BenchmarkError(f"wrk ended with code {ended.returncode}: {ended.stderr.strip()}")
    return _read(ended.stdout, cpu_us)


def _read(output: str, cpu_us: int) -> Count:
    lines = [line for line in output.splitlines() if line.startswith("JSON ")]
    if len(lines) != 1:
        raise BenchmarkError(f"wrk printed no summary: {output!r}")
    counted = json.loads(lines[0].removeprefix("JSON "))
    errors = {kind: count for kind, count in counted["errors"].items() if count}
    if errors or not counted["requests"]:
        raise BenchmarkError(f"wrk had {counted['requests']} answers and these errors: {errors or 'none'}")
    return Count(
        requests=counted["requests"],
        seconds=counted["duration_us"] / 1e6,
        bytes=counted["bytes"],
        p50_us=counted["p50_us"],
        p99_us=counted["p99_us"],
        load_cpu_us=cpu_us,
    )


def _children_cpu_us() -> int:
    """CPU time of the children that were waited for: between two calls, that of one run of wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e6)
