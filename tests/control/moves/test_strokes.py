"""Batches that are sent and asked for in several strokes: nothing of them is left out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
import redis

from control.moves import arcs, throttle
from control.moves.carry import copy
from control.moves.throttle import Throttle
from control.moves.verify import verify
from control.moves.work import Pace
from control.projection.shard_writer import KEYS_PER_CALL
from tests.control.moves.ground import Ground, add_one, play, records
from tests.stack.server import RedisServer

CODES: Final = [f"c{number}" for number in range(4000)]
# A stroke is one call; a page has room for all that moves.
PACE: Final = Pace(links_s=16_000, latency_s=5.0)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many links each batch had."""
    sizes: list[int] = []
    strokes = Throttle.strokes

    def note(self: Throttle, links: int, pause: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[slice]:
        sizes.append(links)
        return strokes(self, links, pause)

    monkeypatch.setattr(Throttle, "strokes", note)
    monkeypatch.setattr(arcs, "PAGES_MIN", 1)
    monkeypatch.setattr(throttle, "PAGE_S", 0.25)
    return sizes


def test_large_batches_are_copied_and_compared_whole(
    database_url: str, three: list[RedisServer], batches: list[int]
) -> None:
    """What is lost anywhere in a batch is found and repaired, and all the rest agrees."""

    async def work(ground: Ground) -> None:
        await ground.enter("copying")
        await ground.finish(copy, pace=PACE)
        _assert_large(batches)
        await ground.assert_placed()
        held = sorted(records(three[2]))
        with redis.Redis.from_url(three[2].url) as client:
            client.delete(*held[::100])
        ground.cursor = {}
        batches.clear()
        done = await ground.finish(verify, pace=PACE)
        _assert_large(batches)
        await ground.assert_placed()
        assert done.detail["repaired"] == len(held[::100])
        assert sum(pair["links"] for pair in done.detail["pairs"].values()) == len(held)

    play(database_url, three, add_one(three), CODES, work)


def _assert_large(batches: list[int]) -> None:
    """Of several strokes, the last of which is no whole call."""
    assert any(size > 2 * KEYS_PER_CALL and size % KEYS_PER_CALL for size in batches), batches
