"""The compiled door, and the leaves that control may use."""

import asyncio
import socket
from typing import Final

from edge._base62 import CodePermutation as CodePermutation
from edge._base62 import decode as base62_decode
from edge._base62 import encode as base62_encode
from edge._front import Front
from edge._ring import Ring as Ring
from edge._ring import xxh64 as xxh64
from edge._roster import Roster
from edge._socket import SocketConnection as SocketConnection
from edge._tls import Contexts

__all__ = [
    "ACCEPT_PAUSE_S",
    "CodePermutation",
    "Door",
    "Ring",
    "SocketConnection",
    "base62_decode",
    "base62_encode",
    "xxh64",
]

ACCEPT_PAUSE_S: Final[float]
"""How long nothing is accepted when the process or the machine has no descriptors left."""

class Door:
    """The sockets of one worker, read and written by the door itself. Must be made in the loop's thread."""

    front: Front
    roster: Roster

    def __init__(self, loop: asyncio.AbstractEventLoop, roster: Roster) -> None:
        """Raises OSError if the process can have no further descriptor."""

    def listen(self, listener: socket.socket, contexts: Contexts | None = None) -> None:
        """Accept connections from a listening socket, which stays the caller's; with contexts, over TLS."""

    def stop_listening(self) -> None:
        """Accept no more; what waits in the sockets' queues stays there."""

    def close(self) -> None:
        """Stop listening and close every connection at once."""
