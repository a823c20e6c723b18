"""Plain connections: a socket that is read, written and watched for by itself."""

from edge._connection import Connection

class EpollSet:
    """The connections of a worker that wait for their sockets."""

    descriptor: int
    """Readable when any of them has an event; -1 once closed."""

    def __init__(self) -> None:
        """Raises OSError if the process can have no further descriptor."""

class SocketConnection(Connection):
    """A plain connection. Made by the door only."""
