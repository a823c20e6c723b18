"""The pace of a work: the rate, and what slow shards do to it."""

import asyncio
import time

import pytest

from control.moves.throttle import (
    BURST_S,
    PAGE_LINKS_MAX,
    PAGE_LINKS_MIN,
    RATE_MIN,
    RISE_S,
    SLOWDOWN_INTERVAL_S,
    Throttle,
    probing,
)
from control.moves.work import Pace
from tests.control.station import DEADLINE_S
from tests.stack.fixtures import RedisFactory
from wire.topology import Shard

PACE = Pace(links_s=1000, latency_s=0.01)


def test_the_rate_is_kept_over_any_time() -> None:
    """What is taken is paid for with time."""
    throttle = Throttle(PACE, 0.0)
    now_s = 0.0
    for _ in range(40):
        now_s += throttle.delay_s(250, now_s)
    assert now_s == pytest.approx(40 * 250 / 1000, abs=BURST_S)


def test_a_long_pause_is_no_credit() -> None:
    """Only that of a burst."""
    throttle = Throttle(PACE, 0.0)
    assert throttle.delay_s(1000, 100.0) == pytest.approx(1.0 - BURST_S)


def test_a_slow_shard_halves_the_rate() -> None:
    """Once an interval, and never to nothing."""
    throttle = Throttle(PACE, 0.0)
    throttle.observe("a", 0.011, 1.0)
    throttle.observe("a", 0.011, 1.0 + SLOWDOWN_INTERVAL_S / 2)
    assert throttle.counts == {"rate": 500, "slow_shards": 1, "slowdowns": 1}
    for second in range(2, 20):
        throttle.observe("a", 0.5, float(second))
    assert throttle.rate == RATE_MIN
    assert throttle.page_links == PAGE_LINKS_MIN


def test_the_rate_rises_slowly_when_every_shard_is_fast() -> None:
    """By equal steps, up to what was set."""
    throttle = Throttle(PACE, 0.0)
    throttle.observe("a", 0.02, 1.0)
    throttle.observe("b", 0.001, 2.0)
    assert throttle.rate == 500
    throttle.observe("a", 0.001, 2.0)
    throttle.observe("a", 0.001, 4.0)
    assert throttle.rate == pytest.approx(500 + 1000 * 2 / RISE_S)
    throttle.observe("a", 0.001, 100.0)
    assert throttle.counts == {"rate": 1000, "slow_shards": 0, "slowdowns": 1}


def test_a_page_lasts_a_fraction_of_a_second() -> None:
    """So that a pause takes effect soon; and a page is bounded where the rate is not."""
    assert Throttle(PACE, 0.0).page_links == 250
    assert Throttle(Pace(links_s=10**6, latency_s=1.0), 0.0).page_links == PAGE_LINKS_MAX


@pytest.mark.parametrize(
    ("links_s", "links", "sizes"),
    [
        (20_000, 1100, [250, 250, 250, 250, 100]),
        (1000, 600, [250, 250, 100]),
        (50_000, 1100, [500, 500, 100]),
        (10**6, 1100, [1100]),
        (20_000, 0, []),
    ],
)
def test_what_is_sent_at_once_is_whole_calls(links_s: int, links: int, sizes: list[int]) -> None:
    """Of so many that a shard is soon free for others: all links, in their order."""

    async def run() -> list[slice]:
        throttle = Throttle(Pace(links_s=links_s, latency_s=1.0), 0.0)
        return [stroke async for stroke in throttle.strokes(links)]

    strokes = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    assert [stroke.stop - stroke.start for stroke in strokes] == sizes
    assert [stroke.start for stroke in strokes] == [sum(sizes[:at]) for at in range(len(sizes))]


@pytest.mark.parametrize(("links_s", "links"), [(2000, 2500), (1500, 2000)])
def test_work_that_lasts_is_interrupted_once_a_page(links_s: int, links: int) -> None:
    """However many links were handed over: whoever pauses or aborts a move does not wait for all of them."""

    async def run() -> tuple[int, int]:
        throttle = Throttle(Pace(links_s=links_s, latency_s=1.0), asyncio.get_running_loop().time())
        pauses = 0

        async def pause() -> None:
            nonlocal pauses
            pauses += 1

        async for _ in throttle.strokes(links, pause):
            pass
        return pauses, throttle.page_links

    pauses, page = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    assert pauses >= links // page - 1 > 2


def test_a_shard_that_does_not_answer_is_slow_until_it_does(redis_factory: RedisFactory) -> None:
    """The probe asks on a connection of its own, and goes on after an outage."""
    server = redis_factory()
    throttle = Throttle(Pace(links_s=1000, latency_s=0.5), 0.0)

    async def run() -> None:
        async with probing(throttle, [Shard(id="a", url=server.url)]), asyncio.timeout(DEADLINE_S):
            server.stop()
            while not throttle.counts["slow_shards"]:  # noqa: ASYNC110  (the server gives no signal)
                await asyncio.sleep(0.01)
            server.start()
            while throttle.counts["slow_shards"]:  # noqa: ASYNC110  (the server gives no signal)
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert throttle.slowdowns >= 1


def test_a_loop_that_is_late_is_no_slow_shard(redis_factory: RedisFactory) -> None:
    """Work of 50 ms between any two turns of the loop; the shard answers at once."""
    server = redis_factory()
    pace = Pace(links_s=1000, latency_s=0.05)  # an answer waits for two turns

    async def run() -> None:
        throttle = Throttle(pace, 0.0)
        observed: list[float] = []
        observe = throttle.observe
        is_busy = False
        loop = asyncio.get_running_loop()

        def note(shard_id: str, latency_s: float, now_s: float) -> None:
            observed.append(latency_s)
            observe(shard_id, latency_s, now_s)

        def work() -> None:
            time.sleep(0.05)  # the fault that is tested, no wait of the test
            loop.call_soon(work)

        throttle.observe = note  # type: ignore[method-assign]
        async with probing(throttle, [Shard(id="a", url=server.url)]), asyncio.timeout(DEADLINE_S):
            while len(observed) < 10:
                await asyncio.sleep(0.01)
                if len(observed) == 1 and not is_busy:
                    is_busy = True
                    work()
        assert max(observed) < pace.latency_s
        assert throttle.slowdowns == 0

    asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
