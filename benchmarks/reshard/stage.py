"""The product under load, and more Redis servers that can become shards."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import BenchmarkError
from benchmarks.companion import Companion, accompanied
from benchmarks.load import generator
from benchmarks.load.generator import Orders, Run
from benchmarks.macro.cores import Cores, pick
from benchmarks.processes import LEASH, family
from benchmarks.reshard.phases import Phases
from benchmarks.reshard.population import Population
from control.dev import redis as dev_redis
from control.dev.child import DEATHS_WINDOW_S
from control.dev.ports import free_ports
from tests.stack.server import RedisServer
from tests.system.product import LAUNCHER, Product, until, until_ended

Tell = Callable[[str], None]

CONNECTIONS: Final = 64
# One client alone that asked for so many links that are not there would be refused them (429).
PEOPLE: Final = generator.Clients("127.0.5.1", 100)
READY_S: Final = 60
IMPORT_BATCH_S: Final = 1800
# The load is ended by us; this is only so that it ends at all.
LOAD_S_MAX: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """What is asked of the product. `rate`: requests a second, 0 as fast as it goes; `changes`: of links, a second.

    If it `is_measured`, its programs get the cores that they are to have; else those that the kernel likes.
    """

    rate: float
    changes: float
    is_measured: bool


@dataclass(kw_only=True)
class Stage:
    """What acts work with."""

    product: Product
    population: Population
    phases: Phases
    cores: Cores
    directory: Path
    tell: Tell
    loads: Loads
    spares: dict[str, RedisServer] = field(default_factory=dict)
    _killed: dict[str, float] = field(default_factory=dict)
    _next: int = 3

    @property
    def edge_port(self) -> int:
        """Where the edge answers."""
        return int(self.product.dev["edge_url"].rpartition(":")[2])

    def spare(self) -> tuple[str, RedisServer]:
        """A new empty Redis server, with a name that no shard has had; it runs as the product's own ones do."""
        name, self._next = f"shard-{self._next}", self._next + 1
        (port,) = free_ports(1)
        directory = self.directory / name
        server = RedisServer(dev_redis.program(name, directory, port, self.directory / f"{name}.log"), port, directory)
        self.spares[name] = server
        self.start(name)
        return name, server

    def start(self, name: str) -> None:
        """Start a spare server, on the core where shards are."""
        server = self.spares[name]
        server.start()
        if self.loads.is_measured:
            os.sched_setaffinity(server.pid, {self.cores.server})

    def shards(self) -> dict[str, str]:
        """The URLs of the topology in force, by id."""
        return {shard["id"]: shard["url"] for shard in self.call("GET", "/api/v1/shards")["items"]}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask control until it answers, as it may have been killed; raises BenchmarkError for a refusal."""
        answered: list[Any] = []

        def ask() -> bool:
            with contextlib.suppress(OSError):
                answered.append(self.product.call(method, path, body))
            return bool(answered)

        until(ask, READY_S)
        if answered[0].status >= 300:
            raise BenchmarkError(f"{method} {path} was answered with {answered[0].status}: {answered[0].body!r}")
        return answered[0].json

    def move(self, method: str, path: str, body: Any = None) -> int:
        """Start a move; its id."""
        move: int = self.call(method, path, body)["id"]
        return move

    def add(self) -> tuple[int, str]:
        """Start to add a new shard."""
        name, server = self.spare()
        return self.move("POST", "/api/v1/shards", {"id": name, "url": server.url}), name

    def kill(self, name: str) -> None:
        """Kill what the product's supervision starts again, and wait until it has."""
        self.tell(f"    SIGKILL to {name}")
        victim = self.product.pids()[name]
        handle = os.pidfd_open(victim)
        os.kill(victim, signal.SIGKILL)
        until_ended(handle)
        until(lambda: self.product.pids()[name] not in {victim, 0}, READY_S)
        self._killed[name] = time.monotonic()
        self.arrange()

    def rest(self, name: str) -> None:
        """Wait until a program may die some more times before it is given up."""
        time.sleep(max(0.0, self._killed.get(name, 0.0) + DEATHS_WINDOW_S - time.monotonic()))

    def arrange(self) -> None:
        """Edge and shards to their core, the launcher to that of the load.

        Control and PostgreSQL have machines of their own elsewhere. Here they run on both while nothing else wants to.
        """
        if not self.loads.is_measured:
            return
        pids = self.product.pids()
        edge, elsewhere = family(pids["edge"]), family(pids["control"]) | family(pids["postgres"])
        shards = {pid for name, pid in pids.items() if name.startswith("shard-")}
        for pid in family(self.product.process.pid) - {0}:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it may end meanwhile
                if pid in edge or pid in shards:
                    _place(pid, {self.cores.server}, os.SCHED_OTHER)
                elif pid in elsewhere:
                    _place(pid, {self.cores.server, self.cores.load}, os.SCHED_IDLE)
                else:
                    _place(pid, {self.cores.load}, os.SCHED_OTHER)

    @contextlib.contextmanager
    def loading(self, orders: Orders | None = None) -> Iterator[Run]:
        """The load, until the block ends."""
        orders = orders or Orders(
            links=self.population.links,
            order=self.population.order,
            truth=self.population.truth,
            connections=CONNECTIONS,
            clients=PEOPLE,
            rate=self.loads.rate,
            seconds=LOAD_S_MAX,
        )
        with generator.loading(orders, self.edge_port, self.cores.load) as run:
            yield run

    @contextlib.contextmanager
    def changing(self) -> Iterator[Companion]:
        """Changes of links, until the block ends."""
        words = [
            *(sys.executable, "-m", "benchmarks.reshard.changer"),
            *(str(self.product.directory / "dev.json"), str(self.population.directory), str(self.loads.changes)),
        ]
        with accompanied(["taskset", "--cpu-list", str(self.cores.load), *words]) as companion:
            yield companion

    def close(self) -> None:
        """End what was started beside the product."""
        for server in self.spares.values():
            server.close()

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of pointsman."""
        environ = {**os.environ, "POINTSMAN_DATABASE_URL": self.product.dev["postgres_dsn"]}
        command = [*LEASH, sys.executable, "-m", "control", *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=IMPORT_BATCH_S, check=False)


def _place(pid: int, cores: set[int], policy: int) -> None:
    """All threads of a process; `policy` as of sched(7)."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)
        os.sched_setscheduler(int(thread), policy, os.sched_param(0))


