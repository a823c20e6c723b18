"""Shards and edge workers as people and programs are shown them."""

from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

_LAST_MS: Final = int(datetime.max.replace(tzinfo=UTC).timestamp() * 1000) - 1
# unadopted: no fence holds for the process that answers; its keeper has not looked at it yet.
ShardState = Literal["complete", "filling", "joining", "unadopted", "unreachable"]


class ShardView(msgspec.Struct, frozen=True, kw_only=True):
    """A shard of the topology in force. What only the shard can say is null when it does not answer.

    `share` and `second_share` are of the hash space, on the ring that is read and on the second one. `epoch` is that of
    its fence; `reason`, why it is unreachable. `links` is the number of its keys (DBSIZE): links, tombstones, and a few
    keys of Pointsman's own. `sequence` is pm:seq, `lag` how many changes wait for the shard (counted up to 10,000),
    `edges` how many live workers read it, null as long as they are not all known; `click_frames` the length of its
    stream of clicks.
    """

    id: str
    url: str
    replicas: list[str]
    weight: float
    second_weight: float
    share: float
    second_share: float
    place: str
    state: ShardState
    reason: str | None
    epoch: int | None
    run_id: str | None
    links: int | None
    memory_bytes: int | None
    latency_ms: float | None
    sequence: int | None
    lag: int
    edges: int | None
    click_frames: int | None


class EdgeShardView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker at one shard: the highest pm:seq that it has applied, how many it is behind (null if the shard does not
    answer), and the mean time of a look-up, 0 if it had none since the heartbeat before."""

    id: str
    epoch: int
    sequence: int
    lag: int | None
    lookup_us: int
    seen_at: datetime


class EdgeView(msgspec.Struct, frozen=True, kw_only=True):
    """A live edge worker. Since its start: `requests`, `hits` of its memory, `samples` compared with the second ring
    and how many of them differed, `fallbacks` that only the second ring had. Now: `requests_s`, requests a second since
    the heartbeat before, null as long as there was none; `links` that it holds, the memory of
    its process, the lag of its loop. `is_current`: it answers by the topology in force."""

    id: str
    build: str
    started_at: datetime | None
    seen_at: datetime
    epoch: int
    is_current: bool
    requests: int
    requests_s: float | None
    hits: int
    hit_ratio: float | None
    links: int
    memory_bytes: int
    lag_us: int
    samples: int
    sample_differences: int
    fallbacks: int
    shards: list[EdgeShardView]


def instant(milliseconds: int) -> datetime:
    """A time of the wall clock."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def instant_of_other(milliseconds: int) -> datetime | None:
    """A time by another machine's clock; None for 0, which says nothing, and for what no calendar has."""
    return instant(milliseconds) if 0 < milliseconds <= _LAST_MS else None
