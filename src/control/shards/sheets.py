"""What the commands about shards and edges print; pure."""

from collections.abc import Sequence
from datetime import datetime

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from control.shards.view import EdgeView, ShardView

_NOTHING = "-"


def of_shards(shards: Sequence[ShardView]) -> Table:
    """A row for each shard. While links move, weight and share are those of both rings."""
    table = Table(
        "shard", "state", "weight", "share", "links", "memory", "ping", "lag", "edges", "clicks", "epoch", "url"
    )
    for shard in shards:
        is_moving = any(other.second_weight for other in shards)
        weight, share = f"{shard.weight:g}", f"{shard.share:.2%}"
        if is_moving:
            weight, share = f"{weight} | {shard.second_weight:g}", f"{share} | {shard.second_share:.2%}"
        table.add_row(
            Text(shard.id),
            Text(shard.state, style="" if shard.state == "complete" else "yellow"),
            weight,
            share,
            _number(shard.links),
            _NOTHING if shard.memory_bytes is None else decimal(shard.memory_bytes),
            _NOTHING if shard.latency_ms is None else f"{shard.latency_ms:.2f} ms",
            str(shard.lag),
            _number(shard.edges),
            _number(shard.click_frames),
            _number(shard.epoch),
            Text(shard.url),
        )
    return table


def of_edges(edges: Sequence[EdgeView]) -> Table:
    """A row for each worker, and what it has of each shard."""
    table = Table(
        "edge",
        "build",
        "started",
        "epoch",
        "requests",
        "a second",
        "hit ratio",
        "links",
        "memory",
        "loop lag",
        "differed",
        "shards",
    )
    for edge in edges:
        epoch = Text(str(edge.epoch)) if edge.is_current else Text(f"{edge.epoch} (old)", style="yellow")
        shards = [
            f"{shard.id}: {_NOTHING if shard.lag is None else shard.lag} behind, look-up {shard.lookup_us} µs"
            for shard in edge.shards
        ]
        table.add_row(
            Text(edge.id),
            Text(edge.build),
            moment(edge.started_at),
            epoch,
            f"{edge.requests:,}",
            _NOTHING if edge.requests_s is None else f"{edge.requests_s:,.1f}",
            _NOTHING if edge.hit_ratio is None else f"{edge.hit_ratio:.2%}",
            f"{edge.links:,}",
            decimal(edge.memory_bytes),
            f"{edge.lag_us} µs",
            f"{edge.sample_differences} of {edge.samples}, {edge.fallbacks} only at the old owner",
            Text("\n".join(shards)),
        )
    return table


def moment(instant: datetime | None) -> str:
    """An instant as tables show it."""
    return "" if instant is None else instant.strftime("%Y-%m-%d %H:%M:%SZ")


def _number(value: int | None) -> str:
    return _NOTHING if value is None else f"{value:,}"
