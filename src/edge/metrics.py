"""Prometheus text from the workers' counters.

Labels are of fixed sets, but for the ids of the topology's shards, of which there are at most 256.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge._counters import BOUNDS_MS, CLICK_DROPS, LIMITS, STATUSES, TIERS
from edge.breaker import State
from wire.topology import MODES

Kind = Literal["counter", "gauge", "histogram"]
Numbers = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: each series is (labels, counter). A gauge that must not be added up is shown per worker."""

    name: str
    kind: Kind
    help: str
    series: tuple[tuple[str, str], ...]
    is_per_worker: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker has counted: by name, and by shard and name."""

    counters: Numbers
    shards: Mapping[str, Numbers]


def _one(name: str, kind: Kind, text: str, counter: str, is_per_worker: bool = False) -> Metric:
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
        "Answers by where they came from: l1, shard, replica, origin, stale, or none where no look-up was needed or "
        "possible.",
        tuple((f'tier="{tier}"', f"tier_{tier}") for tier in TIERS),
    ),
    _one("connections_opened_total", "counter", "Client connections accepted.", "connections_opened"),
    _one("connections_closed_total", "counter", "Client connections closed.", "connections_closed"),
    _one("accept_failures_total", "counter", "Times that no descriptor was left for a client.", "accept_failures"),
    _one(
        "connection_failures_total", "counter", "Connections dropped for a defect of the edge.", "connection_failures"
    ),
    _one(
        "proxy_headers_refused_total",
        "counter",
        "Connections without a PROXY header to trust.",
        "proxy_headers_refused",
    ),
    Metric(
        "pointsman_edge_limits_total",
        "counter",
        "Times that a client met a limit.",
        tuple((f'limit="{limit}"', f"limit_{limit}") for limit in LIMITS),
    ),
    _one("unsent_bytes", "gauge", "Bytes of answers that clients do not take.", "unsent_bytes"),
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
    _one(
        "trust_refusals_total",
        "counter",
        "Proofs of a shard that renewed no trust, for its fence was unread or newer than the topology.",
        "trust_refusals",
    ),
    _one(
        "replica_lookups_total",
        "counter",
        "Links looked up at replicas, for their primary could not be asked.",
        "replica_lookups",
    ),
    _one(
        "replica_refusals_total",
        "counter",
        "Those of them for which the replica's word was too old or of another process.",
        "replica_refusals",
    ),
    _one("origin_lookups_total", "counter", "Look-ups sent to PostgreSQL.", "origin_lookups"),
    _one("origin_failures_total", "counter", "Failures to reach or read PostgreSQL.", "origin_failures"),
    _one("origin_rejections_total", "counter", "Look-ups for which PostgreSQL's queue was full.", "origin_rejections"),
    _one(
        "origin_timeouts_total",
        "counter",
        "Look-ups that PostgreSQL did not answer in time, in its queue or out of it.",
        "origin_timeouts",
    ),
    _one(
        "origin_lookup_seconds",
        "histogram",
        "From a look-up's place in PostgreSQL's queue to its end.",
        "origin_lookup",
    ),
    _one("record_failures_total", "counter", "Link records that this build cannot read.", "record_failures"),
    _one("flights_joined_total", "counter", "Requests that joined a look-up already under way.", "flights_joined"),
    _one("flights_rejected_total", "counter", "Requests refused for too many look-ups under way.", "flights_rejected"),
    _one(
        "budget_evictions_total",
        "counter",
        "Budgets of clients forgotten for room before they were full again.",
        "budget_evictions",
    ),
    _one("refreshes_total", "counter", "Entries looked up before their time in L1 ended.", "refreshes_started"),
    _one(
        "refreshes_rejected_total",
        "counter",
        "Entries that were not, for too many under way or because their shard cannot be asked.",
        "refreshes_rejected",
    ),
    _one(
        "flights_parked_total",
        "counter",
        "Look-ups that waited for a newer topology, or to hear from a shard again.",
        "flights_parked",
    ),
    _one("fallbacks_total", "counter", "Links that only their old owner had, after a cut-over.", "fallbacks"),
    _one("samples_total", "counter", "Links that both of their owners were asked for, before a cut-over.", "samples"),
    _one("sample_differences_total", "counter", "Those of which they said two things, twice.", "sample_differences"),
    _one("l1_audits_total", "counter", "Entries of L1 that were compared with their shard.", "l1_audits"),
    _one(
        "l1_drifts_total", "counter", "Those that differed though no push had said so; they were dropped.", "l1_drifts"
    ),
    _one("l1_walks_total", "counter", "Walks over L1 after a cut-over, begun.", "l1_walks"),
    _one("l1_walk_ended_total", "counter", "Entries of former owners that they ended.", "l1_walk_ended"),
    _one("l1_walk_left_bytes", "gauge", "Bytes of L1 that a walk has still to see.", "l1_walk_left_bytes"),
    Metric(
        "pointsman_edge_flights",
        "gauge",
        "Look-ups under way: of misses, and of entries before their time in L1 ends.",
        (('kind="miss"', "misses_under_way"), ('kind="refresh"', "refreshes_under_way")),
    ),
    _one("waiters", "gauge", "Requests that wait for a look-up.", "waiters"),
    _one("snapshot_writes_total", "counter", "Snapshots of L1 written.", "snapshot_writes"),
    _one("snapshot_failures_total", "counter", "Snapshots that could not be written or read.", "snapshot_failures"),
    _one("snapshot_bytes", "gauge", "Size of the last snapshots of L1.", "snapshot_file_bytes"),
    _one("snapshot_restored_entries", "gauge", "Entries that the workers began with.", "snapshot_restored"),
    Metric(
        "pointsman_edge_clicks_recorded_total",
        "counter",
        "Clicks written to a segment: of redirects, and of codes that do not exist.",
        (('kind="link"', "clicks_recorded"), ('kind="unknown"', "unknown_clicks_recorded")),
    ),
    Metric(
        "pointsman_edge_clicks_dropped_total",
        "counter",
        "Clicks of redirects that were not, by reason.",
        tuple((f'reason="{reason}"', f"clicks_dropped_{reason}") for reason in CLICK_DROPS),
    ),
    _one(
        "unknown_clicks_dropped_total",
        "counter",
        "Clicks of codes that do not exist that were not.",
        "unknown_clicks_dropped",
    ),
    _one("click_segments_total", "counter", "Segments made for clicks.", "click_segments"),
    _one(
        "click_failures_total",
        "counter",
        "Times that a segment or a ledger could not be made or synced.",
        "click_failures",
    ),
    _one(
        "click_directory_bytes",
        "gauge",
        "Bytes of all segments, as the worker last saw them.",
        "click_directory_bytes",
        is_per_worker=True,
    ),
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
    _one("worker_started_seconds", "gauge", "When the worker began, since 1970.", "started_ms", is_per_worker=True),
    Metric(
        "pointsman_edge_modes",
        "gauge",
        "Workers whose topology is in the mode.",
        tuple((f'mode="{mode}"', f"is_mode_{mode}") for mode in MODES),
    ),
    _one("epoch", "gauge", "Epoch of the topology that the worker holds.", "epoch", is_per_worker=True),
    _one(
        "epoch_acknowledged",
        "gauge",
        "Epoch up to which nothing older is answered, as heartbeats say.",
        "epoch_acknowledged",
        is_per_worker=True,
    ),
    _one("shards_known", "gauge", "Shards in the worker's topology.", "shards_known", is_per_worker=True),
    _one("shards_trusted", "gauge", "Shards whose pushes the worker trusts.", "shards_trusted", is_per_worker=True),
    _one("replicas_usable", "gauge", "Replicas that the worker can ask.", "replicas_usable", is_per_worker=True),
    _one("origin_reachable", "gauge", "Whether PostgreSQL can be asked.", "is_origin_reachable", is_per_worker=True),
    _one("ready", "gauge", "Whether the worker can answer any link.", "is_ready", is_per_worker=True),
)

WORKER_STARTS: Final = _one("worker_starts_total", "counter", "Worker processes started by the supervisor.", "starts")

# Of each shard of the topology, labelled with its id.
SHARD_METRICS: Final = (
    _one(
        "shard_lookup_seconds",
        "histogram",
        "From sending a look-up to its reply, of each batch; with those that nobody waited for any more.",
        "lookup",
    ),
    Metric(
        "pointsman_edge_shard_breakers",
        "gauge",
        "Workers whose breaker of the shard is in the state.",
        tuple((f'state="{state}"', f"is_breaker_{state}") for state in State),
    ),
    Metric(
        "pointsman_edge_shard_breaker_transitions_total",
        "counter",
        "Times that a worker's breaker of the shard came into the state.",
        tuple((f'to="{state}"', f"breaker_{state}_entries") for state in State),
    ),
    _one(
        "shard_proof_age_seconds",
        "gauge",
        "Since the sending of the last ping that the shard has answered, of the worker for which that is longest.",
        "proof_age_ms",
    ),
)


def render(workers: Sequence[Worker], starts: int, now_ms: int) -> str:
    """The page of all metrics at an instant of the monotonic clock."""
    total = _sum(worker.counters for worker in workers)
    lines = []
    for metric in METRICS:
        lines += _head(metric)
        if metric.is_per_worker:
            for slot, worker in enumerate(workers):
                lines += _samples(metric, worker.counters, f'worker="{slot}"')
        else:
            lines += _samples(metric, total)
    lines += [*_head(WORKER_STARTS), *_samples(WORKER_STARTS, {"starts": starts})]
    names = sorted({shard for worker in workers for shard in worker.shards})
    shards = {shard: _of_shard(shard, workers, now_ms) for shard in names}
    for metric in SHARD_METRICS:
        lines += _head(metric)
        for shard, numbers in shards.items():
            lines += _samples(metric, numbers, f'shard="{shard}"')
    return "\n".join(lines) + "\n"


def _of_shard(shard: str, workers: Sequence[Worker], now_ms: int) -> Numbers:
    """What all workers have counted of a shard."""
    rows = [worker.shards[shard] for worker in workers if shard in worker.shards]
    return {**_sum(rows), "proof_age_ms": max(max(0, now_ms - row["proved_ms"]) for row in rows)}


def _sum(rows: Iterable[Numbers]) -> Numbers:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    return total


def _head(metric: Metric) -> list[str]:
    return [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]


def _samples(metric: Metric, numbers: Numbers, label: str = "") -> Iterator[str]:
    for series_label, counter in metric.series:
        labels = ",".join(filter(None, (label, series_label)))
        if metric.kind == "histogram":
            yield from _buckets(metric.name, labels, counter, numbers)
        else:
            value = numbers[counter]
            shown = f"{value / 1000:.3f}" if counter.endswith("_ms") else value
            yield f"{metric.name}{_braced(labels)} {shown}"


def _buckets(name: str, labels: str, counter: str, numbers: Numbers) -> Iterator[str]:
    """A histogram's lines: Prometheus wants each bucket to hold the ones below it, and seconds."""
    count = 0
    for bound in BOUNDS_MS:
        count += numbers[f"{counter}_{bound:g}"]
        label = f'le="{bound / 1000:g}"'
        yield f"{name}_bucket{_braced(labels, label)} {count}"
    count += numbers[f"{counter}_inf"]
    last = 'le="+Inf"'
    yield f"{name}_bucket{_braced(labels, last)} {count}"
    yield f"{name}_sum{_braced(labels)} {numbers[f'{counter}_sum_us'] / 1_000_000:.6f}"
    yield f"{name}_count{_braced(labels)} {count}"


def _braced(*labels: str) -> str:
    """Labels as they stand behind a name: nothing if there are none."""
    inner = ",".join(filter(None, labels))
    return f"{{{inner}}}" if inner else ""
