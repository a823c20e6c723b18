"""Medians and ratios of what was measured; no I/O."""

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

Runs = list[dict[str, float]]

OTHERS_SHARE_MAX: Final = 0.05  # of the server's core: what an idle Debian uses, with room


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU time per request of one rival over another's: the median over the pairs of turns, the least, the most."""

    of: str
    to: str
    median: float
    least: float
    most: float


def medians(runs: Runs) -> dict[str, float]:
    """Each number's median over the turns of a rival."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def ratios(scenario: dict[str, Any]) -> list[Ratio]:
    """The scenario's ratios. Turn n of one rival is divided by turn n of the other: they ran close together."""
    servers = scenario["servers"]
    of, against = scenario["ratio"]
    return [_ratio(of, to, servers[of]["runs"], servers[to]["runs"]) for to in against if to in servers]


def others_share(scenario: dict[str, Any]) -> float:
    """The most of the server's core that other processes had, over the rivals' medians."""
    return max(medians(server["runs"])["others_share"] for server in scenario["servers"].values())


def _ratio(of: str, to: str, numerator: Runs, denominator: Runs) -> Ratio:
    pairs = [ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in zip(numerator, denominator, strict=True)]
    return Ratio(of, to, median(pairs), min(pairs), max(pairs))
