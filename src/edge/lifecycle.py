"""What happened in the life of an edge's processes, for its metrics."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

Result = Literal["completed", "failed", "refused"]
RESULTS: Final[tuple[Result, ...]] = ("completed", "failed", "refused")


@dataclass(slots=True)
class Lifecycle:
    """Counted since the supervisor started. `rolls` by how they ended: refused ones touched no worker."""

    starts: int = 0
    crashes: int = 0
    rolls: dict[Result, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    last_roll: Literal[Result, "none", "running"] = "none"

    def end_roll(self, result: Result) -> None:
        """Note how a roll ended."""
        self.rolls[result] += 1
        self.last_roll = result

    def text(self, expiries: Iterable[tuple[str, int]]) -> str:
        """Prometheus text; `expiries` are the certificates shown and the seconds until each expires."""
        lines = [
            *_head("worker_crashes_total", "counter", "Worker processes that ended unasked."),
            f"pointsman_edge_worker_crashes_total {self.crashes}",
            *_head("rolls_total", "counter", "Rolling restarts by how they ended."),
            *(f'pointsman_edge_rolls_total{{result="{result}"}} {self.rolls[result]}' for result in RESULTS),
            *_head("certificate_expires_in_seconds", "gauge", "Until the certificate expires; negative after that."),
            *(f'pointsman_edge_certificate_expires_in_seconds{{certificate="{name}"}} {s}' for name, s in expiries),
        ]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP pointsman_edge_{name} {text}", f"# TYPE pointsman_edge_{name} {kind}"
