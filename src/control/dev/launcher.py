"""Starts the stack in order, watches it, and stops it in the opposite order.

lock and ports ─▶ postgres, shard-0..2 ─▶ database: migrations, topology, key ─▶ control, edge ─▶ dev.json
"""

import asyncio
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from control.dev import logs, postgres, prepare, programs
from control.dev.child import Child
from control.dev.config import DevConfig, load
from control.dev.console import Console
from control.dev.ports import is_free
from control.dev.postgres import Cluster
from control.dev.program import Program
from control.dev.state import Stack, State, claim
from control.errors import Error

# What is stopped first; the order within a row does not matter.
STOP_ORDER: Final = (("edge",), ("control",), ("shard-0", "shard-1", "shard-2"), ("postgres",))


def run(environ: Mapping[str, str]) -> int:
    """Run the stack until SIGINT or SIGTERM; raises Error when it cannot start or cannot be kept alive."""
    config = load(environ)
    console = Console()
    state = claim(config.directory, console.announce)
    _check_ports(config)
    asyncio.run(Launcher(config, state, environ, console).run())
    return 0


class Launcher:
    """One run of the stack."""

    def __init__(self, config: DevConfig, state: State, environ: Mapping[str, str], console: Console) -> None:
        self._config = config
        self._state = state
        self._environ = environ
        self._console = console
        self._children: dict[str, Child] = {}
        self._publish: Callable[[], None] = _nothing

    async def run(self) -> None:
        """Run until told to stop."""
        work = asyncio.create_task(self._work())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        self._state.retract()
        try:
            await work
        except asyncio.CancelledError:
            self._console.announce("stopping")
        finally:
            self._state.retract()
            await self._stop()
        self._console.announce(f"stopped; the data stay in {self._state.directory}")

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(logs.keep_small(self._state.log("any").parent))
                with self._console.starting():
                    stack, url = await self._start(tasks)
                self._publish = lambda: self._state.publish(programs.document(self._config, stack, url, self._pids()))
                self._publish()
                self._console.announce(_welcome(self._config, stack.api_key, self._state))
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _start(self, tasks: asyncio.TaskGroup) -> tuple[Stack, str]:
        """Start everything; what is remembered from now on, and the database's URL."""
        stack = self._state.recall()
        self._state.remember(stack)
        cluster = await self._open_cluster(stack)
        server = postgres.program(cluster, stack.ports["postgres"], self._state.log("postgres"))
        await self._start_together(tasks, [server, *programs.shards(self._state, stack)])
        stack, url = await self._prepare(cluster, stack)
        await self._start_together(
            tasks,
            [
                programs.control(self._config, self._state, url, self._environ),
                programs.edge(self._config, self._state, stack, self._environ),
            ],
        )
        return stack, url

    async def _open_cluster(self, stack: Stack) -> Cluster:
        directory = self._state.directory / "postgres"
        with self._console.step("PostgreSQL's files"):
            return await asyncio.to_thread(postgres.open_cluster, directory, stack.postgres_password)

    async def _prepare(self, cluster: Cluster, stack: Stack) -> tuple[Stack, str]:
        with self._console.step("database"):
            await prepare.create_database(cluster.dsn(stack.ports["postgres"], "postgres"))
            url = programs.database_url(cluster, stack)
            urls = programs.shard_urls(stack)
            stack = stack.with_key(await prepare.prepare(url, stack.edge_password, urls, stack.api_key))
        self._state.remember(stack)
        return stack, url

    async def _start_together(self, tasks: asyncio.TaskGroup, wanted: Sequence[Program]) -> None:
        async with asyncio.TaskGroup() as starting:
            for program in wanted:
                starting.create_task(self._start_child(tasks, program))

    async def _start_child(self, tasks: asyncio.TaskGroup, program: Program) -> None:
        child = Child(program, (self._state.lock,), self._console.announce)
        self._children[program.name] = child
        with self._console.step(program.name):
            await child.start()
        tasks.create_task(child.keep(self._on_restart))

    def _on_restart(self) -> None:
        """A child has another pid now."""
        self._publish()

    async def _stop(self) -> None:
        for names in STOP_ORDER:
            await asyncio.gather(*(self._children[name].stop() for name in names if name in self._children))

    def _pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items() if child.pid}


def _nothing() -> None:
    """Before everything is ready nothing is published."""


def _check_ports(config: DevConfig) -> None:
    for name, port in config.ports.items():
        if not is_free(port):
            raise Error("address_taken", f"port {port} is taken; free it or set {name}. Nothing was started")


def _first(error: BaseException) -> BaseException:
    """The error that made a group of tasks end; the rest followed from it."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _welcome(config: DevConfig, api_key: str, state: State) -> str:
    api = programs.control_url(config)
    code = f"hello-{secrets.token_hex(2)}"
    return f"""
Pointsman is ready.

  API   {api}/api/v1   (docs: {api}/docs)
  key   {api_key}
  logs  {state.log("any").parent}

Create a link:

  curl {api}/api/v1/links -H 'Authorization: Bearer {api_key}' \
-H 'Content-Type: application/json' -d '{{"target": "https://example.com/", "code": "{code}"}}'

and follow it:

  curl -i {programs.edge_url(config)}/{code}

Ctrl-C stops everything; `make run` starts it again with all data.
"""
