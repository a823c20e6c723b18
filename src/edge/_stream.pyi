"""A connection behind an asyncio transport, which does the TLS."""

import asyncio

from edge._connection import Connection

class StreamConnection(Connection, asyncio.Protocol):
    """A connection behind an asyncio transport. Made by `Door.stream` only."""
