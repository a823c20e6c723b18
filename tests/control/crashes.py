"""Crashes of shards that lose the end of their log."""

import os
from pathlib import Path

from tests.stack.server import RedisServer


def log_of(server: RedisServer) -> Path:
    """The log that commands are appended to: one of many files from Redis 7 on, the only one before."""
    (log,) = [*server.directory.glob("appendonlydir/*.incr.aof"), *server.directory.glob("appendonly.aof")]
    return log


def log_size(server: RedisServer) -> int:
    """How far the log reaches now."""
    return log_of(server).stat().st_size


def crash(server: RedisServer, length: int) -> None:
    """Kill it and start it again with no more of its log than that."""
    server.kill()
    os.truncate(log_of(server), length)
    server.start()
