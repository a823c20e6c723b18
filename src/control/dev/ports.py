"""TCP ports of this machine."""

import random
import socket
from pathlib import Path
from typing import Final

from control.errors import Error

LOOPBACK: Final = "127.0.0.1"
PORT_MIN: Final = 10_240
TRIES_MAX: Final = 1000
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different. Whoever binds one must bear that another was faster.

    They lie below the range from which the kernel takes the local ports of outgoing connections. Inside it, a client
    that tries to reach a server of ours that is down would sooner or later be given the server's own port, and be
    connected to itself.
    """
    candidates = range(PORT_MIN, int(_EPHEMERAL.read_text().split()[0]))
    found: list[int] = []
    for port in random.sample(candidates, min(TRIES_MAX, len(candidates))):
        if len(found) == count:
            return found
        if is_free(port):
            found.append(port)
    raise Error("stack_failed", f"found no {count} free TCP ports in {candidates.start}-{candidates.stop - 1}")


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server that linger in TIME_WAIT do not make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True
