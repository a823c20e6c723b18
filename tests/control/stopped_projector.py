"""A projector that stops itself (SIGSTOP) between taking a batch and writing it, for tests to wake later.

Says with which problem it ended: `python -m tests.control.stopped_projector DATABASE_URL`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import structlog

from control.background import Background, Pulse
from control.bell import Bell
from control.db import open_database
from control.errors import Error
from control.projection import batch
from control.projection.model import Write
from control.projection.shard_writer import write_batch
from control.projection.tasks import Projector
from control.projection.writers import Writers
from control.shards import service as shards
from control.shards.connection import ShardConnection
from control.shards.current import CurrentPlacement


async def _stop_and_write(
    connection: ShardConnection, writes: Sequence[Write], base_seq: int, epoch: int | None = None
) -> int:
    # The writes to the other shards are sent when it is awake again.
    batch.write_batch = write_batch  # type: ignore[attr-defined]
    os.kill(os.getpid(), signal.SIGSTOP)
    return await write_batch(connection, writes, base_seq, epoch)


async def main(url: str) -> None:
    """Project until it fails."""
    database = await open_database(url)
    background = Background(structlog.get_logger())
    writers = Writers(background)
    topology = await shards.get_topology(database)
    await writers.follow(topology)
    while not all(writers.get(shard.id) for shard in topology.shards):  # noqa: ASYNC110  (no signal)
        await asyncio.sleep(0.01)
    batch.write_batch = _stop_and_write  # type: ignore[attr-defined]
    projector = Projector(database, writers, CurrentPlacement(), Bell(), lambda _: None)
    try:
        await projector.run(Pulse("projector", structlog.get_logger()))
    except Error as error:
        sys.stdout.write(error.code)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
