"""The way of clicks from segments to control: real files, and real shards that die, fill up and lose their memory."""

import os
import resource
import signal
from pathlib import Path

import pytest
import redis

from edge.claim import Claim
from edge.segment import directory_of
from edge.topology import Store
from tests.edge.click_stand import Consumer, Recorder, killed_shipper, shipping
from tests.edge.stand import DEADLINE_S, Shards, eventually, stalled
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire import keys, topology


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Two shards."""
    return Shards([redis_factory(), redis_factory()])


@pytest.fixture
def shard(redis_factory: RedisFactory) -> RedisServer:
    """One shard, the only one of the topology."""
    return Shards([redis_factory()]).servers[0]


def files(state_dir: Path) -> list[str]:
    """What of clicks is on disk."""
    kinds = (".segment", ".ledger", ".aside")
    return sorted(path.name for path in directory_of(str(state_dir)).iterdir() if path.suffix in kinds)


def drained(consumer: Consumer, state_dir: Path) -> bool:
    """Whether nothing is left on disk; the consumer does its work."""
    consumer.consume()
    return not files(state_dir)


def length(server: RedisServer) -> int:
    """Entries in a shard's stream."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.xlen(keys.CLICKS))


def test_clicks_arrive_and_leave_the_disk(shards: Shards, tmp_path: Path) -> None:
    """Each click once, with its identity; then segments and ledger are gone, and the final report has been told."""
    recorder, consumer = Recorder(tmp_path), Consumer(shards.servers)
    with shipping(tmp_path, [shards.servers[0].url]) as counted:
        recorder.click(range(1, 500))
        recorder.seal()
        eventually(lambda: consumer.has([*range(1, 500)]), "a living writer's clicks")
        recorder.click(range(500, 4000))
        recorder.close()
        eventually(lambda: drained(consumer, tmp_path), "the directory is empty")
        eventually(lambda: counted.backlog_bytes == 0 == counted.in_flight, "nothing is left to do")
    assert consumer.links() == [*range(1, 4000)]
    final = consumer.reports[recorder.writer]
    assert (final.is_final, final.recorded, final.served) == (True, 3999, 3999)
    assert counted.sent == counted.acknowledged == len(consumer.bodies)
    assert (counted.resent, counted.set_aside) == (0, 0)
    assert counted.packed_bytes < counted.plain_bytes / 2


def test_living_writer_is_reported_while_it_serves(shard: RedisServer, tmp_path: Path) -> None:
    """Its recorded clicks, not final; and again when they are more."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])

    def recorded() -> int:
        consumer.consume()
        told = consumer.reports.get(recorder.writer)
        return told.recorded if told and not told.is_final else -1

    with shipping(tmp_path, [shard.url]):
        recorder.click([1, 2, 3])
        eventually(lambda: recorded() == 3, "the first report")
        recorder.click([4])
        eventually(lambda: recorded() == 4, "the second report")
    recorder.close()


def test_shard_that_comes_back_empty_gets_each_frame_again(shard: RedisServer, tmp_path: Path) -> None:
    """Frames are sent, the shard is killed with them and has no disk: each arrives, none is missing (I3)."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    for first in range(1, 60, 10):
        recorder.click(range(first, first + 10))
        recorder.seal()
    recorder.close()
    with shipping(tmp_path, [shard.url]) as counted:
        eventually(lambda: counted.in_flight == 6, "all frames are in the stream")
        shard.kill()
        shard.lose_disk()
        shard.start()
        Shards([shard])
        eventually(lambda: drained(consumer, tmp_path), "all are stored")
    assert consumer.links() == [*range(1, 61)]
    assert counted.resent == 6


