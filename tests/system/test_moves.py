"""Shards move under load, and nobody notices, whatever is killed meanwhile (I6)."""

from collections.abc import Iterator

import pytest

from benchmarks.load import generator
from benchmarks.reshard import population
from benchmarks.reshard.acts import FAULTS, MOVES, Act
from benchmarks.reshard.run import play
from benchmarks.reshard.stage import Loads, Stage, staged

# The whole with a thousand times as many links is `python -m benchmarks.reshard`.
LINKS = 2_000
RATE = 500
CHANGES = 40
SETTINGS = {"POINTSMAN_MOVES_SOAK_S": "1"}

pytestmark = pytest.mark.skipif(
    bool(generator.missing()), reason=generator.missing() or "the generator can be compiled"
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One product for all acts: each begins with the shards that the one before has left."""
    directory = tmp_path_factory.mktemp("stage")
    links = population.make(directory, LINKS, 10 * LINKS)
    loads = Loads(rate=RATE, changes=CHANGES, is_measured=False)
    with staged(directory, links, print, SETTINGS, loads) as staging:
        yield staging


@pytest.mark.timeout(300)
@pytest.mark.parametrize("act", [*MOVES, *FAULTS], ids=lambda act: act.name)
def test_nobody_notices_a_move(stage: Stage, act: Act) -> None:
    """Every answer is right, no request fails unless the edge is killed, and nothing is left behind."""
    played = play(stage, act, quiet_s=0)
    assert played.failures == []
    assert played.phase == act.end
    assert played.report.answered > 0
    assert played.changes["counts"]["confirmed"] > 0
