"""Clicks from a client's request to control's side of the stream, through a running edge whose parts are killed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.segment import directory_of
from tests.edge.click_stand import Consumer
from tests.edge.stand import Edge, Shards, eventually, running_edge
from tests.edge.test_rsgi import ask, running_granian
from tests.stack.fixtures import RedisFactory

HOST = "sho.rt"


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One shard; link `abc` has id 7."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/", link_id=7)
    return made


@contextmanager
def consuming(consumer: Consumer) -> Iterator[None]:
    """Control's side at work, until the end of the block."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.02):
            consumer.consume()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def ledgers(state_dir: Path) -> list[Path]:
    """Those on disk."""
    return list(directory_of(str(state_dir)).glob("*.ledger"))


def ask_often(edge: Edge, times: int) -> int:
    """Ask for the link; how many answers came."""
    return sum(edge.get("/abc").status == 302 for _ in range(times))


def test_stop_ships_what_was_recorded(shards: Shards, tmp_path: Path) -> None:
    """While control takes clicks, an edge that is told to stop leaves nothing on its disk."""
    consumer = Consumer(shards.servers)
    with consuming(consumer):
        with running_edge(tmp_path, [shards.servers[0].url], workers=2) as edge:
            assert ask_often(edge, 30) == 30
        assert ledgers(tmp_path) == []
    assert consumer.links() == [7] * 30
    assert all(told.is_final for told in consumer.reports.values())
    assert sum(told.recorded for told in consumer.reports.values()) == 30


def test_no_click_is_lost_whoever_is_killed(shards: Shards, tmp_path: Path) -> None:
    """A worker, the shard with its memory, then the whole edge: every answer's click arrives, none twice (I3)."""
    consumer, seeds = Consumer(shards.servers), [shards.servers[0].url]
    answered = 0
    with running_edge(tmp_path, seeds, workers=2) as edge:
        answered += ask_often(edge, 20)
        os.kill(edge.workers()[0]["pid"], signal.SIGKILL)
        eventually(lambda: edge.metric("click_frames_in_flight") > 0, "frames are in the stream")
        shards.servers[0].kill()
        shards.servers[0].lose_disk()
        shards.servers[0].start()
        shards.publish(0)
        shards.set_fence(0)
        shards.put("abc", "https://example.com/", link_id=7)
        eventually(edge.is_ready, "the edge serves again")
        answered += ask_often(edge, 20)
        workers = [worker["pid"] for worker in edge.workers()]
        edge.process.kill()
        edge.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "its workers are gone")
    with consuming(consumer), running_edge(tmp_path, seeds, workers=2) as edge:
        answered += ask_often(edge, 20)
        eventually(lambda: len(consumer.links()) == answered, "all clicks arrived")
        eventually(lambda: len(ledgers(tmp_path)) == 2, "the ledgers of the dead are gone")
    assert consumer.links() == [7] * answered
    assert sum(told.recorded for told in consumer.reports.values()) == answered


def test_metrics_tell_of_the_backlog(shards: Shards, tmp_path: Path) -> None:
    """While nobody takes clicks bytes and age rise, and the edge is ready all the same."""
    with running_edge(tmp_path, [shards.servers[0].url]) as edge:
        ask_often(edge, 3)
        eventually(lambda: edge.metric("click_backlog_bytes") > 0, "a frame is sealed")
        eventually(lambda: edge.metric("click_oldest_seconds") > 1, "it gets older")
        eventually(lambda: edge.metric("click_frames_in_flight") == 1, "it is in the stream")
        assert edge.metric("click_shipper_active") == 1
        assert edge.is_ready()
        consumer = Consumer(shards.servers)
        eventually(lambda: consumer.has([7] * 3) and edge.metric("click_backlog_bytes") == 0, "it is stored")
        eventually(lambda: edge.metric("click_oldest_seconds") == 0, "nothing is left")


def test_redirects_go_on_without_a_directory_for_clicks(shards: Shards, tmp_path: Path) -> None:
    """A file is where the directory should be: redirects are answered, and metrics say that shipping failed (I1)."""
    (tmp_path / "clicks").write_text("in the way")
    with running_edge(tmp_path, [shards.servers[0].url]) as edge:
        assert ask_often(edge, 3) == 3
        eventually(lambda: edge.metric("click_shipper_failures_total") > 0, "it is counted")
        assert edge.metric("click_shipper_active") == 0


def test_clicks_behind_granian_are_shipped(shards: Shards, tmp_path: Path) -> None:
    """One of its workers ships for all of them."""
    consumer = Consumer(shards.servers)
    with consuming(consumer):
        with running_granian(tmp_path, shards.servers[0].url) as port:
            for _ in range(10):
                assert ask(port, "GET", "/abc", HOST)[0] == 302
        assert ledgers(tmp_path / "rsgi") == []
    assert consumer.links() == [7] * 10
