"""What the supervisor gives a worker process: who it is, and descriptors that it inherits."""

import mmap
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edge.certificates import Credentials, decode


class Descriptors(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of `--worker`, as JSON. `counters` and `credentials` are files in memory."""

    slot: int
    block: int
    is_successor: bool
    plain: tuple[int, ...]
    tls: tuple[int, ...]
    counters: int
    credentials: int

    def pack(self) -> str:
        """The argument's text."""
        return msgspec.json.encode(self).decode("ascii")

    @property
    def inherited(self) -> tuple[int, ...]:
        """What the process must keep open at its start."""
        return (*self.plain, *self.tls, self.counters, self.credentials)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A worker's slot, its block of counters, its listening sockets and the credentials for those with TLS.

    A successor shares its sockets with a worker that serves.
    """

    slot: int
    block: int
    is_successor: bool
    plain: tuple[socket.socket, ...]
    tls: tuple[socket.socket, ...]
    counters: mmap.mmap
    credentials: Credentials


def take(text: str) -> Assignment:
    """Open what `Descriptors.pack` names, in the process that inherited it."""
    given = msgspec.json.decode(text, type=Descriptors)
    with os.fdopen(given.credentials, "rb") as memory:
        credentials = decode(os.pread(memory.fileno(), os.fstat(memory.fileno()).st_size, 0))
    return Assignment(
        given.slot,
        given.block,
        given.is_successor,
        _sockets(given.plain),
        _sockets(given.tls),
        mmap.mmap(given.counters, 0),
        credentials,
    )


def _sockets(descriptors: Sequence[int]) -> tuple[socket.socket, ...]:
    return tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
