"""Pointsman's edge with one worker, from L1 or, with an L1 too small to ever hit, from Redis."""

import sys
from pathlib import Path
from typing import Final

from benchmarks.macro.rivals.rival import Rival, Stage
from benchmarks.processes import Command, free_port

SOURCE: Final = Path(__file__).parents[3] / "src"
CACHE_BYTES_LEAST: Final = 4096  # some forty links: wrk comes back to each after 50,000 others


def _command(stage: Stage, settings: dict[str, str]) -> Command:
    environment = {
        "PYTHONPATH": str(SOURCE),
        "POINTSMAN_EDGE_PORT": str(stage.port),
        "POINTSMAN_EDGE_ADMIN_PORT": str(free_port()),
        "POINTSMAN_EDGE_WORKERS": "1",
        "POINTSMAN_EDGE_SEEDS": f"redis://127.0.0.1:{stage.redis_port}",
        "POINTSMAN_EDGE_STATE_DIR": str(stage.directory),
        "POINTSMAN_EDGE_ID": "benchmark",
    }
    return Command([sys.executable, "-m", "edge"], environment | settings)


def _from_l1(stage: Stage) -> Command:
    return _command(stage, {})


def _from_redis(stage: Stage) -> Command:
    return _command(stage, {"POINTSMAN_EDGE_CACHE_BYTES": str(CACHE_BYTES_LEAST)})


FROM_L1 = Rival(name="edge", title="Pointsman, answers from L1", source="memory", command=_from_l1)
FROM_REDIS = Rival(name="edge-redis", title="Pointsman, each answer from Redis", source="redis", command=_from_redis)
