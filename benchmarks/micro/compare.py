"""Timing one side of a pair, after both sides have been checked against each other."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS_MIN: Final = 5
ROUNDS_MAX: Final = 5000

Function = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Compare:
    """Called once by each test, for the side and with the time that the fixture was made with."""

    benchmark: BenchmarkFixture
    side: str
    seconds: float

    def __call__(self, group: str, compiled: Function, plain: Function, inputs: Sequence[Any]) -> None:
        """Time this side over the inputs; fails if the two sides' results differ."""
        assert [compiled(value) for value in inputs] == [plain(value) for value in inputs]
        function = compiled if self.side == "compiled" else plain
        self.benchmark.group = group
        self.benchmark.extra_info.update(side=self.side, operations=len(inputs))
        self.benchmark.pedantic(  # type: ignore[no-untyped-call]  # of the plugin's methods this one has no types
            _each, setup=lambda: ((function, _copies(inputs)), {}), rounds=_rounds(function, inputs, self.seconds)
        )


def _each(function: Function, inputs: Iterable[Any]) -> None:
    """Call the function with each input; the loop itself runs in C."""
    deque(map(function, inputs), maxlen=0)


def _copies(inputs: Sequence[Any]) -> list[Any]:
    """Bytes as they come from a socket: objects of which nobody has computed the hash before."""
    return [bytes(bytearray(value)) if isinstance(value, bytes) else value for value in inputs]


def _rounds(function: Function, inputs: Sequence[Any], seconds: float) -> int:
    started = time.perf_counter()
    _each(function, inputs)
    return max(ROUNDS_MIN, min(ROUNDS_MAX, round(seconds / (time.perf_counter() - started))))
