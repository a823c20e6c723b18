"""Pointsman's edge with one worker: from L1, with clicks recorded or not; from Redis; with TLS; under Granian."""

import sys
from pathlib import Path
from typing import Final

from benchmarks.load import generator
from benchmarks.macro.rivals import certificate, granian
from benchmarks.macro.rivals.rival import Rival, Stage
from benchmarks.processes import Command, free_port

SOURCE: Final = Path(__file__).parents[3] / "src"
# Redis shares the load's core on a machine of two: what it is kept waiting for there is no fault of the edge's.
REPLY_TIMEOUT_MS: Final = 2000
CACHE_BYTES_LEAST: Final = 4096  # too small to ever hit: some forty links: each is asked for again after 50,000 others
RSGI_MODULE: Final = "edge.rsgi"


def settings(stage: Stage) -> dict[str, str]:
    """The environment of an edge with one worker."""
    return {
        "PYTHONPATH": str(SOURCE),
        "POINTSMAN_EDGE_PORT": str(stage.port),
        "POINTSMAN_EDGE_ADMIN_PORT": str(stage.admin_port),
        "POINTSMAN_EDGE_WORKERS": "1",
        "POINTSMAN_EDGE_SEEDS": f"redis://127.0.0.1:{stage.redis_port}",
        "POINTSMAN_EDGE_STATE_DIR": str(stage.directory),
        "POINTSMAN_EDGE_ID": "benchmark",
    }


def _command(stage: Stage, more: dict[str, str]) -> Command:
    return Command([sys.executable, "-m", "edge"], settings(stage) | more)


def _from_l1(stage: Stage) -> Command:
    return _command(stage, {})


def _without_clicks(stage: Stage) -> Command:
    return _command(stage, {"POINTSMAN_EDGE_CLICKS": "false"})


def _from_redis(stage: Stage) -> Command:
    return _command(
        stage,
        {
            "POINTSMAN_EDGE_CACHE_BYTES": str(CACHE_BYTES_LEAST),
            "POINTSMAN_EDGE_REPLY_TIMEOUT_MS": str(REPLY_TIMEOUT_MS),
        },
    )


def _with_tls(stage: Stage) -> Command:
    pairs = stage.directory / "tls"
    pairs.mkdir()
    certificate.write(pairs)
    plain_port = {"POINTSMAN_EDGE_PORT": str(free_port())}
    return _command(
        stage, plain_port | {"POINTSMAN_EDGE_TLS_PORT": str(stage.port), "POINTSMAN_EDGE_TLS_DIR": str(pairs)}
    )


def _under_granian(stage: Stage) -> Command:
    return granian.command(f"{RSGI_MODULE}:app", stage.port, settings(stage))


def _missing_tls() -> str:
    return certificate.missing() or generator.missing_tls()


FROM_L1 = Rival(name="edge", title="Pointsman, answers from L1", source="memory", command=_from_l1, has_clicks=True)
WITHOUT_CLICKS = Rival(
    name="edge-no-clicks",
    title="Pointsman, answers from L1, clicks not recorded",
    source="memory",
    command=_without_clicks,
)
FROM_REDIS = Rival(
    name="edge-redis",
    title="Pointsman, each answer from Redis",
    source="redis",
    command=_from_redis,
    has_clicks=True,
)
WITH_TLS = Rival(
    name="edge-tls",
    title="Pointsman, TLS, answers from L1",
    source="memory",
    command=_with_tls,
    missing=_missing_tls,
    is_tls=True,
    has_clicks=True,
)
UNDER_GRANIAN = Rival(
    name="edge-rsgi",
    title="Pointsman under Granian, answers from L1",
    source="memory",
    command=_under_granian,
    has_clicks=True,
)
