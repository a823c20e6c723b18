"""What is measured."""

from dataclasses import dataclass
from typing import Final

CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A kind of load and the names of the rivals that take turns under it.

    `ratio` is (numerator, denominators): the rival that the page is about, and those that it is held against.
    """

    name: str
    title: str
    rivals: tuple[str, ...]
    ratio: tuple[str, tuple[str, ...]]
    connections: int = CONNECTIONS
    is_keep_alive: bool = True


SCENARIOS: Final = (
    Scenario(
        name="keep-alive",
        title="Keep-alive, answers from memory",
        rivals=("floor", "nginx", "nginx-no-log", "edge"),
        ratio=("edge", ("nginx", "nginx-no-log", "floor")),
    ),
    Scenario(
        name="connection-each",
        title="One connection per request, answers from memory",
        rivals=("floor", "nginx", "nginx-no-log", "edge"),
        ratio=("edge", ("nginx", "nginx-no-log", "floor")),
        is_keep_alive=False,
    ),
    Scenario(
        name="redis",
        title="Keep-alive, each answer from Redis",
        rivals=("nginx", "nginx-lua-redis", "edge-redis"),
        ratio=("edge-redis", ("nginx-lua-redis", "nginx")),
    ),
)
