"""Keeps the logs of the programs within bounds while these go on writing to them."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 8 * 2**20  # each; one older part of the same size is kept beside it
CHECK_INTERVAL_S: Final = 2.0


async def keep_small(directory: Path) -> None:
    """Look at the logs again and again."""
    while True:
        await asyncio.to_thread(rotate_all, directory, BYTES_MAX)
        await asyncio.sleep(CHECK_INTERVAL_S)


def rotate_all(directory: Path, bytes_max: int) -> None:
    """Cut those logs that have grown too long."""
    for log in directory.glob("*.log"):
        rotate(log, bytes_max)


def rotate(log: Path, bytes_max: int) -> None:
    """Move the content of a log that has grown too long to `<log>.1`.

    Its writer has it open for appending, so after the cut it goes on at the new end. A line written between the copy
    and the cut is lost: this is the price for logs that need nobody to relay them.
    """
    if log.stat().st_size > bytes_max:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        with log.open("r+b") as file:
            file.truncate(0)
