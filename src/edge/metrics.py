"""Prometheus text from the workers' counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge._counters import STATUSES, TIERS


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: each series is (labels, counter). A gauge that must not be added up is shown per worker."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    series: tuple[tuple[str, str], ...]
    is_per_worker: bool = False


def _one(name: str, kind: Literal["counter", "gauge"], text: str, counter: str, is_per_worker: bool = False) -> Metric:
    return Metric(f"pointsman_edge_{name}", kind, text, (("", counter),), is_per_worker)


METRICS: Final = (
    Metric(
        "pointsman_edge_answers_total",
        "counter",
        "Answers by HTTP status.",
        tuple((f'status="{status}"', f"answers_{status}") for status in STATUSES),
    ),
    Metric(
        "pointsman_edge_answers_by_tier_total",
        "counter",
        "Answers by where they came from: l1, shard, origin, stale, or none where no look-up was needed or possible.",
        tuple((f'tier="{tier}"', f"tier_{tier}") for tier in TIERS),
    ),
    _one("connections_opened_total", "counter", "Client connections accepted.", "connections_opened"),
    _one("connections_closed_total", "counter", "Client connections closed.", "connections_closed"),
    Metric(
        "pointsman_edge_l1_bytes",
        "gauge",
        "Bytes of L1 in use, of its bound.",
        (('kind="link"', "l1_link_bytes"), ('kind="absence"', "l1_absence_bytes")),
    ),
    Metric(
        "pointsman_edge_l1_entries",
        "gauge",
        "Entries in L1.",
        (('kind="link"', "l1_link_entries"), ('kind="absence"', "l1_absence_entries")),
    ),
    Metric(
        "pointsman_edge_l1_evictions_total",
        "counter",
        "Entries dropped from L1 for room.",
        (('kind="link"', "l1_link_evictions"), ('kind="absence"', "l1_absence_evictions")),
    ),
    _one("invalidations_total", "counter", "Changed keys pushed by the shards.", "invalidations"),
    _one("shard_connects_total", "counter", "Connections opened to shards.", "shard_connects"),
    _one("shard_distrusts_total", "counter", "Times that all entries of a shard were distrusted.", "shard_distrusts"),
    _one("shard_timeouts_total", "counter", "Look-ups and pings of shards that were overdue.", "shard_timeouts"),
    _one(
        "shard_doubtful_replies_total",
        "counter",
        "Replies of shards that their fence made doubtful.",
        "shard_doubtful_replies",
    ),
    _one("origin_lookups_total", "counter", "Look-ups sent to PostgreSQL.", "origin_lookups"),
    _one("origin_failures_total", "counter", "Failures to reach or read PostgreSQL.", "origin_failures"),
    _one("origin_rejections_total", "counter", "Look-ups for which PostgreSQL's queue was full.", "origin_rejections"),
    _one("record_failures_total", "counter", "Link records that this build cannot read.", "record_failures"),
    _one("flights_joined_total", "counter", "Requests that joined a look-up already under way.", "flights_joined"),
    _one("flights_rejected_total", "counter", "Requests refused for too many look-ups under way.", "flights_rejected"),
    _one("connections_open", "gauge", "Client connections open now.", "connections_open"),
    _one("connections_cut_total", "counter", "Connections still open when draining had to end.", "connections_cut"),
    _one("memory_bytes", "gauge", "Memory of the worker's process (RSS).", "memory_bytes", is_per_worker=True),
    _one(
        "loop_lag_microseconds_total", "counter", "By how much the loop's timer came too late, summed.", "loop_lag_us"
    ),
    _one("loop_lags_total", "counter", "Times that the loop's timer was measured.", "loop_lags"),
    _one(
        "loop_lag_max_microseconds",
        "gauge",
        "The largest such lag within the last 15 to 30 seconds.",
        "loop_lag_us_max",
        is_per_worker=True,
    ),
    Metric(
        "pointsman_edge_tls_handshakes_total",
        "counter",
        "TLS handshakes that were completed, by whether they resumed a session.",
        (('kind="full"', "tls_full"), ('kind="resumed"', "tls_resumed")),
    ),
    Metric(
        "pointsman_edge_tls_failures_total",
        "counter",
        "TLS handshakes that were not: refused by one side, or abandoned (the client left or was too slow).",
        (('reason="refused"', "tls_refused"), ('reason="abandoned"', "tls_abandoned")),
    ),
    _one("epoch", "gauge", "Epoch of the topology that the worker holds.", "epoch", is_per_worker=True),
    _one("shards_known", "gauge", "Shards in the worker's topology.", "shards_known", is_per_worker=True),
    _one("shards_trusted", "gauge", "Shards whose pushes the worker trusts.", "shards_trusted", is_per_worker=True),
    _one("origin_reachable", "gauge", "Whether PostgreSQL can be asked.", "is_origin_reachable", is_per_worker=True),
    _one("ready", "gauge", "Whether the worker can answer any link.", "is_ready", is_per_worker=True),
)

WORKER_STARTS: Final = Metric(
    "pointsman_edge_worker_starts_total", "counter", "Worker processes started by the supervisor.", ()
)


def render(workers: Sequence[dict[str, int]], starts: int) -> str:
    """The page of all metrics; `workers` holds each worker's counters by name."""
    lines = [line for metric in METRICS for line in _render(metric, workers)]
    name = WORKER_STARTS.name
    lines += [f"# HELP {name} {WORKER_STARTS.help}", f"# TYPE {name} {WORKER_STARTS.kind}", f"{name} {starts}"]
    return "\n".join(lines) + "\n"


def _render(metric: Metric, workers: Sequence[dict[str, int]]) -> list[str]:
    lines = [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
    for labels, counter in metric.series:
        if metric.is_per_worker:
            lines += [f'{metric.name}{{worker="{slot}"}} {values[counter]}' for slot, values in enumerate(workers)]
        else:
            suffix = f"{{{labels}}}" if labels else ""
            lines.append(f"{metric.name}{suffix} {sum(values[counter] for values in workers)}")
    return lines
