"""Heartbeats of edge workers that are not there."""

from typing import Any

import redis

from tests.stack.server import RedisServer
from wire import heartbeat, keys
from wire.heartbeat import Heartbeat


def beat(servers: list[RedisServer], edge_id: str, *, expires_ms: int = 60_000, **members: Any) -> None:
    """Write a worker's heartbeat to each of the servers."""
    data = heartbeat.encode(Heartbeat(**{"edge_id": edge_id, "build": "test", "epoch": 1, "sequence": 0, **members}))
    for server in servers:
        with redis.Redis.from_url(server.url) as client:
            client.set(keys.edge_key(edge_id), data, px=expires_ms)
