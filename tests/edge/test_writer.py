"""A writer's dealings with its disk, without an edge around it."""

import asyncio
from pathlib import Path

from edge._clicklog import ClickLog
from edge._counters import BLOCK_BYTES, Counters
from edge.clock import monotonic_ms
from edge.segment import directory_of
from edge.writer import Writer
from tests.edge.click_stand import config_of

TURNS = 20


def test_sync_that_fails_is_tried_again_after_a_while(tmp_path: Path) -> None:
    """Not in each turn of the worker's timer, with a line in the log each time."""
    asyncio.run(_sync_in_vain(tmp_path))


async def _sync_in_vain(state_dir: Path) -> None:
    counters = Counters(bytearray(BLOCK_BYTES), 0)
    config = config_of(state_dir, ["redis://127.0.0.1:1"], click_segment_bytes=65_536)
    writer = Writer(config, ClickLog(counters, config), counters)
    await writer.open()
    directory = directory_of(str(state_dir))
    directory.rename(state_dir / "away")
    directory.touch()  # in the place of the directory, so that nothing can be done there
    for _ in range(TURNS):
        writer.tend(monotonic_ms())
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    assert 1 <= counters.get("click_failures") < TURNS / 2
    directory.unlink()
    (state_dir / "away").rename(directory)
    await writer.close()
