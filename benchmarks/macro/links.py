"""The links that every server answers."""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COUNT = 50_000
CODE_LENGTH = 7
SEED = 1


@dataclass(frozen=True, slots=True)
class Link:
    """A code, and where it leads."""

    code: str
    target: str


def make(count: int = COUNT) -> Iterator[Link]:
    """The same links in each run, in an order that has nothing to do with their codes."""
    choose = random.Random(SEED)
    alphabet = string.digits + string.ascii_letters
    # nginx's map ignores case: codes must differ in more than that.
    made: set[str] = set()
    while len(made) < count:
        code = "".join(choose.choices(alphabet, k=CODE_LENGTH))
        if code.lower() not in made:
            yield Link(code, f"https://www.example.com/articles/{len(made)}/a-title-of-usual-length?ref=short")
            made.add(code.lower())


def write_codes(links: list[Link], path: Path) -> None:
    """One code a line: what wrk asks for, in this order, again and again."""
    path.write_text("".join(f"{link.code}\n" for link in links), encoding="ascii")
