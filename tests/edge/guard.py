"""Memory behind which nothing can be read: one byte too far is a segmentation fault, not a lucky zero."""

import ctypes
import mmap

PAGES = 3  # 12 KB before the guard: more than the largest head


class GuardedMemory:
    """Pages of which the last may not be touched."""

    def __init__(self) -> None:
        self._pages = mmap.mmap(-1, (PAGES + 1) * mmap.PAGESIZE)
        first = ctypes.c_char.from_buffer(self._pages)
        libc = ctypes.CDLL(None, use_errno=True)
        guard = ctypes.c_void_p(ctypes.addressof(first) + PAGES * mmap.PAGESIZE)
        if libc.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:  # PROT_NONE
            raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, data: bytes) -> memoryview:
        """The bytes so that the last one is the last that can be read; valid until the next call."""
        end = PAGES * mmap.PAGESIZE
        self._pages[end - len(data) : end] = data
        return memoryview(self._pages)[end - len(data) : end]

    def read_behind(self) -> int:
        """Dies."""
        return self._pages[PAGES * mmap.PAGESIZE]
