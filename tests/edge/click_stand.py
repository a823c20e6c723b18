"""A test stand for the way of clicks: a writer in this process, a shipper beside it, and control's side of a stream."""

import asyncio
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from edge import segment
from edge._clicklog import ClickLog
from edge._counters import BLOCK_BYTES, Counters
from edge.clicks import ship
from edge.config import EdgeConfig, load, variable
from edge.ledger import Ledger
from edge.segment import Room, directory_of
from edge.shipping import Shipping
from tests.edge.stand import DEADLINE_S
from tests.stack.server import RedisServer
from wire import click, frame, keys, report
from wire.click import Click

HEAD = b"GET /code HTTP/1.1\r\nHost: sho.rt\r\nUser-Agent: %s\r\n\r\n"
SEGMENT_BYTES = 65_536


def config_of(state_dir: Path, seeds: Sequence[str], **settings: object) -> EdgeConfig:
    """An edge's settings; shipping is impatient."""
    values = {"seeds": ",".join(seeds), "id": "test", "state_dir": state_dir, "click_ack_timeout_ms": 200, **settings}
    return load({variable(name): str(value) for name, value in values.items()})


class Recorder:
    """A writer that lives in this process, until `die` or `close`."""

    def __init__(self, state_dir: Path, edge_id: str = "test") -> None:
        self.directory = directory_of(str(state_dir))
        self.directory.mkdir(parents=True, exist_ok=True)
        self._edge_id = edge_id
        self._room = Room(self.directory, 2**30, SEGMENT_BYTES)
        self._log = ClickLog(Counters(mmap.mmap(-1, BLOCK_BYTES), 0), config_of(state_dir, ["redis://127.0.0.1:1"]))
        self._ledger = Ledger.create(self.directory, edge_id, _wall_ms())
        self._now_ms = 0
        self._segments = 0
        self._log.open(self._ledger.books)
        self._tend()

    @property
    def writer(self) -> int:
        """Its number."""
        return self._ledger.writer

    def click(self, link_ids: Sequence[int], agent: bytes = b"agent") -> None:
        """Record one click of each link."""
        for link_id in link_ids:
            self._log.record(HEAD % agent, "192.0.2.1", link_id, 1, 302, self._now_ms)
            self._tend()

    def seal(self) -> None:
        """Let the time of the frame under way pass."""
        self._now_ms += 2000
        self._tend()

    def rotate(self) -> None:
        """Let the time of the segment under way pass."""
        self._now_ms += 120_000
        self._tend()
        self._tend()

    def die(self) -> None:
        """As after SIGKILL: the lock is free, and nothing else was done."""
        self._ledger.close()

    def close(self) -> None:
        """End in order."""
        self._log.close()
        self._ledger.close()

    def _tend(self) -> None:
        if not self._log.has_spare:
            for _ in range(1 if self._segments else 2):
                made = segment.create(self._room, self.writer, self._segments, self._edge_id)
                self._log.supply(made)
                self._segments += 1
        self._log.tend(self._now_ms, _wall_ms())


class Consumer:
    """Control's side, as small as can be: reads the group, keeps what it got, acknowledges."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self._servers = servers
        self.bodies: dict[tuple[int, int, int], bytes] = {}
        self.arrivals: Counter[tuple[int, int, int]] = Counter()
        self.reports: dict[int, report.Report] = {}

    def links(self) -> list[int]:
        """The links of all clicks that are stored, sorted."""
        return sorted(stored.link_id for stored in self.clicks())

    def clicks(self) -> list[Click]:
        """All clicks that are stored."""
        return [stored for body in self.bodies.values() for stored in click.decode(body)]

    def has(self, links: Iterable[int]) -> bool:
        """Whether the clicks of these links, and no others, are stored once it has looked."""
        self.consume()
        return self.links() == sorted(links)

    def consume(self, is_acknowledging: bool = True) -> None:
        """Take what is in the streams."""
        for server in self._servers:
            if server.is_running:
                self._consume(server, is_acknowledging)

    def _consume(self, server: RedisServer, is_acknowledging: bool) -> None:
        with redis.Redis.from_url(server.url) as client:
            with suppress(redis.ResponseError):  # the group is there
                client.xgroup_create(keys.CLICKS, keys.CLICKS_GROUP, id="0", mkstream=True)
            reply: Any = client.xreadgroup(keys.CLICKS_GROUP, "test", {keys.CLICKS: ">"}, count=100)
            entries = reply[0][1] if reply else []
            for entry_id, fields in entries:
                self._take(client, entry_id, fields, is_acknowledging)

    def _take(self, client: Any, entry_id: bytes, fields: dict[bytes, bytes], is_acknowledging: bool) -> None:
        ((field, data),) = fields.items()
        if field == keys.FRAME_FIELD:
            edge_id, name, value = self._store(frame.decode(data))
        else:
            edge_id, name, value = self._note(report.decode(data))
        pipeline = client.pipeline(transaction=False)
        pipeline.xack(keys.CLICKS, keys.CLICKS_GROUP, entry_id)
        pipeline.xdel(keys.CLICKS, entry_id)
        if name and is_acknowledging:
            pipeline.hset(keys.click_ack_key(edge_id), name, value)
            pipeline.pexpire(keys.click_ack_key(edge_id), 3_600_000)
        pipeline.execute()

    def _store(self, got: frame.Frame) -> tuple[str, bytes, int]:
        key = (got.writer, got.segment, got.start)
        assert self.bodies.setdefault(key, got.body) == got.body, "a frame that came again is another one"
        self.arrivals[key] += 1
        return got.edge_id, keys.frame_name(*key), got.start + len(got.body)

    def _note(self, got: report.Report) -> tuple[str, bytes, int]:
        self.reports[got.writer] = got
        return got.edge_id, keys.report_name(got.writer) if got.is_final else b"", 1


@contextmanager
def shipping(state_dir: Path, seeds: Sequence[str], **settings: object) -> Iterator[Shipping]:
    """A shipper in a thread; what it counts."""
    counted = Shipping()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    config = config_of(state_dir, seeds, **settings)
    thread = threading.Thread(target=lambda: loop.run_until_complete(ship(config, counted, stopping)))
    thread.start()
    try:
        yield counted
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the shipper does not end"
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def killed_shipper(state_dir: Path, seeds: Sequence[str], point: str) -> subprocess.Popen[bytes]:
    """A shipper in a process of its own that is killed the first time that it comes to a point of its way."""
    environ = os.environ | {"STATE_DIR": str(state_dir), "SEEDS": ",".join(seeds)}
    return subprocess.Popen([sys.executable, "-m", "tests.edge.click_stand", point], env=environ)


def _run_until(point: str) -> None:
    """The child's side: SIGKILL behind the call that the point names."""
    name, _, method = point.partition(".")
    module = __import__(f"edge.{name.lower()}", fromlist=[name])
    owner = getattr(module, name)
    real = getattr(owner, method)

    def then_die(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    async def await_then_die(*arguments: Any, **named: Any) -> Any:
        result = await real(*arguments, **named)
        if result or method == "clear":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, await_then_die if asyncio.iscoroutinefunction(real) else then_die)
    config = config_of(Path(os.environ["STATE_DIR"]), os.environ["SEEDS"].split(","))
    asyncio.run(ship(config, Shipping(), asyncio.Event()))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    _run_until(sys.argv[1])
