"""The programs of the stack, given its settings and what is remembered. Pure: nothing is started here."""

import sys
from collections.abc import Mapping
from typing import Any, Final

from control.dev import redis
from control.dev.config import DevConfig
from control.dev.ports import LOOPBACK
from control.dev.postgres import Cluster
from control.dev.probe import answers_http
from control.dev.program import Program
from control.dev.state import SHARDS, Stack, State

DATABASE: Final = "pointsman"
EDGE_USER: Final = "pointsman_dev_edge"


def shards(state: State, stack: Stack) -> list[Program]:
    """The Redis servers."""
    return [redis.program(name, state.directory / name, stack.ports[name], state.log(name)) for name in SHARDS]


def shard_urls(stack: Stack) -> dict[str, str]:
    """The URL of each shard, by id."""
    return {name: redis.url(stack.ports[name]) for name in SHARDS}


def database_url(cluster: Cluster, stack: Stack) -> str:
    """Where control reads and writes."""
    return cluster.dsn(stack.ports["postgres"], DATABASE)


def origin_url(stack: Stack) -> str:
    """Where the edge reads: as a user that may select from one view."""
    return f"postgresql://{EDGE_USER}:{stack.edge_password}@{LOOPBACK}:{stack.ports['postgres']}/{DATABASE}"


def control(config: DevConfig, state: State, url: str, environ: Mapping[str, str]) -> Program:
    """The control plane."""
    return Program(
        name="control",
        command=(sys.executable, "-m", "control", "control"),
        log=state.log("control"),
        is_ready=lambda: answers_http(config.control_port, "/readyz"),
        environ={
            **environ,
            "POINTSMAN_DATABASE_URL": url,
            "POINTSMAN_CONTROL_HOST": LOOPBACK,
            "POINTSMAN_CONTROL_PORT": str(config.control_port),
            "POINTSMAN_SHORT_URL": edge_url(config),
        },
    )


def edge(config: DevConfig, state: State, stack: Stack, environ: Mapping[str, str]) -> Program:
    """The edge."""
    return Program(
        name="edge",
        command=(sys.executable, "-m", "edge"),
        log=state.log("edge"),
        is_ready=lambda: answers_http(config.edge_admin_port, "/readyz"),
        environ={
            **environ,
            "POINTSMAN_EDGE_HOST": LOOPBACK,
            "POINTSMAN_EDGE_PORT": str(config.edge_port),
            "POINTSMAN_EDGE_ADMIN_HOST": LOOPBACK,
            "POINTSMAN_EDGE_ADMIN_PORT": str(config.edge_admin_port),
            "POINTSMAN_EDGE_WORKERS": str(config.edge_workers),
            "POINTSMAN_EDGE_SEEDS": ",".join(shard_urls(stack).values()),
            "POINTSMAN_EDGE_ORIGIN_URL": origin_url(stack),
            "POINTSMAN_EDGE_STATE_DIR": str(state.directory / "edge"),
            "POINTSMAN_EDGE_ID": "dev",
        },
    )


def control_url(config: DevConfig) -> str:
    """The API's address."""
    return f"http://{LOOPBACK}:{config.control_port}"


def edge_url(config: DevConfig) -> str:
    """The base of short links."""
    return f"http://{LOOPBACK}:{config.edge_port}"


def document(config: DevConfig, stack: Stack, dsn: str, pids: dict[str, int]) -> dict[str, Any]:
    """The content of dev.json, on which tools outside rely."""
    return {
        "control_url": control_url(config),
        "edge_url": edge_url(config),
        "edge_admin_url": f"http://{LOOPBACK}:{config.edge_admin_port}",
        "api_key": stack.api_key,
        "postgres_dsn": dsn,
        "shards": [{"id": name, "url": url} for name, url in shard_urls(stack).items()],
        "pids": pids,
    }