def test_shard_that_comes_back_with_its_memory_does_not_stop_the_shipper(shard: RedisServer, tmp_path: Path) -> None:
    """What the other process got is sent again, though this one has it from its disk, and nothing fails of it."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    for first in range(1, 60, 10):
        recorder.click(range(first, first + 10))
        recorder.seal()
    recorder.close()
    with shipping(tmp_path, [shard.url]) as counted:
        eventually(lambda: counted.in_flight == 6, "all frames are in the stream")
        with redis.Redis.from_url(shard.url) as client:
            client.save()
        shard.kill()
        shard.start()
        assert length(shard) >= 6
        eventually(lambda: counted.resent >= 6 and length(shard) >= 12, "they are sent again")
        eventually(lambda: drained(consumer, tmp_path), "all are stored")
        assert counted.failures == 0
    assert consumer.links() == [*range(1, 61)]


def test_frames_of_a_shard_that_stays_away_go_to_another(shards: Shards, tmp_path: Path) -> None:
    """After a while nobody waits for the shard that took them; the other one carries the same frames."""
    recorder, consumer = Recorder(tmp_path), Consumer(shards.servers)
    recorder.click(range(1, 11))
    recorder.close()
    with shipping(tmp_path, [server.url for server in shards.servers]) as counted:
        eventually(lambda: counted.in_flight == 1, "the frame is in a stream")
        taker = next(server for server in shards.servers if length(server))
        taker.kill()
        other = next(server for server in shards.servers if server is not taker)
        eventually(lambda: counted.resent == 1 and length(other), "the other one has it")
        eventually(lambda: drained(consumer, tmp_path), "it is stored")
    assert consumer.links() == [*range(1, 11)]


def test_shard_that_stands_still_holds_up_nothing(shards: Shards, tmp_path: Path) -> None:
    """The shard that was preferred stops its clock: frames go to the other one."""
    recorder, consumer = Recorder(tmp_path), Consumer(shards.servers)
    with shipping(tmp_path, [server.url for server in shards.servers]) as counted:
        recorder.click([1])
        recorder.seal()
        eventually(lambda: counted.in_flight == 1, "the first frame is in a stream")
        taker = next(server for server in shards.servers if length(server))
        other = next(server for server in shards.servers if server is not taker)
        with stalled(taker):
            recorder.click([2])
            recorder.close()
            eventually(lambda: counted.sent >= 2 and length(other), "the other one has the second")
        eventually(lambda: drained(consumer, tmp_path), "both are stored")
    assert consumer.links() == [1, 2]


def test_lost_acknowledgement_brings_the_same_frame_again(shard: RedisServer, tmp_path: Path) -> None:
    """Control stored a frame and its word was lost: the frame comes again, with the same bytes, and is then over."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    recorder.click(range(1, 11))
    recorder.close()
    with shipping(tmp_path, [shard.url]) as counted:

        def is_stored_silently() -> bool:
            consumer.consume(is_acknowledging=False)
            return len(consumer.bodies) == 1

        eventually(is_stored_silently, "the frame came")
        eventually(lambda: drained(consumer, tmp_path), "it was stored")
    assert list(consumer.arrivals.values()) == [2]
    assert consumer.links() == [*range(1, 11)]
    assert counted.resent == 1


def test_full_stream_is_waited_for_and_never_trimmed(shard: RedisServer, tmp_path: Path) -> None:
    """With a bound of 3 entries the 4th waits until control has taken some; none is lost."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    for link_id in range(1, 11):
        recorder.click([link_id])
        recorder.seal()
    with shipping(tmp_path, [shard.url], click_stream_frames=3) as counted:
        eventually(lambda: counted.waits >= 3, "the stream is full")
        assert length(shard) == 3
        assert counted.backlog_bytes > 0
        recorder.close()
        eventually(lambda: drained(consumer, tmp_path), "all are stored")
    assert consumer.links() == [*range(1, 11)]


def test_frames_in_flight_are_bounded(shard: RedisServer, tmp_path: Path) -> None:
    """While nobody reads the stream no more than so many frames are in it, though there is room."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    for link_id in range(1, 11):
        recorder.click([link_id])
        recorder.seal()
    recorder.close()
    with shipping(tmp_path, [shard.url], click_frames_in_flight=4) as counted:
        eventually(lambda: counted.in_flight == 4, "as many as may be")
        with redis.Redis.from_url(shard.url) as client:
            told = {name for _, fields in client.xrange(keys.CLICKS) for name in fields}
            assert told <= {keys.FRAME_FIELD, keys.REPORT_FIELD}
        eventually(lambda: counted.in_flight == 4 == counted.sent, "and no more")
        eventually(lambda: drained(consumer, tmp_path), "all are stored")
    assert consumer.links() == [*range(1, 11)]
    assert max(consumer.arrivals.values()) == 1


