"""Counters, gauges and histograms in Prometheus' text format; labels are fixed sets, never user input."""

from bisect import bisect_left
from collections.abc import Container
from typing import Final

Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BATCH_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
LAG_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)


class Value:
    """A counter (only `add`) or a gauge (`set`), by labels."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        self.name = name
        self._head = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        self._values: dict[Labels, float] = {}

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count."""
        key = tuple(labels.items())
        self._values[key] = self._values.get(key, 0) + amount

    def set(self, value: float, **labels: str) -> None:
        """Replace the value."""
        self._values[tuple(labels.items())] = value

    def keep(self, label: str, names: Container[str]) -> None:
        """Drop the values whose label is none of `names`: what they are of is not there any more."""
        self._values = {key: value for key, value in self._values.items() if dict(key).get(label) in names}

    def lines(self) -> list[str]:
        """The text of this metric."""
        return self._head + [f"{self.name}{_labels(key)} {value:.15g}" for key, value in self._values.items()]


class Histogram:
    """Observations in fixed buckets."""

    def __init__(self, name: str, text: str, buckets: tuple[float, ...]) -> None:
        self.name = name
        self._head = [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def lines(self) -> list[str]:
        """The text of this metric."""
        lines = list(self._head)
        total = 0
        for bound, count in zip((*self._buckets, float("inf")), self._counts, strict=True):
            total += count
            label = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'{self.name}_bucket{{le="{label}"}} {total}')
        return [*lines, f"{self.name}_sum {self._sum:.15g}", f"{self.name}_count {total}"]


class Group:
    """Metrics, each an attribute, or groups of them."""

    def lines(self) -> list[str]:
        """The text of these metrics."""
        return [line for metric in vars(self).values() for line in metric.lines()]


class ClickMetrics(Group):
    """What comes over the shards' streams, and what becomes of it."""

    def __init__(self) -> None:
        self.stored = Value("pointsman_clicks_stored_total", "counter", "Clicks of links that were counted.")
        self.unknown = Value("pointsman_clicks_unknown_stored_total", "counter", "Answers to unknown codes, counted.")
        self.frames = Value(
            "pointsman_click_frames_total", "counter", "Frames: stored, or a duplicate of a stored one."
        )
        self.reports = Value("pointsman_click_reports_total", "counter", "Reports of writers.")
        self.dead = Value("pointsman_click_dead_frames_total", "counter", "What could not be counted, by reason.")
        self.evicted = Value(
            "pointsman_click_dead_frames_evicted_total", "counter", "Dead frames that were dropped for room."
        )
        self.dead_kept = Value("pointsman_click_dead_frames", "gauge", "Dead frames that are kept, by reason.")
        self.claimed = Value("pointsman_click_claimed_total", "counter", "Entries taken over from another consumer.")
        self.retries = Value(
            "pointsman_click_batch_retries_total", "counter", "Batches prepared anew: another consumer was quicker."
        )
        self.batch_seconds = Histogram(
            "pointsman_click_batch_seconds", "From a batch's last entry to its acknowledgement.", BATCH_BUCKETS_S
        )
        self.lag_frames = Value("pointsman_click_lag_frames", "gauge", "Entries in a shard's stream, by shard.")
        self.lag_bytes = Value("pointsman_click_lag_bytes", "gauge", "Memory of a shard's stream, by shard.")
        self.lag_seconds = Value("pointsman_click_lag_seconds", "gauge", "Age of the oldest entry, by shard.")
        self.pending = Value("pointsman_click_pending_frames", "gauge", "Entries that consumers have, by shard.")


