"""The links, the order in which they are asked for, and what each of them is at present."""

import itertools
import mmap
import random
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.macro.links import make as make_links

# Popularity falls with the rank to this power: half of the requests go to a few percent of two million links.
ZIPF_EXPONENT: Final = 0.9
SEED: Final = 7
# Every fourth link is deleted and made anew by turns; load/truth.h.
CHURNING: Final = 4


@dataclass(frozen=True, slots=True)
class Population:
    """Files of one directory; load/options.h and load/truth.h say what is in them."""

    directory: Path

    @property
    def links(self) -> Path:
        """Code and target without its version, a link a line."""
        return self.directory / "links"

    @property
    def order(self) -> Path:
        """Numbers of links, as they are asked for."""
        return self.directory / "order"

    @property
    def truth(self) -> Path:
        """Floor and ceiling of each link's version."""
        return self.directory / "truth"

    @property
    def table(self) -> Path:
        """What is imported: code and target in version 0."""
        return self.directory / "links.csv"

    def read_links(self) -> list[tuple[str, str]]:
        """Code and target without its version, by number."""
        lines = self.links.read_text(encoding="ascii").splitlines()
        return [(code, target) for code, _, target in (line.partition(" ") for line in lines)]

    def read_order(self) -> "array[int]":
        """The numbers of `order`."""
        numbers = array("i")
        numbers.frombytes(self.order.read_bytes())
        return numbers


def make(directory: Path, count: int, turns: int) -> Population:
    """Write `count` links, and an order of `turns` requests for them: the lower a number, the more popular the link."""
    population = Population(directory)
    links = [(link.code, f"{link.target}&version=") for link in make_links(count)]
    population.links.write_text("".join(f"{code} {target}\n" for code, target in links), encoding="ascii")
    population.table.write_text("".join(f"{code},{target}0\n" for code, target in links), encoding="ascii")
    population.truth.write_bytes(bytes(8 * count))
    weights = list(itertools.accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(count)))
    numbers = random.Random(SEED).choices(range(count), cum_weights=weights, k=turns)
    population.order.write_bytes(array("i", numbers).tobytes())
    return population


def is_absent(number: int, version: int) -> bool:
    """Whether version `version` of link `number` is its absence."""
    return number % CHURNING == CHURNING - 1 and version % 2 == 1


class Truth:
    """Floors and ceilings, shared with the load generator: what is written here is seen there at once."""

    def __init__(self, population: Population) -> None:
        with population.truth.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = memoryview(self._map).cast("i")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._numbers.release()
        self._map.close()

    def __len__(self) -> int:
        return len(self._numbers) // 2

    def floor(self, number: int) -> int:
        """The newest version that every edge must know."""
        return self._numbers[2 * number]

    def ceiling(self, number: int) -> int:
        """The newest version that an edge may know."""
        return self._numbers[2 * number + 1]

    def begin(self, number: int) -> int:
        """The next version, which edges may know from now on."""
        self._numbers[2 * number + 1] += 1
        return self._numbers[2 * number + 1]

    def confirm(self, number: int, version: int) -> None:
        """Every edge has this version."""
        self._numbers[2 * number] = version

    def changed(self) -> list[int]:
        """The numbers of all links that have been changed."""
        return [number for number in range(len(self)) if self.ceiling(number)]