def test_frame_that_keeps_vanishing_is_set_aside_and_blocks_nobody(shard: RedisServer, tmp_path: Path) -> None:
    """Its segment gets another name; the other writer's clicks arrive; with its old name it is shipped after all."""
    thief, consumer = redis.Redis.from_url(shard.url), Consumer([shard])
    lost, other = Recorder(tmp_path), Recorder(tmp_path)
    lost.click([1])
    lost.close()
    with thief, shipping(tmp_path, [shard.url], click_ack_timeout_ms=20) as counted:

        def is_set_aside() -> bool:
            thief.delete(keys.CLICKS)
            return counted.set_aside == 1

        eventually(is_set_aside, "it is set aside")
        aside = directory_of(str(tmp_path)) / f"{lost.writer:016x}-000000.segment.aside"
        assert aside.exists()
        other.click([2])
        other.close()
        eventually(lambda: consumer.has([2]), "the other clicks arrive")
        aside.rename(aside.with_suffix(""))
        eventually(lambda: drained(consumer, tmp_path), "all are stored")
    assert consumer.links() == [1, 2]


def test_dead_writer_is_recovered(shard: RedisServer, tmp_path: Path) -> None:
    """A writer that was killed: what it had sealed, what it had not, and its exact counts."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    with shipping(tmp_path, [shard.url]):
        recorder.click(range(1, 11))
        recorder.seal()
        recorder.rotate()
        recorder.click(range(11, 21))
        eventually(lambda: consumer.has([*range(1, 11)]), "what was sealed")
        recorder.die()
        eventually(lambda: drained(consumer, tmp_path), "the rest")
    assert consumer.links() == [*range(1, 21)]
    assert consumer.reports[recorder.writer].recorded == 20


def test_torn_tail_is_cut_and_counted(shard: RedisServer, tmp_path: Path) -> None:
    """A power cut took the last item: the others arrive, and the report says that one is torn."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    recorder.click(range(1, 11))
    recorder.die()
    path = directory_of(str(tmp_path)) / f"{recorder.writer:016x}-000000.segment"
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    with path.open("r+b") as file:
        file.seek(end - 8)
        file.write(b"\xff" * 4)
    with shipping(tmp_path, [shard.url]):
        eventually(lambda: drained(consumer, tmp_path), "the rest is stored")
    assert consumer.links() == [*range(1, 10)]
    final = consumer.reports[recorder.writer]
    assert (final.served, final.recorded, final.dropped["torn"]) == (10, 9, 1)


def test_directory_of_a_former_life_is_shipped_under_its_own_name(shard: RedisServer, tmp_path: Path) -> None:
    """What an edge of another id left, with and without a ledger, arrives as that edge's."""
    consumer = Consumer([shard])
    for recorder in (Recorder(tmp_path, "old"), Recorder(tmp_path, "old")):
        recorder.click([recorder.writer])
        recorder.die()
    (directory_of(str(tmp_path)) / f"{recorder.writer:016x}.ledger").unlink()
    with shipping(tmp_path, [shard.url], id="new"):
        eventually(lambda: drained(consumer, tmp_path), "both are stored")
    assert len(consumer.links()) == 2


