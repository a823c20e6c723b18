"""The fold of clicks, from frames to documents and to summaries, by number and spread of the clicks."""

import random
from collections.abc import Callable, Sequence
from typing import Final

import pytest

from benchmarks.micro import plain_clicks
from benchmarks.micro.compare import Compare
from control.clicks import _fold
from wire import click
from wire.click import Click

FRAME_CLICKS: Final = 1000
LINKS: Final = 1_000_000
TIME_MS: Final = 1_700_000_000_000
_choose = random.Random(1)


def _zipf() -> int:
    """A link: the most clicked has a tenth of all clicks, half of the links are clicked once."""
    return min(LINKS, int(_choose.paretovariate(0.5)))


def _click(link_id: int) -> Click:
    agent = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0 Safari/537.36"
    return Click(
        time_ms=TIME_MS + _choose.randrange(60_000),
        link_id=link_id,
        domain_id=1,
        status=302,
        user_agent=agent % int(_choose.paretovariate(1)),
        referrer=_choose.choice((b"", b"https://site.example/%d" % int(_choose.paretovariate(1)))),
        query=_choose.choice((b"", b"", b"", b"utm_source=%d" % _choose.randrange(10))),
        address=_choose.randbytes(4),
    )


def _bodies(count: int, spread: str) -> tuple[bytes, ...]:
    links: dict[str, Callable[[], int]] = {
        "one link": lambda: 7,
        "Zipf": _zipf,
        "a million links": lambda: _choose.randrange(1, LINKS),
    }
    clicks = [_click(links[spread]()) for _ in range(count)]
    return tuple(click.encode(clicks[at : at + FRAME_CLICKS]) for at in range(0, count, FRAME_CLICKS))


def _batch(bodies: Sequence[bytes]) -> _fold.Batch:
    batch = _fold.Batch(len(bodies) * FRAME_CLICKS)
    for body in bodies:
        batch.add(body)
    batch.enrich(plain_clicks.Enricher(), {}, dict.fromkeys(batch.days(), 1))
    return batch


def _fold_all(bodies: Sequence[bytes]) -> list[tuple[int, int, int]]:
    batch = _batch(bodies)
    links = batch.links()
    links.merge([None] * len(links.subjects))
    for groups in batch.scopes(links).values():
        groups.merge([None] * len(groups.subjects))
    return list(zip(links.subjects, links.days, links.clicks, strict=True))


def _decode(body: bytes) -> int:
    batch = _fold.Batch(FRAME_CLICKS)
    batch.add(body)
    return len(batch)


def test_decode(compare: Compare) -> None:
    """Frames, apart from what is done with their clicks."""
    compare("decode 1,000 clicks", _decode, plain_clicks.decode, _bodies(5000, "Zipf"))


@pytest.mark.parametrize("spread", ["one link", "Zipf", "a million links"])
def test_fold(compare: Compare, spread: str) -> None:
    """A batch from its frames to its documents, of all scopes. A hot link is the cheapest."""
    compare(f"fold 10,000 clicks, {spread}", _fold_all, plain_clicks.fold, [_bodies(10_000, spread)])


def test_summary(compare: Compare) -> None:
    """A month of an account."""
    documents = []
    for day in range(30):
        scopes = _batch(_bodies(3000, "Zipf")).scopes(None)
        documents += [(day, document) for document in scopes[_fold.ACCOUNT_SCOPE].merge([None])]

    def compiled(documents: Sequence[tuple[int, bytes]]) -> tuple[int, list[int]]:
        summary = _fold.summarise(documents)
        # Dimension `link` is empty: its counts come from links' documents, of which there are none here.
        tops = [values[0][1] for values, _ in summary.dimensions.values() if values]
        return summary.humans + summary.bots, tops

    compare("summary of 30 days", compiled, plain_clicks.summarise, [documents])