@contextlib.contextmanager
def staged(
    directory: Path,
    population: Population,
    tell: Tell,
    settings: dict[str, str],
    loads: Loads,
) -> Iterator[Stage]:
    """The product with all links; if it is measured, arranged on its cores."""
    product = Product(directory / "state", **settings).start((*LEASH, *LAUNCHER))
    with contextlib.ExitStack() as closing:
        closing.callback(product.close)
        phases = closing.enter_context(Phases(product.dev["postgres_dsn"]))
        stage = Stage(
            product=product,
            population=population,
            phases=phases,
            cores=pick(),
            directory=directory,
            tell=tell,
            loads=loads,
        )
        closing.callback(stage.close)
        imported = stage.run("link", "import", str(population.table))
        if imported.returncode != 0:
            raise BenchmarkError(f"the links cannot be imported: {imported.stderr}")
        until(lambda: stage.phases.fetch("SELECT NOT EXISTS (SELECT FROM outbox)"), IMPORT_BATCH_S)
        until(
            lambda: all(shard["state"] == "complete" for shard in stage.call("GET", "/api/v1/shards")["items"]), READY_S
        )
        # What the import still has PostgreSQL do would be part of what is measured first.
        for statement in ("VACUUM (ANALYZE) links", "CHECKPOINT"):
            stage.phases.execute(statement)
        stage.arrange()
        yield stage
