"""What is measured."""

from dataclasses import dataclass
from typing import Final, Literal

CONNECTIONS: Final = 64
TLS_VERSION: Final = 13  # what browsers speak; 1.2 differs in its handshake only
# What both sides choose when neither is told; a rival that chose another would not be compared with.
TLS_PROTOCOL: Final = "TLSv1.3 TLS_AES_256_GCM_SHA384"

Compared = Literal["cpu_us", "p99_us"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A kind of load and the names of the rivals that take turns under it.

    `of` is the rival that the page is about; `against` are those that it is held against, with the most that the ratio
    should be, if there is such a target. Without `uses_generator`, wrk makes the load.
    """

    name: str
    title: str
    rivals: tuple[str, ...]
    of: str
    against: dict[str, float | None]
    compared: Compared = "cpu_us"
    connections: int = CONNECTIONS
    is_keep_alive: bool = True
    uses_generator: bool = False
    half_load_of: str = ""  # a constant rate: half of what this rival can answer
    is_tls: bool = False
    is_resumed: bool = False


SCENARIOS: Final = (
    Scenario(
        name="keep-alive",
        title="Keep-alive, answers from memory",
        rivals=("floor", "nginx", "nginx-no-log", "edge-no-clicks", "edge"),
        of="edge",
        against={"nginx": 0.92, "nginx-no-log": None, "floor": 1.25, "edge-no-clicks": 1.06},
    ),
    Scenario(
        name="connection-each",
        title="One connection per request, answers from memory",
        rivals=("floor", "nginx", "nginx-no-log", "nginx-deferred", "edge"),
        of="edge",
        against={"nginx": 1.1, "nginx-no-log": None, "nginx-deferred": None, "floor": None},
        is_keep_alive=False,
    ),
    Scenario(
        name="half-load",
        title="Keep-alive at a constant rate, half of what nginx can answer",
        rivals=("nginx", "edge"),
        of="edge",
        against={"nginx": 1.0},
        compared="p99_us",
        uses_generator=True,
        half_load_of="nginx",
    ),
    Scenario(
        name="redis",
        title="Keep-alive, each answer from Redis",
        rivals=("nginx", "nginx-lua-redis", "edge-redis"),
        of="edge-redis",
        against={"nginx-lua-redis": 0.6, "nginx": None},
    ),
    Scenario(
        name="rsgi",
        title="Under Granian, keep-alive, answers from memory",
        rivals=("granian-rsgi", "edge-rsgi"),
        of="edge-rsgi",
        against={"granian-rsgi": 1.15},
    ),
    Scenario(
        name="tls-full",
        title="TLS, one connection per request, full handshakes",
        rivals=("nginx-tls", "edge-tls"),
        of="edge-tls",
        against={"nginx-tls": 1.3},
        is_keep_alive=False,
        uses_generator=True,
        is_tls=True,
    ),
    Scenario(
        name="tls-resumed",
        title="TLS, one connection per request, resumed sessions",
        rivals=("nginx-tls", "edge-tls"),
        of="edge-tls",
        against={"nginx-tls": 1.3},
        is_keep_alive=False,
        uses_generator=True,
        is_tls=True,
        is_resumed=True,
    ),
    Scenario(
        name="tls-kept",
        title="TLS, keep-alive",
        rivals=("nginx-tls", "edge-tls"),
        of="edge-tls",
        against={"nginx-tls": 1.3},
        uses_generator=True,
        is_tls=True,
    ),
)
