"""The fixture of all tests here."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.compare import Compare


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long either side of a pair is timed."""
    parser.addoption("--side-seconds", type=float, default=0.5, help="time spent on each side of a pair")


@pytest.fixture(params=["plain", "compiled"])
def side(request: pytest.FixtureRequest) -> str:
    """Which of the two is timed: each test runs once for either."""
    return str(request.param)


@pytest.fixture
def compare(benchmark: BenchmarkFixture, side: str, pytestconfig: pytest.Config) -> Compare:
    """Time one side of a pair, see Compare."""
    return Compare(benchmark, side, pytestconfig.getoption("side_seconds"))
