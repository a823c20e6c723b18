"""The snapshot of L1: what a worker that starts in an outage can still answer, and what it refuses to."""

import asyncio
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import snapshot
from edge._cache import Cache
from edge._counters import BLOCK_BYTES, Counters
from edge._fast import xxh64
from edge._front import Front
from edge.config import EdgeConfig
from edge.snapshot import Keeper, Snapshot, SnapshotError
from tests.edge.stand import Edge, Shards, eventually, running_edge, started_edge
from tests.stack.fixtures import RedisFactory
from wire import record

GOLDEN = Path(__file__).parent / "golden" / "l1.snapshot"
# key size, kind, hits, 0, payload size, version, max age, link id, filled, key, payload
ENTRY = struct.Struct("<BBBxHIIQq")
HOUR_MS = 3_600_000
NO_MAX_AGE = 0xFFFFFFFF


def front(links: Cache) -> Front:
    """A Front over this cache, which resolves nothing."""
    counters = Counters(bytearray(BLOCK_BYTES), 0)
    return Front(counters, links, Cache(8192), lambda *_: None, lambda *_: None, EdgeConfig(seeds=()))


def fill(target: Front, count: int) -> list[bytes]:
    """Links 1:code0 and on, all found once, in a cache that has room for them."""
    keys = [b"1:code%d" % n for n in range(count)]
    for n, key in enumerate(keys):
        found = target.read(
            record.encode(record.LinkRecord(link_id=n + 1, version=7, status=301, target=b"https://example.com/%d" % n))
        )
        assert target.remember(key, found, 0, 0, 60_000)
    return keys


def wall_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def entry(key: bytes, filled_ms: int) -> bytes:
    """A saved redirect."""
    payload = struct.pack("<H", 302) + b"https://example.com/"
    return ENTRY.pack(len(key), 1, 0, len(payload), 3, NO_MAX_AGE, 9, filled_ms) + key + payload


def restore(links: Cache, taken: Snapshot, stale_ms: int = HOUR_MS) -> list[bytes]:
    """Refill the cache."""
    return asyncio.run(snapshot.refill(links, taken, stale_ms))


def take(links: Cache, bytes_max: int = 2**20) -> Snapshot:
    """A snapshot of the cache."""
    return Snapshot(wall_ms(), b"".join(asyncio.run(snapshot.walk(links, bytes_max))))


def test_file_format_is_the_golden_one(tmp_path: Path) -> None:
    """An entry of known values makes these bytes, and they are read again."""
    path = tmp_path / "l1-0.snapshot"
    size = snapshot.store(path, [entry(b"1:golden", 1_790_000_000_000)], 1_790_000_001_000)
    assert GOLDEN.read_bytes() == path.read_bytes()
    assert path.stat().st_size == size
    taken = snapshot.read(GOLDEN, 2**20)
    assert taken == Snapshot(1_790_000_001_000, entry(b"1:golden", 1_790_000_000_000))
    assert [path] == list(tmp_path.iterdir())


def test_restored_entries_are_stale_answers_with_their_own_age() -> None:
    """All that an entry is comes back but its trust; its age goes on from when it was filled."""
    links = Cache(2**20)
    keys = fill(front(links), 300)
    taken = take(links)
    again = Cache(2**20)
    target = front(again)
    assert sorted(keys) == sorted(restore(again, taken))
    answer = target.stale(b"1:code7", HOUR_MS)
    assert answer is not None
    assert (answer.status, answer.target, answer.link_id, answer.version) == (301, b"https://example.com/7", 8, 7)
    fields = ENTRY.unpack_from(taken.records)
    assert abs(wall_ms() - fields[7]) < 5000
    # A snapshot of what was restored says the same: a worker that starts twice in an outage makes nothing younger.
    first, second = all_entries(taken), all_entries(take(again))
    assert {key: entry[:2] for key, entry in first.items()} == {key: entry[:2] for key, entry in second.items()}
    assert all(abs(second[key][2] - filled_ms) < 5000 for key, (_, _, filled_ms) in first.items())


