"""Where a long computation lets other threads run. A leaf."""

cdef inline void let_others_run() noexcept:
    """Give the interpreter's lock to a thread that waits for it; costs tens of nanoseconds where none does.

    Compiled code is never asked to by the interpreter, and beside the fold, in the same process, the API is answered.
    """
    with nogil:
        pass