def test_file_that_is_no_segment_is_set_aside(shard: RedisServer, tmp_path: Path) -> None:
    """The rest is shipped; a segment that was never written to, its writer being killed just then, is swept away."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    recorder.click([1])
    recorder.die()
    name = directory_of(str(tmp_path)) / f"{recorder.writer:016x}"
    Path(f"{name}-000007.segment").write_bytes(bytes(8192))
    Path(f"{name}-000008.segment").write_bytes(b"no segment" * 1000)
    with shipping(tmp_path, [shard.url]) as counted:
        left = [f"{name.name}-000008.segment.aside", f"{name.name}.ledger"]
        eventually(lambda: consumer.has([1]) and files(tmp_path) == left, "the rest is stored")
        eventually(lambda: (counted.set_aside, counted.retired) == (1, 2), "and counted")
        assert not consumer.reports[recorder.writer].is_final
        Path(f"{name}-000008.segment.aside").unlink()
        eventually(lambda: drained(consumer, tmp_path), "nothing is left")
    assert consumer.links() == [1]


@pytest.mark.parametrize(("offset", "damage"), [(24, b"\xff" * 6), (57, b"\xff"), (256, b"\xff" * 64)])
def test_segment_with_a_spoilt_page_holds_up_nobody(
    shard: RedisServer, tmp_path: Path, offset: int, damage: bytes
) -> None:
    """Its instant, its edge's id or its table of frames: the others' clicks arrive all the same."""
    spoilt, other = sorted((Recorder(tmp_path), Recorder(tmp_path)), key=lambda recorder: recorder.writer)
    consumer = Consumer([shard])
    for link_id in range(1, 20):
        spoilt.click([link_id])
        spoilt.seal()
    spoilt.close()
    with (directory_of(str(tmp_path)) / f"{spoilt.writer:016x}-000000.segment").open("r+b") as file:
        file.seek(offset)
        file.write(damage)
    other.click([100])
    other.close()
    with shipping(tmp_path, [shard.url]) as counted:

        def has_arrived() -> bool:
            consumer.consume()
            return 100 in consumer.links()

        eventually(has_arrived, "the other clicks arrive")
        assert counted.failures == 0


def test_dead_writers_hold_no_descriptors(tmp_path: Path) -> None:
    """While control is away a worker may end again and again, and each leaves a ledger."""
    for recorder in (Recorder(tmp_path) for _ in range(30)):
        recorder.click([1])
        recorder.die()
    before = len(os.listdir("/proc/self/fd"))
    with shipping(tmp_path, ["redis://127.0.0.1:1"], click_flush_ms=300) as counted:
        eventually(lambda: counted.backlog_bytes > 0, "it has looked")
        assert len(os.listdir("/proc/self/fd")) < before + 30


def test_directory_is_had_on_a_full_disk(tmp_path: Path) -> None:
    """Though there is no room for the pid: shipping is what makes some."""
    claim = Claim(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        is_taken = claim.take()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_taken
    assert not Claim(tmp_path).take()
    claim.release()


@pytest.mark.parametrize(
    "point",
    [
        "ClickStream.append",
        "ClickStream.acknowledgements",
        "ClickStream.clear",
        "Writers.look",
        "Writers.retire",
        "Writers.bury",
    ],
)
def test_shipper_that_is_killed_leaves_nothing_behind(shard: RedisServer, tmp_path: Path, point: str) -> None:
    """SIGKILL right behind that call; the next one ships the rest, and what comes twice is the same (I3)."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    for first in (1, 11, 21):
        recorder.click(range(first, first + 10))
        recorder.rotate()
    recorder.click(range(31, 41))
    recorder.die()
    child = killed_shipper(tmp_path, [shard.url], point)

    def has_ended() -> bool:
        consumer.consume()
        return child.poll() is not None

    eventually(has_ended, "it is killed")
    assert child.wait(DEADLINE_S) == -signal.SIGKILL
    with shipping(tmp_path, [shard.url]):
        eventually(lambda: drained(consumer, tmp_path), "the next one finishes")
    assert consumer.links() == [*range(1, 41)]
    assert consumer.reports[recorder.writer].recorded == 40