def all_entries(taken: Snapshot) -> dict[bytes, tuple[int, int, int]]:
    """Link id, version and the instant of the filling of each entry, by key."""
    found: dict[bytes, tuple[int, int, int]] = {}
    at = 0
    while at < len(taken.records):
        key_size, _, _, payload_size, version, _, link_id, filled_ms = ENTRY.unpack_from(taken.records, at)
        at += ENTRY.size
        found[taken.records[at : at + key_size]] = (link_id, version, filled_ms)
        at += key_size + payload_size
    return found


def test_hottest_come_first_and_fill_the_bound() -> None:
    """A snapshot that cannot hold all holds what was found, most often first, and no byte too much."""
    links = Cache(2**18)
    keys = fill(front(links), 2000)
    hot = keys[500:600]
    for rounds in (1, 2, 3):
        for key in hot[: 100 - 20 * rounds]:
            assert links.get(key)
    taken = take(links, 2400)
    assert 2300 < len(taken.records) <= 2400
    assert set(all_entries(taken)) <= set(hot[:40])
    hits = []
    at = 0
    records = take(links).records
    while at < len(records):
        fields = ENTRY.unpack_from(records, at)
        hits.append(fields[2] >> 6)
        at += ENTRY.size + fields[0] + fields[3]
    assert sum(hits) == 80 + 60 + 40
    assert hits[:40] == [3] * 40


def test_changes_between_two_slices_tear_nothing() -> None:
    """While a snapshot is taken the cache drops and moves entries; each entry in the snapshot is whole and unique."""
    links = Cache(2**22)
    target = front(links)
    fill(target, 30_000)

    async def disturb() -> Snapshot:
        walking = asyncio.create_task(snapshot.walk(links, 2**22))
        n = 0
        while not walking.done():
            n += 1000
            for key in range(n, n + 1000):
                links.put(b"new:%d" % key, b"\x2d\x01https://example.com/new")
            await asyncio.sleep(0)
        return Snapshot(wall_ms(), b"".join(await walking))

    taken = asyncio.run(disturb())
    again = Cache(2**23)
    keys = restore(again, taken)
    assert len(keys) == len(set(keys)) > 1000
    assert all(again.get(key) is not None for key in keys)


def test_too_old_entries_are_skipped() -> None:
    """An entry older than stale_ms is not restored, and one that becomes so afterwards is no answer."""
    now = wall_ms()
    links = Cache(2**20)
    young = entry(b"1:young", now - 50_000)
    assert restore(links, Snapshot(now, entry(b"1:old", now - 120_000) + young), 60_000) == [b"1:young"]
    assert front(links).stale(b"1:young", 60_000) is not None
    assert front(links).stale(b"1:young", 49_000) is None


def test_clock_set_back_makes_nothing_younger() -> None:
    """Written at an instant that is still to come, by this clock: an entry is as old as it was then, at least."""
    later = wall_ms() + 10 * HOUR_MS
    links = Cache(2**20)
    taken = Snapshot(later, entry(b"1:a", later - 50_000) + entry(b"1:b", later - 120_000))
    assert restore(links, taken, 60_000) == [b"1:a"]
    assert front(links).stale(b"1:a", 49_000) is None


def test_filled_before_the_machine_started() -> None:
    """The age of an entry may be greater than the monotonic clock."""
    now = wall_ms()
    age_ms = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000 + HOUR_MS
    links = Cache(2**20)
    assert restore(links, Snapshot(now, entry(b"1:a", now - age_ms)), 2 * age_ms) == [b"1:a"]
    assert front(links).stale(b"1:a", age_ms - 2000) is None
    assert front(links).stale(b"1:a", age_ms + 2000) is not None


