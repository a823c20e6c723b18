"""A signal to everybody in the process who waits for the same thing, such as a new topology."""

import asyncio
import contextlib


class Bell:
    """Rung when it happens; whoever listened before hears it, however late he comes to wait."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who listens."""
        self._next.set()
        self._next = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """What is set by the next ring. Take it before looking whether it has happened already."""
        return self._next


async def heard(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most `timeout_s`."""
    # Not wait_for: until Python 3.12 it may swallow a cancellation that comes with the wake-up.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