def test_one_process_ships_a_directory(shard: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second waits for the lock, and takes over when the first ends."""
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    with shipping(tmp_path, [shard.url]) as first:
        eventually(lambda: first.is_active, "the first has the lock")
        with shipping(tmp_path, [shard.url]) as second:
            recorder.click([1])
            recorder.seal()
            eventually(lambda: consumer.has([1]), "the first ships")
            assert (first.sent, second.sent, second.is_active) == (1, 0, 0)
        recorder.click([2])
    with shipping(tmp_path, [shard.url]) as third:
        eventually(lambda: third.is_active, "the lock is free again")
        recorder.close()
        eventually(lambda: drained(consumer, tmp_path), "the rest is stored")
    assert consumer.links() == [1, 2]


def test_stop_leaves_on_disk_what_no_shard_takes(tmp_path: Path) -> None:
    """No shard answers: the shipper ends in time all the same."""
    recorder = Recorder(tmp_path)
    recorder.click([1])
    recorder.close()
    with shipping(tmp_path, ["redis://127.0.0.1:1"], click_flush_ms=300) as counted:
        eventually(lambda: counted.backlog_bytes > 0, "it has looked")
    assert len(files(tmp_path)) == 2
    assert os.access(directory_of(str(tmp_path)) / "lock", os.R_OK)


def test_acknowledgements_of_others_are_left_alone(shard: RedisServer, tmp_path: Path) -> None:
    """Another edge that was given the same id by mistake does not lose its own; but they do not pile up without end."""
    key = keys.click_ack_key("test")
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    with redis.Redis.from_url(shard.url) as client, shipping(tmp_path, [shard.url]):
        client.hset(key, "7:0:4096", 5000)
        client.hset(key, "junk", "junk")
        recorder.click([1])
        recorder.seal()
        eventually(lambda: consumer.has([1]), "a frame came")
        eventually(lambda: set(client.hkeys(key)) == {b"7:0:4096", b"junk"}, "its acknowledgement was read")
        client.hset(key, mapping={f"7:{number}:4096": 5000 for number in range(300)})
        recorder.click([2])
        recorder.close()
        eventually(lambda: drained(consumer, tmp_path) and not client.exists(key), "too many are cleared")


def test_topology_on_disk_is_enough(shard: RedisServer, tmp_path: Path) -> None:
    """No seed answers; the workers' last copy names the shards."""
    with redis.Redis.from_url(shard.url) as client:
        Store(str(tmp_path)).write(keys.TOPOLOGY, client.get(keys.TOPOLOGY))
    recorder, consumer = Recorder(tmp_path), Consumer([shard])
    recorder.click([1])
    recorder.close()
    with shipping(tmp_path, ["redis://127.0.0.1:1"]):
        eventually(lambda: drained(consumer, tmp_path), "it is stored")
    assert consumer.links() == [1]


def test_frames_of_a_shard_that_leaves_the_topology_go_to_another(shards: Shards, tmp_path: Path) -> None:
    """Nobody reads the stream of the shard that left; what it has is sent again without waiting for it."""
    recorder = Recorder(tmp_path)
    recorder.click([1])
    recorder.close()
    with shipping(tmp_path, [server.url for server in shards.servers], click_ack_timeout_ms=60_000) as counted:
        eventually(lambda: counted.in_flight == 1, "the frame is in a stream")
        taker = next(number for number, server in enumerate(shards.servers) if length(server))
        staying = tuple(shard for number, shard in enumerate(shards.topology.shards) if number != taker)
        document = topology.encode(topology.Topology(epoch=2, virtual_nodes=64, shards=staying))
        Store(str(tmp_path)).write(keys.TOPOLOGY, document)
        consumer = Consumer([shards.servers[1 - taker]])
        eventually(lambda: drained(consumer, tmp_path), "the other one has it")
    assert (consumer.links(), counted.resent) == ([1], 1)