def test_smaller_cache_takes_the_hottest() -> None:
    """What does not fit is left out; nothing that came before is dropped for it."""
    links = Cache(2**22)
    keys = fill(front(links), 20_000)
    for key in keys[:100]:
        links.get(key)
    again = Cache(2**18)
    restored = restore(again, take(links, 2**22))
    assert again.eviction_count == 0
    assert len(restored) == len(again)
    assert set(keys[:100]) <= set(again.keys())


def test_what_is_there_already_stays() -> None:
    """A link that was read while the file was loaded is younger than the file's."""
    links = Cache(2**20)
    links.put(b"1:a", b"\x2d\x01https://new.example/")
    restore(links, Snapshot(wall_ms(), entry(b"1:a", wall_ms())))
    assert links.get(b"1:a") == b"\x2d\x01https://new.example/"


def whole() -> bytes:
    """The golden file."""
    return GOLDEN.read_bytes()


def resealed(data: bytes) -> bytes:
    """The same with a right checksum."""
    return data + struct.pack("<I", zlib.crc32(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "version is missing"),
        (b"\x02" + whole()[1:], "version is 02, this build reads 01"),
        (whole()[:10], "too few"),
        (whole()[:-9], "should hold"),
        (whole()[:40] + b"\xff" + whole()[41:], "checksum"),
        (whole() + b"x", "should hold"),
    ],
)
def test_file_that_is_not_whole_is_refused(data: bytes, message: str) -> None:
    """Cut, changed, longer or of another version."""
    with pytest.raises(SnapshotError, match=message):
        snapshot.decode(data)


def test_records_that_end_within_an_entry_are_refused() -> None:
    """Even behind a right checksum nothing is read past the end."""
    records = entry(b"1:a", wall_ms())
    for cut in (1, len(records) - 1):
        with pytest.raises(ValueError, match="are left"):
            restore(Cache(2**20), Snapshot(wall_ms(), records[:cut]))


