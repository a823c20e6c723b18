"""A test stand: shards and a database filled by the test itself, and a real edge in front, asked over real sockets."""

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import redis

from control.dev.ports import free_ports
from edge._fast import Ring, xxh64
from tests.stack.server import RedisServer, Server
from wire import domains, fence, heartbeat, keys, record, topology

DEADLINE_S = 10
POLL_S = 0.01
HOST = "sho.rt"


@dataclass(frozen=True)
class Response:
    """What the edge answered."""

    status: int
    location: str | None
    headers: dict[str, str]
    body: bytes


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Ask again until the condition holds, and give its value; fails after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(POLL_S)  # between two questions; nothing relies on its length
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


@contextmanager
def stalled(server: Server) -> Iterator[Callable[[], None]]:
    """A server whose clock stands; it goes on at the end, or before when what this gives is called."""
    server.pause()
    with ExitStack() as stack:
        stack.callback(server.resume)
        yield stack.close


class Shards:
    """Shards that the test fills as control would."""

    def __init__(self, servers: list[RedisServer], epoch: int = 1) -> None:
        self.servers = servers
        self.topology = topology.Topology(
            epoch=epoch,
            virtual_nodes=64,
            shards=tuple(topology.Shard(id=f"shard-{n}", url=server.url) for n, server in enumerate(servers)),
        )
        self._ring = Ring(self.topology.members, 64)
        for number in range(len(servers)):
            self.publish(number)
            self.set_fence(number)

    def client(self, number: int) -> redis.Redis:
        """A new connection to a shard."""
        return redis.Redis.from_url(self.servers[number].url)

    def owner(self, code: str) -> int:
        """The number of the shard that owns a code of domain 1."""
        return self._ring.shard(xxh64(keys.cache_key(1, code)))

    def code_of(self, number: int, prefix: str = "code") -> str:
        """A code that this shard owns."""
        return next(code for n in range(10_000) if self.owner(code := f"{prefix}{n}") == number)

    def publish(self, number: int) -> None:
        """Write topology and domains."""
        table = domains.Domains(revision=1, default_id=1, hosts={HOST: 1, "other.example": 2})
        with self.client(number) as client:
            client.mset({keys.TOPOLOGY: topology.encode(self.topology), keys.DOMAINS: domains.encode(table)})

    def enforce(self, described: topology.Topology, numbers: Iterable[int] | None = None) -> None:
        """Publish another topology as control does: documents and fence at once; to all shards that the test has."""
        self.topology = described
        self._ring = Ring(described.members, described.virtual_nodes)
        for number in range(len(self.servers)) if numbers is None else numbers:
            with self.client(number) as client, client.pipeline(transaction=True) as both:
                run_id = client.info("server")["run_id"]
                both.set(keys.TOPOLOGY, topology.encode(described))
                both.set(keys.FENCE, fence.encode(fence.Fence(epoch=described.epoch, state="complete", run_id=run_id)))
                both.execute()

    def described(
        self, epoch: int, mode: topology.Mode, read: Sequence[float], second: Sequence[float] = ()
    ) -> topology.Topology:
        """A topology of the stand's shards with these weights on the two rings."""
        weights = zip(self.servers, read, second or [0] * len(read), strict=True)
        shards = tuple(
            topology.Shard(id=f"shard-{n}", url=server.url, weight=weight, second_weight=second_weight)
            for n, (server, weight, second_weight) in enumerate(weights)
        )
        return topology.Topology(epoch=epoch, mode=mode, virtual_nodes=64, shards=shards)

    def heartbeats(self, edge_id: str = "test.0") -> list[heartbeat.Heartbeat | None]:
        """The worker's heartbeat at each shard."""
        found = []
        for number in range(len(self.servers)):
            with self.client(number) as client:
                value = client.get(keys.edge_key(edge_id))
                found.append(None if value is None else heartbeat.decode(value))
        return found

    def set_fence(self, number: int, state: fence.FenceState = "complete", epoch: int = 1, run_id: str = "") -> None:
        """Write a fence, by default the one that lets the edge trust the shard wholly."""
        with self.client(number) as client:
            actual = client.info("server")["run_id"]
            client.set(keys.FENCE, fence.encode(fence.Fence(epoch=epoch, state=state, run_id=run_id or actual)))

    def put(self, code: str, target: str, domain_id: int = 1, **fields: Any) -> None:
        """Write a link's record at its owner."""
        self.put_at(self._ring.shard(xxh64(keys.cache_key(domain_id, code))), code, target, domain_id, **fields)

    def put_at(self, number: int, code: str, target: str, domain_id: int = 1, **fields: Any) -> None:
        """Write a link's record at this shard."""
        values = {"link_id": 1, "version": 1, "status": 302} | fields
        with self.client(number) as client:
            data = record.encode(record.LinkRecord(target=target.encode(), **values))
            client.set(keys.link_key(domain_id, code), data)

    def delete(self, code: str) -> None:
        """Write a tombstone."""
        with self.client(self.owner(code)) as client:
            client.set(keys.link_key(1, code), record.encode(record.Tombstone(link_id=1, version=9)))


