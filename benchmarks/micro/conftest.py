"""The fixture that times one side of a pair."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS_MIN: Final = 5
ROUNDS_MAX: Final = 5000

Function = Callable[[Any], Any]


class Compare(Protocol):
    """Time one side over the inputs; fails if the two sides' results differ."""

    def __call__(self, group: str, compiled: Function, plain: Function, inputs: Sequence[Any]) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long either side of a pair is timed."""
    parser.addoption("--side-seconds", type=float, default=0.5, help="time spent on each side of a pair")


@pytest.fixture(params=["plain", "compiled"])
def side(request: pytest.FixtureRequest) -> str:
    """Which of the two is timed: each test runs once for either."""
    return str(request.param)


@pytest.fixture
def compare(benchmark: BenchmarkFixture, side: str, pytestconfig: pytest.Config) -> Compare:
    """See Compare."""

    def run(group: str, compiled: Function, plain: Function, inputs: Sequence[Any]) -> None:
        assert [compiled(value) for value in inputs] == [plain(value) for value in inputs]
        function = compiled if side == "compiled" else plain
        benchmark.group = group
        benchmark.extra_info.update(side=side, operations=len(inputs))
        rounds = _rounds(function, inputs, pytestconfig.getoption("side_seconds"))
        benchmark.pedantic(  # type: ignore[no-untyped-call]  # of the plugin's methods this one has no types
            _each, setup=lambda: ((function, _copies(inputs)), {}), rounds=rounds
        )

    return run


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
