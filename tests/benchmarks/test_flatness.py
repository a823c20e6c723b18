"""When memory counts as flat."""

from benchmarks.soak.chart import chart
from benchmarks.soak.flatness import GROWTH_KB_MAX, SLOPE_KB_PER_MIN_MAX, judge

SECONDS = [5.0 * number for number in range(1, 60)]


def test_a_first_minute_of_growth_is_allowed() -> None:
    """Caches fill."""
    flatness = judge(SECONDS, [1000.0 * min(at, 60) for at in SECONDS])
    assert (flatness.is_flat, flatness.slope_kb_per_min, flatness.growth_kb) == (True, 0.0, 0.0)


def test_a_steady_leak_is_not_flat() -> None:
    """Its slope is what it is per minute."""
    flatness = judge(SECONDS, [50_000 + (SLOPE_KB_PER_MIN_MAX + 1) * at / 60 for at in SECONDS])
    assert round(flatness.slope_kb_per_min) == SLOPE_KB_PER_MIN_MAX + 1
    assert not flatness.is_flat


def test_a_late_jump_is_not_flat() -> None:
    """Though it hardly changes the slope."""
    memory = [50_000.0] * (len(SECONDS) - 1) + [50_000.0 + GROWTH_KB_MAX + 1]
    flatness = judge(SECONDS, memory)
    assert flatness.slope_kb_per_min < SLOPE_KB_PER_MIN_MAX
    assert not flatness.is_flat


def test_noise_is_flat() -> None:
    """What comes and goes by a few pages."""
    assert judge(SECONDS, [50_000.0 + 40 * (number % 7) for number in range(len(SECONDS))]).is_flat


def test_a_run_that_is_too_short_is_not_judged() -> None:
    """Seconds say nothing of minutes."""
    flatness = judge([1.0, 2.0, 3.0], [1.0, 2000.0, 4000.0])
    assert (flatness.is_judged, flatness.is_flat) == (False, True)


def test_a_chart_starts_at_zero() -> None:
    """Half is half as high."""
    assert chart([4.0, 8.0], "KB").splitlines() == ["8 KB ┤ █", *["     ┤ █"] * 3, *["     ┤██"] * 3, "   0 ┤██"]
