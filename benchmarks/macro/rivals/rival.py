"""What a rival is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.macro.links import Link
from benchmarks.processes import Command

Source = Literal["memory", "redis"]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a server is given: a directory of its own, the port to listen on, the links, the Redis that holds them."""

    directory: Path
    port: int
    links: list[Link]
    redis_port: int
    is_keep_alive: bool
    admin_port: int  # for a server that has a port for metrics


def _missing_nothing() -> str:
    return ""


def _target_of(link: Link) -> str:
    return link.target


def location_of_all(location: str) -> Callable[[Link], str]:
    """For a server that sends all to one place."""
    return lambda _link: location


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """One server. `source` is where its answers come from, which is checked."""

    name: str
    title: str
    source: Source
    command: Callable[[Stage], Command]
    missing: Callable[[], str] = _missing_nothing  # what is not there to run it, and how to get it; "" if nothing
    location: Callable[[Link], str] = _target_of  # what it must send in Location
    log_file: str = ""  # in its directory, where each answer must have its line; "" if it keeps no log
    is_tls: bool = False
    has_clicks: bool = False  # it is an edge that must have recorded a click for each answer
