"""Clicks to test with: made at random, folded by the real fold, and counted once more in the plainest way."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from control.clicks._fold import Batch
from wire import click as wire_click
from wire.click import Click, Flag

CLICKS_MAX: Final = 200_000
COUNTRIES: Final = ("", "DE", "FR", "JP", "BR")
BROWSERS: Final = ("", "Firefox", "Chrome")
CLASSES: Final = {"human": 0, "bot": 1, "preview": 2}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the fold asks about a link."""

    tags: tuple[int, ...] = ()
    campaign: tuple[int, int, int] = (0, 0, 0)


class PlainEnricher:
    """Takes a User-Agent of the form `class browser` and an address whose last byte is the number of a country."""

    def __init__(self) -> None:
        self.values = list(dict.fromkeys(["", *COUNTRIES, *BROWSERS, *CLASSES]))

    def agent(self, text: bytes) -> tuple[int, int, int, int]:
        """Browser, system, device and class."""
        kind, _, browser = text.decode().partition(" ")
        return self.values.index(browser), 0, 0, CLASSES.get(kind, 0)

    def referrer(self, text: bytes) -> int:
        """Always unknown."""
        return 0

    def campaign(self, query: bytes) -> tuple[int, int, int]:
        """None."""
        return 0, 0, 0

    def place(self, address: bytes) -> tuple[int, int]:
        """Country and city."""
        return self.values.index(COUNTRIES[address[-1] % len(COUNTRIES)]), 0


def click_at(time_ms: int, link_id: int = 1, kind: str = "human", visitor: int = 0, browser: str = "Firefox") -> Click:
    """A click; `kind` is a class, `head` among them."""
    is_head = kind == "head"
    return Click(
        time_ms=time_ms,
        link_id=link_id,
        domain_id=1,
        status=302,
        flags=Flag.HEAD if is_head else 0,
        user_agent=f"{'human' if is_head else kind} {browser}".encode(),
        address=visitor.to_bytes(4, "big"),
    )


def unknown_at(time_ms: int, code: str) -> Click:
    """A request for a code that does not exist."""
    return Click(
        time_ms=time_ms,
        link_id=0,
        domain_id=1,
        status=404,
        flags=Flag.UNKNOWN_CODE,
        user_agent=b"human Firefox",
        address=bytes(4),
        code=code.encode(),
    )


def scattered(seed: int, count: int, start_ms: int, end_ms: int, links: int = 1) -> list[Click]:
    """Clicks of all kinds at random instants."""
    chance = random.Random(seed)
    return [
        click_at(
            chance.randrange(start_ms, end_ms),
            chance.randint(1, links),
            chance.choices(("human", "bot", "preview", "head"), (6, 2, 1, 1))[0],
            chance.randrange(50),
            chance.choice(BROWSERS),
        )
        for _ in range(count)
    ]


def folded(clicks: Iterable[Click], facts: Mapping[int, Facts] | None = None) -> Batch:
    """The clicks as a batch that is ready to be merged."""
    batch = Batch(CLICKS_MAX)
    pending = list(clicks)
    for at in range(0, len(pending), 1000):
        batch.add(wire_click.encode(pending[at : at + 1000]))
    batch.enrich(PlainEnricher(), facts or {}, dict.fromkeys(batch.days(), 7))
    return batch


def documents_of(clicks: Iterable[Click]) -> list[tuple[int, bytes]]:
    """The day documents of the one link that was clicked."""
    groups = folded(clicks).links()
    return list(zip(groups.days, groups.merge([None] * len(groups.days)), strict=True))
