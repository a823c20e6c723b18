"""Medians and ratios of what was measured; no I/O."""

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

Runs = list[dict[str, float]]

OTHERS_SHARE_MAX: Final = 0.05  # of the server's core: what an idle Debian uses, with room
COMPARED: Final = {"cpu_us": "CPU per request", "p99_us": "p99 latency"}


@dataclass(frozen=True, slots=True)
class Ratio:
    """A number of one rival over another's: the median over the pairs of turns, the least, the most; the target."""

    what: str
    of: str
    to: str
    median: float
    least: float
    most: float
    target: float | None


def medians(runs: Runs) -> dict[str, float]:
    """Each number's median over the turns of a rival."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def ratios(scenario: dict[str, Any]) -> list[Ratio]:
    """The scenario's ratios. Turn n of one rival is divided by turn n of the other: they ran close together."""
    runs = {name: server["runs"] for name, server in scenario["servers"].items()}
    of, compared = scenario["of"], scenario["compared"]
    found = [(to, target) for to, target in scenario["against"].items() if {of, to} <= runs.keys()]
    return [ratio(compared, (of, runs[of]), (to, runs[to]), target) for to, target in found]


def ratio(compared: str, of: tuple[str, Runs], to: tuple[str, Runs], target: float | None) -> Ratio:
    """One number of one rival over the other's, turn by turn."""
    pairs = [ours[compared] / theirs[compared] for ours, theirs in zip(of[1], to[1], strict=True)]
    return Ratio(COMPARED[compared], of[0], to[0], median(pairs), min(pairs), max(pairs), target)


def others_share(scenario: dict[str, Any]) -> float:
    """The most of the server's core that other processes had, over the rivals' medians."""
    shares = [medians(server["runs"])["others_share"] for server in scenario["servers"].values()]
    return max(shares, default=0)
