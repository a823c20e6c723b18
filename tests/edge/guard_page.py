"""Bytes that end where the process may read no further: a parser that reads one byte too many dies in the test."""

import ctypes
import mmap
from typing import Final

SIZE: Final = 4 * mmap.PAGESIZE
PROT_NONE: Final = 0


class GuardPage:
    """Memory for one piece of bytes at a time, right before a page that cannot be read."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE + mmap.PAGESIZE)
        libc = ctypes.CDLL(None, use_errno=True)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        if libc.mprotect(ctypes.c_void_p(begin + SIZE), ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def put(self, data: bytes) -> memoryview:
        """The bytes, at the guard; valid until the next call."""
        self._memory[SIZE - len(data) : SIZE] = data
        return memoryview(self._memory)[SIZE - len(data) : SIZE]
