"""The open connections of a worker, and their bounds in number and time."""

import asyncio

from edge._front import Front
from edge.config import EdgeConfig

class Roster:
    """The open connections of a worker, and their bounds in number and time: the limits of `config`.

    `len()` is the number of open connections.
    """

    front: Front

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop, config: EdgeConfig) -> None: ...
    def sweep(self) -> None:
        """End what takes longer than it may; to be called some twenty times a second, sees all once a second."""

    def close_idle(self) -> int:
        """Close the connections in which no request has begun, now and from now on; how many are still open."""

    def close(self) -> None:
        """Close all connections at once."""

    def __len__(self) -> int: ...
    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that clients do not take."""

    @property
    def budget_evictions(self) -> int:
        """Clients' budgets that were forgotten for room."""
