"""What an edge has shipped, for its metrics."""

from dataclasses import dataclass, fields
from typing import Final, Literal

Kind = Literal["counter", "gauge"]

HELP: Final[dict[str, tuple[str, Kind, str]]] = {
    "is_active": ("shipper_active", "gauge", "Whether this process ships the clicks of its directory."),
    "failures": ("shipper_failures_total", "counter", "Times that shipping was begun anew after a failure."),
    "backlog_bytes": ("backlog_bytes", "gauge", "Bytes of sealed frames that are not known to be stored."),
    "oldest_since_s": ("oldest_seconds", "gauge", "Age of the oldest click that is not known to be stored."),
    "in_flight": ("frames_in_flight", "gauge", "Frames in streams that are not acknowledged."),
    "sent": ("frames_shipped_total", "counter", "Frames put on a stream, each time."),
    "resent": ("frames_resent_total", "counter", "Frames to be sent again: their shard or their entry was gone."),
    "acknowledged": ("frames_acknowledged_total", "counter", "Frames that control has stored."),
    "set_aside": ("set_aside_total", "counter", "Files of clicks set aside for a person to look at."),
    "retired": ("segments_retired_total", "counter", "Segments deleted, all of their frames being stored."),
    "waits": ("stream_waits_total", "counter", "Times that a stream was full."),
    "plain_bytes": ("frame_bytes_total", "counter", "Bytes of the frames put on a stream, before compression."),
    "packed_bytes": ("frame_packed_bytes_total", "counter", "The same bytes as they were sent."),
}


@dataclass(slots=True)
class Shipping:
    """Counted since the process started; gauges are as the shipper left them last."""

    is_active: int = 0
    failures: int = 0
    backlog_bytes: int = 0
    oldest_since_s: int = 0  # seconds since 1970; 0: there is none
    in_flight: int = 0
    sent: int = 0
    resent: int = 0
    acknowledged: int = 0
    set_aside: int = 0
    retired: int = 0
    waits: int = 0
    plain_bytes: int = 0
    packed_bytes: int = 0

    def text(self, now_s: int) -> str:
        """Prometheus text, at an instant of the wall clock."""
        lines = []
        for field in fields(self):
            name, kind, text = HELP[field.name]
            lines += [f"# HELP pointsman_edge_click_{name} {text}", f"# TYPE pointsman_edge_click_{name} {kind}"]
            value = getattr(self, field.name)
            if field.name == "oldest_since_s":
                value = max(0, now_s - value) if value else 0
            lines.append(f"pointsman_edge_click_{name} {value}")
        return "\n".join(lines) + "\n"
