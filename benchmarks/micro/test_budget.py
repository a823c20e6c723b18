"""Budgets of clients. The compiled ones are timed through their Python methods, which the edge does not use."""

import random

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _budget

CLIENTS_MAX = 65_536
_choose = random.Random(1)


@pytest.mark.parametrize("count", [1000, 30_000])
def test_take(compare: Compare, count: int) -> None:
    """Clients in random order, whose tokens last. None is forgotten, as a dict forgets none."""
    compiled, written = _budget.Budgets(CLIENTS_MAX, 1000, 1_000_000), plain.Budgets(1000, 1_000_000)
    clients = [_choose.getrandbits(64) for _ in range(count)]

    def take_compiled(client: int) -> bool:
        return compiled.take_token(client, 0)

    def take_written(client: int) -> bool:
        return written.take(client, 0)

    compare(f"token, {count:,} clients", take_compiled, take_written, _choose.choices(clients, k=1000))
