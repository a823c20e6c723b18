"""One run: load, acts, rest, comparison."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.load import generator
from benchmarks.macro import cores
from benchmarks.macro.links import Link, make
from benchmarks.violence import accounts, reading
from benchmarks.violence.acts import Act
from tests.stack.server import children
from tests.system.product import Product, until

TAG: Final = "violence"
SETTLE_S: Final = 180
# The load ends when the acts are over; this is only so that it ends at all.
LOAD_S_MAX: Final = 600
CONNECTIONS: Final = 64

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much load, for how long at least, and what happens meanwhile, evenly spread."""

    rate: int
    seconds: float
    links: int
    acts: Sequence[Act]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """An act as it happened."""

    title: str
    at_s: float
    recovery_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it. `settle_s`: from the last answer until nothing was left to be done."""

    blows: list[Blow]
    seconds: float
    settle_s: float
    client: accounts.Client
    product: accounts.Product

    @property
    def failures(self) -> list[str]:
        """What does not agree."""
        return accounts.failures(self.client, self.product)


def run(product: Product, plan: Plan, directory: Path, tell: Tell) -> Outcome:
    """Load a running product, strike it, and compare; its links and clicks must be none at the start."""
    links = list(make(plan.links))
    tell(f"importing {plan.links:,} links")
    _import(product, links, directory)
    orders = generator.Orders(
        links=generator.write_links(links, directory / "links"),
        connections=CONNECTIONS,
        rate=plan.rate,
        seconds=LOAD_S_MAX,
    )
    port = int(product.dev["edge_url"].rpartition(":")[2])
    with generator.loading(orders, port, cores.pick().load) as load:
        started = time.monotonic()
        blows = _strike(product, plan, started, tell)
        _wait(started + plan.seconds)
        client = accounts.client_of(load.stop())
    ended = time.monotonic()
    tell(f"load ended: {client.received:,} redirects received, {client.died:,} requests died")
    settled = _settled(product, client, tell)
    return Outcome(
        blows=blows,
        seconds=ended - started,
        settle_s=time.monotonic() - ended,
        client=client,
        product=settled,
    )


def _strike(product: Product, plan: Plan, started: float, tell: Tell) -> list[Blow]:
    blows = []
    for number, act in enumerate(plan.acts, start=1):
        _wait(started + number * plan.seconds / (len(plan.acts) + 1))
        at = time.monotonic()
        tell(f"{at - started:5.1f} s: SIGKILL to {act.title}")
        try:
            act.strike(product)
        except (AssertionError, TimeoutError) as error:
            raise BenchmarkError(f"after {act.title} was killed: {error!r}") from error
        blows.append(Blow(title=act.title, at_s=at - started, recovery_s=time.monotonic() - at))
        tell(f"         works again after {blows[-1].recovery_s:.1f} s")
    return blows


def _wait(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _settled(product: Product, client: accounts.Client, tell: Tell) -> accounts.Product:
    """What the product says when nothing is left to be done, or when it has had long enough."""
    last = reading.read(product, TAG)
    told = ""
    workers = len(children(product.pids()["edge"]))

    def is_settled() -> bool:
        nonlocal last, told
        last = reading.read(product, TAG)
        now = f"stored {last.stored:,}; {last.in_flight:,} clicks and {last.frames} frames are in flight"
        if now != told:
            tell(now)
            told = now
        return accounts.is_settled(client, last, workers)

    try:
        until(is_settled, SETTLE_S)
    except AssertionError:
        tell(f"not settled after {SETTLE_S} s")
    return last


def _import(product: Product, links: list[Link], directory: Path) -> None:
    file = directory / "links.csv"
    file.write_text("".join(f"{link.code},{link.target}\n" for link in links), encoding="ascii")
    command = [sys.executable, "-m", "control", "link", "import", str(file), f"--tag={TAG}"]
    environ = {**os.environ, "POINTSMAN_DATABASE_URL": product.dev["postgres_dsn"]}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise BenchmarkError(f"the links cannot be imported: {ended.stderr}")
