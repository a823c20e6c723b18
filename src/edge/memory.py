"""Files in memory: for what a library reads from a path only, and for what a child inherits; nothing reaches a disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(name: str, data: bytes) -> Iterator[int]:
    """A descriptor of a file with this content, which is gone when every process has closed it."""
    descriptor = os.memfd_create(name)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield descriptor
    finally:
        os.close(descriptor)


def path_of(descriptor: int) -> str:
    """A path under which this process can open what the descriptor stands for."""
    return f"/proc/self/fd/{descriptor}"
