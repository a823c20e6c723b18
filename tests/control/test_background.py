"""Background tasks end when they are told to."""

import asyncio

import structlog

from control.background import Background, Pulse


def test_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    """Libraries swallow cancellations now and then; stopping asks again."""
    lost = 0

    async def run(_: Pulse) -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    async def work() -> None:
        background = Background(structlog.get_logger())
        background.start("deaf", run)
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await background.stop()

    asyncio.run(work())
    assert lost == 2