def keeper(tmp_path: Path, links: Cache, counters: Counters, **settings: int) -> Keeper:
    """A keeper of slot 0."""
    config = EdgeConfig(seeds=("redis://127.0.0.1:1",), state_dir=str(tmp_path), **settings)  # type: ignore[arg-type]
    return Keeper(config, 0, links, counters)


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x" * 4096])
def test_refused_file_means_a_cold_start(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """The failure is counted, and the cache is empty and works."""
    (tmp_path / "l1-0.snapshot").write_bytes(spoil(whole()))
    links, counters = Cache(2**20), Counters(bytearray(BLOCK_BYTES), 0)

    async def start() -> list[bytes]:
        return await keeper(tmp_path, links, counters, snapshot_bytes=1024).restore()

    assert asyncio.run(start()) == []
    assert (counters.get("snapshot_failures"), len(links)) == (1, 0)


def test_snapshot_bytes_0_turns_it_off(tmp_path: Path) -> None:
    """Nothing is written and nothing read."""
    links, counters = Cache(2**20), Counters(bytearray(BLOCK_BYTES), 0)
    (tmp_path / "l1-0.snapshot").write_bytes(whole())

    async def live() -> list[bytes]:
        mine = keeper(tmp_path, links, counters, snapshot_bytes=0)
        await mine.write()
        await mine.run()
        return await mine.restore()

    assert asyncio.run(live()) == []
    assert (tmp_path / "l1-0.snapshot").read_bytes() == whole()


def test_disk_that_cannot_be_written_is_counted_and_leaves_the_last_file(tmp_path: Path) -> None:
    """The worker goes on."""
    (tmp_path / "l1-0.new").mkdir()
    (tmp_path / "l1-0.snapshot").write_bytes(whole())
    counters = Counters(bytearray(BLOCK_BYTES), 0)

    async def write() -> None:
        await keeper(tmp_path, Cache(2**20), counters).write()

    asyncio.run(write())
    assert (counters.get("snapshot_failures"), counters.get("snapshot_writes")) == (1, 0)
    assert (tmp_path / "l1-0.snapshot").read_bytes() == whole()


def test_warming_begins_look_ups_hottest_first_and_comes_back_to_what_was_refused() -> None:
    """Keys of a shard that is away for a while wait behind the others, and each key is begun once."""
    keys = [b"1:%d" % n for n in range(600)]
    begun: list[bytes] = []

    def refresh(key: bytes, key_hash: int) -> bool:
        assert xxh64(key) == key_hash
        if key_hash % 4 == 0 and len(begun) < 300:
            return False
        begun.append(key)
        return True

    asyncio.run(snapshot.warm(keys, refresh, HOUR_MS))
    others = [key for key in keys if xxh64(key) % 4]
    assert others[:100] == begun[:100]
    assert sorted(keys) == sorted(begun)


def test_warming_stops_a_tick_when_there_is_no_capacity() -> None:
    """A few refusals end the tick; nothing is lost."""
    keys = [b"1:%d" % n for n in range(200)]
    asked: list[bytes] = []

    def refresh(key: bytes, key_hash: int) -> bool:
        asked.append(key)
        return len(asked) > snapshot.WARM_REFUSALS_MAX

    asyncio.run(snapshot.warm(keys, refresh, HOUR_MS))
    assert keys[:32] + keys[32:] + keys[:32] == asked


def test_warming_gives_up_when_the_answers_are_too_old_anyway() -> None:
    """With nobody to ask, it ends."""
    asked: list[bytes] = []

    def refuse(key: bytes, key_hash: int) -> bool:
        asked.append(key)
        return False

    asyncio.run(snapshot.warm([b"1:a", b"1:b"], refuse, 1))
    assert set(asked) == {b"1:a", b"1:b"}


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One whole shard."""
    return Shards([redis_factory()])


def serves(edge: Edge) -> bool:
    """Whether a connection is answered, with whatever."""
    try:
        return edge.get("/").status > 0
    except OSError:
        return False


def test_edge_that_starts_while_nothing_can_be_asked_answers_what_it_knew(shards: Shards, tmp_path: Path) -> None:
    """Known links are answered, stale; unknown ones are 503, not 404 (I5). It holds for a second start, too."""
    codes = [f"code{n}" for n in range(50)]
    for code in codes:
        shards.put(code, f"https://example.com/{code}")
    seeds = [shards.servers[0].url]
    with running_edge(tmp_path / "edge", seeds) as edge:
        assert all(edge.get(f"/{code}").status == 302 for code in codes)
    shards.servers[0].stop()
    for _ in range(2):
        with started_edge(tmp_path / "edge", seeds, connect_timeout_ms=100) as edge:
            eventually(lambda: serves(edge), "it answers")
            assert edge.metric("snapshot_restored_entries") == 50
            assert [f"https://example.com/{code}" for code in codes] == [
                edge.get(f"/{code}").location for code in codes
            ]
            assert edge.metric("answers_by_tier_total", '{tier="stale"}') == 50
            assert edge.get("/unknown").status == 503
    with started_edge(tmp_path / "edge", seeds, connect_timeout_ms=100, stale_ms=1) as edge:
        eventually(lambda: serves(edge), "it answers")
        assert edge.get("/code1").status == 503
    shards.servers[0].start()


def test_edge_writes_snapshots_while_it_runs(shards: Shards, tmp_path: Path) -> None:
    """So that a worker that is killed has one, too."""
    shards.put("code", "https://example.com/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], snapshot_interval_ms=20) as edge:
        assert edge.get("/code").status == 302
        written = edge.metric("snapshot_writes_total")
        eventually(lambda: edge.metric("snapshot_writes_total") >= written + 2, "it was written after the request")
        assert edge.metric("snapshot_bytes") > 60
        taken = snapshot.read(tmp_path / "edge" / "l1-0.snapshot", 2**20)
        assert taken is not None
        assert b"https://example.com/" in taken.records
