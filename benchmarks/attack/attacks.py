"""The attacks: what each is, and how it is begun."""

import random
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.load import generator
from benchmarks.macro.cores import pinned
from benchmarks.macro.links import CODE_LENGTH, Link
from benchmarks.macro.serving import Ground, Server

SCANNED_CODES: Final = 200_000
SCANNER: Final = generator.Clients("127.0.0.2")
HERD: Final = generator.Clients("127.0.2.1", 200)
HERD_INTERVAL_MS: Final = 1000
FEW: Final = 64


@dataclass(frozen=True, slots=True)
class Scene:
    """What an attack is begun with. `cold` are links that nobody has asked for."""

    server: Server
    ground: Ground
    directory: Path
    cold: list[Link]
    is_short: bool

    def many(self, count: int) -> int:
        """The count, or a tenth of it in a short run."""
        return count // 10 if self.is_short else count


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: the command that does it, and a sentence on what it did."""

    name: str
    title: str
    command: Callable[[Scene], list[str]]
    tell: Callable[[dict[str, Any]], str]


def _hostile(kind: str, connections: int) -> Callable[[Scene], list[str]]:
    def command(scene: Scene) -> list[str]:
        words = [kind, str(scene.server.port), str(scene.many(connections) if connections > FEW else connections)]
        return pinned(scene.ground.cores.load, [sys.executable, "-m", "benchmarks.attack.hostile", *words])

    return command


def _generated(scene: Scene, orders: generator.Orders) -> list[str]:
    words = [str(generator.program()), *orders.arguments(scene.server.port)]
    return pinned(scene.ground.cores.load, words)


def _scan(scene: Scene) -> list[str]:
    choose = random.Random(2)
    letters = string.digits + string.ascii_letters
    codes = ("".join(choose.choices(letters, k=CODE_LENGTH)) for _ in range(SCANNED_CODES))
    links = generator.write_links((Link(code, generator.ABSENT) for code in codes), scene.directory / "scanned")
    return _generated(scene, generator.Orders(links=links, connections=FEW, is_any=True, clients=SCANNER))


def _herd(scene: Scene) -> list[str]:
    links = generator.write_links(scene.cold, scene.directory / "cold")
    orders = generator.Orders(
        links=links, connections=scene.many(10_000), burst_ms=HERD_INTERVAL_MS, is_any=True, clients=HERD
    )
    return _generated(scene, orders)


def _counted(done: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(done.items()))


def _answers(done: dict[str, Any]) -> str:
    statuses = [f"{count:,} times {status}" for status, count in done["statuses"].items()]
    errors = [f"{count:,} {kind}" for kind, count in done["errors"].items() if count]
    return f"{done['asked']:,} requests: {', '.join(statuses + errors)}"


def _bursts(done: dict[str, Any]) -> str:
    return f"{done['bursts']} bursts, {_answers(done)}; slowest {done['latency_us']['max'] / 1000:,.0f} ms"


ATTACKS: Final = (
    Attack(
        name="slow-heads",
        title="5,000 connections that send a head byte by byte",
        command=_hostile("slow-heads", 5_000),
        tell=_counted,
    ),
    Attack(name="scan", title="random codes from one address, at full rate", command=_scan, tell=_answers),
    Attack(name="herd", title="10,000 requests at once for one cold link", command=_herd, tell=_bursts),
    Attack(name="large-heads", title="heads of 64 KiB", command=_hostile("large-heads", FEW), tell=_counted),
    Attack(name="resets", title="connections half-closed and reset", command=_hostile("resets", FEW), tell=_counted),
)