class AuditMetrics(Group):
    """What the audit does and finds; what this process has audited, but for the gauges."""

    def __init__(self) -> None:
        self.compared = Value("pointsman_audit_compared_total", "counter", "Records compared with their shards.")
        self.keys = Value("pointsman_audit_keys_total", "counter", "Keys of shards that were looked through.")
        self.skipped = Value(
            "pointsman_audit_skipped_total", "counter", "Records that could not be compared, by shard."
        )
        self.drift = Value("pointsman_audit_drift_total", "counter", "What shards hold wrongly, by shard and kind.")
        self.repaired = Value("pointsman_audit_repaired_total", "counter", "What of it was repaired, by shard.")
        self.age = Value("pointsman_audit_age_seconds", "gauge", "Since when no pass of the audit has been complete.")
        self.progress = Value("pointsman_audit_progress", "gauge", "How far the pass under way is, of 0 to 1.")


class Metrics(Group):
    """Every metric of the control plane."""

    def __init__(self) -> None:
        self.requests = Value("pointsman_control_requests_total", "counter", "API answers by status.")
        self.problems = Value("pointsman_control_problems_total", "counter", "Problems answered, by code.")
        self.projected = Value("pointsman_projected_total", "counter", "Link versions written to shards.")
        self.parked = Value("pointsman_outbox_parked_total", "counter", "Outbox rows sent to wait for their shard.")
        self.set_aside = Value("pointsman_outbox_set_aside_total", "counter", "Outbox rows that cannot be projected.")
        self.lag = Histogram("pointsman_projection_lag_seconds", "From a commit to its write to Redis.", LAG_BUCKETS_S)
        self.outbox = Value("pointsman_outbox_rows", "gauge", "Outbox rows by state, counted up to 10,000.")
        self.outbox_oldest = Value("pointsman_outbox_oldest_seconds", "gauge", "Age of the oldest row to be projected.")
        self.shard_complete = Value(
            "pointsman_shard_complete", "gauge", "1 if the shard holds every link that it should, by shard."
        )
        self.database_up = Value("pointsman_database_up", "gauge", "1 if PostgreSQL answered this request.")
        self.edges = Value("pointsman_edges_live", "gauge", "Live edge workers, by shard.")
        self.edges_lag = Value(
            "pointsman_edges_lag_seconds", "gauge", "From a probe's write to Redis to the last edge's word, by shard."
        )
        self.streams = Value("pointsman_control_streams", "gauge", "Streamed answers under way, by route.")
        self.tail_skipped = Value(
            "pointsman_click_tail_skipped_total",
            "counter",
            "Clicks that followers of the tail were not shown, by reason.",
        )
        self.agents_read = Value(
            "pointsman_click_agents_read_total", "counter", "User-Agents of clicks that were read."
        )
        self.agents_unread = Value(
            "pointsman_click_agents_unread_total", "counter", "Clicks whose User-Agent was one too many for its batch."
        )
        self.values_dropped = Value(
            "pointsman_click_values_dropped_total", "counter", "Values counted as unknown, for too many in one batch."
        )
        self.geo_loaded = Value("pointsman_geo_loaded", "gauge", "1 if a database of places is in use.")
        self.geo_built = Value(
            "pointsman_geo_built_seconds", "gauge", "When its maker built it, seconds since 1970; 0 without one."
        )
        self.geo_refusals = Value(
            "pointsman_geo_refusals_total", "counter", "Times that the file of places could not be taken."
        )
        self.move_under_way = Value("pointsman_move_under_way", "gauge", "1 while links are being moved.")
        self.move_progress = Value("pointsman_move_progress", "gauge", "How far the move under way is, of 0 to 1.")
        self.move_waits = Value(
            "pointsman_move_waits_seconds", "gauge", "For how long the move under way has been waiting for something."
        )
        self.move_leftovers = Value(
            "pointsman_move_leftovers", "gauge", "Links that moves could not remove, or not yet, from where they were."
        )
        self.moves_ended = Value(
            "pointsman_moves_ended_total", "counter", "Moves that this process has ended, by phase."
        )
        self.audit = AuditMetrics()
        self.clicks = ClickMetrics()
        self.task_failures = Value("pointsman_task_failures", "gauge", "Failures in a row of a background task.")

    def text(self) -> str:
        """What /metrics answers."""
        return "\n".join(self.lines()) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}"
