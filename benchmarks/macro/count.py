"""What a load gave."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Count:
    """What wrk or the generator saw; neither makes one of a run with errors."""

    requests: int
    seconds: float
    bytes: int
    p50_us: float
    p99_us: float
    load_cpu_us: int
