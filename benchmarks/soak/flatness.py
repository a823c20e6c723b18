"""Whether memory stayed flat; no I/O.

The first minute is left out: L1, absences and pools fill. Of the rest, a line is laid through all samples by least
squares: a leak of a byte a request would be megabytes a minute at full load, a hundred times what is allowed. The last
sample may also not be much above the first, so that a single late jump is seen too.
"""

from dataclasses import dataclass
from typing import Final

SLOPE_KB_PER_MIN_MAX: Final = 256.0  # a pool of Python's allocator grows by 1,024 KB at once; one in four minutes may
GROWTH_KB_MAX: Final = 1024.0
FIRST_PART_S_MAX: Final = 60.0
FIRST_PART_SHARE_MAX: Final = 0.4  # of a run too short to have a first minute


@dataclass(frozen=True, slots=True)
class Flatness:
    """How memory went after the first part."""

    slope_kb_per_min: float
    growth_kb: float
    is_judged: bool  # a run of under two minutes is too short for a slope to mean anything

    @property
    def is_flat(self) -> bool:
        """Whether both are within their bounds."""
        within = self.slope_kb_per_min <= SLOPE_KB_PER_MIN_MAX and self.growth_kb <= GROWTH_KB_MAX
        return within or not self.is_judged


def judge(at_s: list[float], resident_kb: list[float]) -> Flatness:
    """The flatness of samples in the order in which they were taken."""
    start_s = min(FIRST_PART_S_MAX, at_s[-1] * FIRST_PART_SHARE_MAX)
    later = [(at, kb) for at, kb in zip(at_s, resident_kb, strict=True) if at >= start_s]
    growth = later[-1][1] - later[0][1]
    return Flatness(60 * _slope(later), growth, at_s[-1] >= 2 * FIRST_PART_S_MAX)


def _slope(points: list[tuple[float, float]]) -> float:
    """Of the line of least squares through the points."""
    count = len(points)
    middle_x, middle_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    square = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / square if square else 0.0
