"""No click is lost, none is counted twice, whatever is killed (I2, I3)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.load import generator
from benchmarks.violence.acts import ACTS
from benchmarks.violence.run import Plan, run
from tests.system.product import Product

# The whole at ten times the rate and five times as long is `python -m benchmarks.violence`.
PLAN = Plan(rate=2_000, seconds=12, links=200, acts=ACTS)


@pytest.mark.skipif(bool(generator.missing()), reason=generator.missing() or "the generator can be compiled")
@pytest.mark.timeout(300)
def test_every_redirect_is_counted_once_under_violence(new_product: Callable[..., Product], tmp_path: Path) -> None:
    """Each part is killed once under load. Then the product's totals are the client's count, all of them the same."""
    told: list[str] = []
    outcome = run(new_product(POINTSMAN_CLICKS_CLAIM_IDLE_MS="1000").start(), PLAN, tmp_path, told.append)
    assert outcome.failures == [], "\n".join(told)
    assert len(outcome.blows) == len(ACTS)
    assert outcome.product.duplicates > 0, "the last act makes frames come again"
