"""What a worker's heartbeats say of the whole worker."""

from edge._counters import TIERS, Counters


def vitals(counters: Counters) -> dict[str, int]:
    """Fields of `wire.heartbeat.Heartbeat`."""
    return {
        "started_ms": counters.get("started_ms"),
        "requests": sum(counters.get(f"tier_{tier}") for tier in TIERS),
        "hits": counters.get("tier_l1"),
        "samples": counters.get("samples"),
        "sample_differences": counters.get("sample_differences"),
        "fallbacks": counters.get("fallbacks"),
        "links": counters.get("l1_link_entries"),
        "memory_bytes": counters.get("memory_bytes"),
        "lag_us": counters.get("loop_lag_us_max"),
    }
