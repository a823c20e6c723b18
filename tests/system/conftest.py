"""One product for the tests of a file; a test that ends it starts one of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.product import Product


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A running product, shared by the tests of a file."""
    running = Product(tmp_path_factory.mktemp("product") / "state").start()
    yield running
    running.close()


@pytest.fixture
def new_product(tmp_path: Path) -> Iterator[Callable[..., Product]]:
    """Makes products that are not started; those that run are ended with the test."""
    made: list[Product] = []

    def make(**variables: str) -> Product:
        made.append(Product(tmp_path / f"state-{len(made)}", **variables))
        return made[-1]

    yield make
    for each in made:
        if hasattr(each, "process"):
            each.close()
