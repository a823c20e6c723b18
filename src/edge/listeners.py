"""The listening sockets of an edge: made, checked and closed by the supervisor, accepted on by the workers.

Each worker has a TCP socket of its own on each address (SO_REUSEPORT): the kernel spreads connections over them. A Unix
socket knows no such spreading, so all workers accept on one. The supervisor keeps every socket open as long as the edge
runs: what waits in the queue of a worker that died, or that was replaced, is accepted by its successor.
"""

import contextlib
import ctypes
import errno
import select
import socket
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.config import EdgeConfig
from edge.errors import EdgeError

SYN_RECV: Final = "03"
DEFER_S: Final = 1  # the kernel rounds up to when it would send its SYN-ACK again
BACKLOG: Final = 4096  # connections that wait for accept; the kernel's net.core.somaxconn may be lower

SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h; the socket module does not name it
# A classic BPF program over the TCP header: drop a segment that opens a connection (SYN), pass every other.
NO_SYN: Final = (
    (0x30, 0, 0, 13),  # A = byte 13, the flags
    (0x45, 1, 0, 0x02),  # SYN in A? then skip one
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
    (0x06, 0, 0, 0),  # drop
)


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; `str` gives it as people write it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listeners:
    """All listening sockets of one edge. Raises EdgeError if one of them cannot be had; then none is left open."""

    def __init__(self, config: EdgeConfig) -> None:
        self._plain: list[list[socket.socket]] = []
        self._tls: list[list[socket.socket]] = []
        self._unix: socket.socket | None = None
        self._unix_path = Path(config.unix_socket)
        self._unix_inode = 0
        self.addresses = [str(Address(host, config.port)) for host in config.hosts]
        self.addresses += [f"{Address(host, config.tls_port)} (TLS)" for host in config.hosts if config.tls_port]
        self.addresses += [f"unix:{config.unix_socket}"] if config.unix_socket else []
        try:
            self._plain = _open_all(config.hosts, config.port, config.workers)
            self._tls = _open_all(config.hosts, config.tls_port, config.workers) if config.tls_port else []
            if config.unix_socket:
                self._unix = _open_unix(self._unix_path, int(config.unix_socket_mode, 8))
                self._unix_inode = self._unix_path.stat().st_ino
        except EdgeError:
            self.close()
            raise

    def plain(self, slot: int) -> list[socket.socket]:
        """The sockets on which a slot's worker accepts plain connections."""
        return self._plain[slot] + ([self._unix] if self._unix else [])

    def tls(self, slot: int) -> list[socket.socket]:
        """The sockets on which a slot's worker accepts TLS."""
        return self._tls[slot] if self._tls else []

    def silence(self) -> None:
        """Let no new connection into the queues, so that what is in them can be accepted before they are closed.

        A listening TCP socket resets what it has queued when it is closed, and a client may come at any instant:
            1. a worker accepts until its queue is empty;
            2. the kernel completes a handshake, the client believes that it is connected;
            3. the worker closes the socket: the client is reset.
        With SYN segments dropped there is no 2: a client tries again after a second and is refused then.
        """
        for listener in self._tcp():
            _drop_syn(listener)
        self._remove_path()

    def is_anyone_arriving(self) -> bool:
        """Whether a client is connected as far as it knows, and the kernel has not handed it over yet."""
        ports = {f"{listener.getsockname()[1]:04X}" for listener in self._tcp()}
        return any(_has_half_open(Path(table), ports) for table in ("/proc/net/tcp", "/proc/net/tcp6"))

    def close(self) -> None:
        """Close every socket; the kernel goes on while a worker still has them open."""
        for listener in self._tcp():
            listener.close()
        if self._unix is not None:
            self._remove_path()
            self._unix.close()

    def _tcp(self) -> Iterable[socket.socket]:
        return (listener for group in (*self._plain, *self._tls) for listener in group)

    def _remove_path(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Another edge may have put its own socket there if somebody removed ours.
            if self._unix is not None and self._unix_path.stat().st_ino == self._unix_inode:
                self._unix_path.unlink()


def is_anyone_waiting(listeners: Sequence[socket.socket]) -> bool:
    """Whether a connection waits in a queue to be accepted."""
    poll = select.poll()
    for listener in listeners:
        poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _has_half_open(table: Path, ports: set[str]) -> bool:
    """Whether the kernel's table of sockets, see proc(5), has one in SYN_RECV at one of the ports (hexadecimal)."""
    with contextlib.suppress(FileNotFoundError), table.open(encoding="ascii") as lines:  # no IPv6, no file
        return any(row[3] == SYN_RECV and row[1][-4:] in ports for row in map(str.split, lines))
    return False


def _open_all(hosts: Sequence[str], port: int, workers: int) -> list[list[socket.socket]]:
    """For each worker its sockets, one for each host."""
    addresses = [Address(host, port) for host in hosts]
    for address in addresses:
        # SO_REUSEPORT lets a second edge of the same user in unseen; a socket without it finds out if one is there.
        _open_tcp(address, is_shared=False).close()
    return [[_open_tcp(address) for address in addresses] for _ in range(workers)]


def _open_tcp(address: Address, is_shared: bool = True) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_shared))
    # Accepted sockets inherit it: an answer is one send and must not wait for more.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Clients speak first: the kernel hands a connection over with its request, so that one turn accepts and answers it
    # (nginx `deferred`, Apache AcceptFilter). Whoever stays silent costs the worker nothing for a second.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_S)
    if family == socket.AF_INET6:
        # So that :: and 0.0.0.0 can stand side by side, whatever net.ipv6.bindv6only says.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        # Resolves the zone of fe80::1%eth0, which bind does not.
        (*_, found), *_ = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
        listener.bind(found)
        if is_shared:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EdgeError(refusal(str(address), error)) from error
    return listener


def _open_unix(path: Path, mode: int) -> socket.socket:
    _clear_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(mode)  # before listen: until then nobody can connect
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EdgeError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    return listener


def _clear_path(path: Path) -> None:
    """Remove the socket file that a killed edge left behind; raises EdgeError if the path is anything else."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise EdgeError(f"cannot listen on unix:{path}: the file there is no socket; move it or set another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            result = probe.connect_ex(str(path))
        if result != errno.ECONNREFUSED:
            raise EdgeError(f"cannot listen on unix:{path}: another process listens there; stop it or set another path")
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise EdgeError(f"cannot listen on unix:{path}: {error.strerror}") from error


def refusal(address: str, error: OSError) -> str:
    """What to tell the operator of an address that cannot be listened on."""
    return f"cannot listen on {address}: {error.strerror}; free the port or set another one"


def _drop_syn(listener: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in NO_SYN)
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(NO_SYN), ctypes.addressof(memory))  # struct sock_fprog
    # A kernel that refuses costs what `silence` says: whoever connects in the last instant is reset.
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