class Edge:
    """A running edge."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin_port: int) -> None:
        self.process = process
        self.port = port
        self.admin_port = admin_port

    def get(self, path: str, host: str = HOST, method: str = "GET") -> Response:
        """One request on a connection of its own."""
        return _ask(self.port, path, host, method)

    def admin(self, path: str) -> Response:
        """One request to the admin port."""
        return _ask(self.admin_port, path, "admin", "GET")

    def admits(self) -> bool:
        """Whether it takes requests, ready or not."""
        try:
            return self.get("/").status > 0
        except OSError:
            return False

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return self.admin("/readyz").status == 200
        except OSError:
            return False

    def metric(self, name: str, labels: str = "") -> int:
        """The value of one series of /metrics, of all workers."""
        prefix = f"pointsman_edge_{name}{labels}"
        lines = [line for line in self.admin("/metrics").body.decode().splitlines() if line.startswith(prefix)]
        return sum(int(line.rpartition(" ")[2]) for line in lines if line[len(prefix)] in " {")

    def workers(self) -> list[dict[str, Any]]:
        """What /readyz says of each worker."""
        workers: list[dict[str, Any]] = orjson.loads(self.admin("/readyz").body)["workers"]
        return workers


def _ask(port: int, path: str, host: str, method: str) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        return Response(answer.status, answer.headers["Location"], dict(answer.headers), answer.read())
    finally:
        connection.close()


@contextmanager
def running_edge(state_dir: Path, seeds: list[str], workers: int = 1, **settings: object) -> Iterator[Edge]:
    """An edge from when it is ready to its end; `settings` are those of edge.config."""
    with started_edge(state_dir, seeds, workers, **settings) as edge:
        eventually(lambda: edge.process.poll() is not None or edge.is_ready(), "the edge is ready")
        assert edge.process.poll() is None, "the edge ended at its start"
        yield edge


@contextmanager
def started_edge(state_dir: Path, seeds: list[str], workers: int = 1, **settings: object) -> Iterator[Edge]:
    """An edge from its start to its end, for tests in which it cannot become ready."""
    port, admin_port = free_ports(2)
    values = {
        "SEEDS": ",".join(seeds),
        "PORT": port,
        "ADMIN_PORT": admin_port,
        "WORKERS": workers,
        "STATE_DIR": state_dir,
        "ID": "test",
        **{name.upper(): value for name, value in settings.items()},
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_EDGE_")}
    environ |= {f"POINTSMAN_EDGE_{name}": str(value) for name, value in values.items()}
    process = subprocess.Popen([sys.executable, "-m", "edge"], env=environ)
    edge = Edge(process, port, admin_port)
    try:
        yield edge
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def migrate(database_url: str) -> None:
    """Give a database the schema."""
    environ = os.environ | {"POINTSMAN_DATABASE_URL": database_url}
    subprocess.run([sys.executable, "-m", "control", "migrate"], env=environ, check=True, capture_output=True)


def insert_link(database_url: str, code: str, target: str, **columns: object) -> None:
    """Write a link to PostgreSQL without projecting it."""
    values = {"code": code, "target": target, "domain_id": 1, "key_hash": 0, **columns}
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    execute(
        database_url,
        "INSERT INTO domains (host, base_url, is_default) VALUES ('sho.rt', 'http://sho.rt', true) "
        "ON CONFLICT DO NOTHING",
    )
    execute(database_url, f"INSERT INTO links ({', '.join(values)}) VALUES ({places})", *values.values())


def execute(database_url: str, statement: str, *arguments: object) -> None:
    """Run one statement."""
    asyncio.run(_execute(database_url, statement, arguments))


async def _execute(database_url: str, statement: str, arguments: tuple[object, ...]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
