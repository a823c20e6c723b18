"""Every format's bytes are pinned by a golden file; a change of a format is a new version with a new file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wire import click, domains, fence, frame, heartbeat, keys, record, report, topology
from wire.click import Click, Flag

GOLDEN = Path(__file__).parent / "golden"

COMMON = record.LinkRecord(link_id=1, version=1, status=302, target=b"https://example.com/")
CACHED = record.LinkRecord(link_id=1, version=1, status=302, target=b"https://example.com/", cache_max_age_s=3600)
FULL = record.LinkRecord(
    link_id=2**40 + 7,
    version=4_000_000_000,
    status=308,
    target=b"http://xn--bcher-kva.example/a%20b?c=d#e",
    is_disabled=True,
    not_before_ms=1_700_000_000_000,
    not_after_ms=1_900_000_000_000,
    cache_max_age_s=31_536_000,
    tail=((0, b"rule"), (0x7FFF, b"")),
)
TOPOLOGY = topology.Topology(
    epoch=3,
    virtual_nodes=512,
    shards=(
        topology.Shard(id="shard-0", url="redis://127.0.0.1:6379", replicas=("redis://127.0.0.1:6380",), weight=2.0),
        topology.Shard(id="shard-1", url="rediss://user:secret@redis.example:6379/1", second_weight=0.25),
        topology.Shard(id="shard-2", url="redis://127.0.0.1:6381", weight=0.0, second_weight=1.5, place="shard-0"),
    ),
    mode="cut-over",
)
FIRST_TOPOLOGY = topology.Topology(
    epoch=3,
    virtual_nodes=512,
    shards=(
        topology.Shard(id="shard-0", url="redis://127.0.0.1:6379", replicas=("redis://127.0.0.1:6380",), weight=2.0),
        topology.Shard(id="shard-1", url="rediss://user:secret@redis.example:6379/1"),
    ),
)
DOMAINS = domains.Domains(
    revision=9, default_id=1, hosts={"sho.rt": 1, "127.0.0.1:8080": 1, "xn--bcher-kva.example": 2}
)

CLICKS = [
    Click(
        time_ms=1_700_000_000_123,
        link_id=2**40 + 7,
        domain_id=1,
        status=302,
        flags=Flag.TLS,
        user_agent=b"Mozilla/5.0 (X11; Linux x86_64)",
        referrer=b"https://www.example.com/",
        query=b"utm_source=newsletter",
        address=bytes([192, 0, 2, 0]),
    ),
    Click(
        time_ms=1_700_000_000_124,
        link_id=2,
        domain_id=1,
        status=308,
        flags=Flag.HEAD | Flag.STALE,
        user_agent=b"Mozilla/5.0 (X11; Linux x86_64)",
        address=bytes.fromhex("20010db8000000000000000000000000"),
    ),
    Click(time_ms=1_700_000_000_125, link_id=2, domain_id=1, status=301, flags=Flag.OPTED_OUT),
    Click(time_ms=1_700_000_000_126, link_id=0, domain_id=7, status=404, flags=Flag.UNKNOWN_CODE, code=b"n0ne"),
]
FRAME = frame.Frame(
    edge_id="edge-1", writer=2**62 + 1, segment=3, start=4096, created_ms=1_700_000_000_000, body=b"body" * 20
)
REPORT = report.Report(
    edge_id="edge-1",
    writer=2**62 + 1,
    started_ms=1_700_000_000_000,
    at_ms=1_700_000_060_000,
    served=1010,
    recorded=1000,
    dropped={"backlog_full": 4, "disk_full": 3, "no_segment": 2, "torn": 1},
    unknown_recorded=50,
    unknown_dropped=5,
    is_final=False,
)

CASES: list[tuple[str, Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    ("record-common.bin", COMMON, record.encode, record.decode),
    ("record-cached.bin", CACHED, record.encode, record.decode),
    ("record-full.bin", FULL, record.encode, record.decode),
    ("record-tombstone.bin", record.Tombstone(link_id=5, version=6), record.encode, record.decode),
    ("topology.json", TOPOLOGY, topology.encode, topology.decode),
    ("domains.json", DOMAINS, domains.encode, domains.decode),
    ("fence.json", fence.Fence(epoch=3, state="filling", run_id="a" * 40), fence.encode, fence.decode),
    (
        "heartbeat.json",
        heartbeat.Heartbeat(
            edge_id="edge-1.0",
            build="0.1.0",
            epoch=3,
            sequence=77,
            started_ms=1_700_000_000_000,
            requests=1000,
            hits=900,
            samples=12,
            sample_differences=1,
            fallbacks=2,
            links=500,
            memory_bytes=2**26,
            lag_us=150,
            lookup_us=210,
        ),
        heartbeat.encode,
        heartbeat.decode,
    ),
    ("click.bin", CLICKS, click.encode, click.decode),
    ("frame.bin", FRAME, lambda value: frame.encode(value, is_compressed=False), frame.decode),
    ("report.json", REPORT, report.encode, report.decode),
]


@pytest.mark.parametrize(("name", "value", "encode", "decode"), CASES, ids=[case[0] for case in CASES])
def test_bytes_are_those_of_the_golden_file(
    name: str, value: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    """Encoding gives the golden bytes and decoding them gives the value back."""
    golden = (GOLDEN / name).read_bytes()
    assert golden == encode(value)
    assert value == decode(golden)


def test_topology_of_the_first_version_is_read() -> None:
    """A database keeps the documents of the builds before."""
    assert topology.decode((GOLDEN / "topology-1.json").read_bytes()) == FIRST_TOPOLOGY


def test_compressed_frame_is_read() -> None:
    """Its bytes are zlib's, of whatever version; what they mean is pinned."""
    assert frame.decode((GOLDEN / "frame-compressed.bin").read_bytes()) == FRAME
    assert frame.decode(frame.encode(FRAME, is_compressed=True)) == FRAME


def test_redis_keys_have_their_names() -> None:
    """The names of the Redis keys are a format too."""
    assert keys.link_key(12, "aB-_9") == b"l:12:aB-_9"
    assert keys.cache_key(12, "aB-_9") == b"12:aB-_9"
    assert keys.edge_key("edge-1.0") == b"pm:edge:edge-1.0"
    assert (keys.FENCE, keys.TOPOLOGY, keys.DOMAINS, keys.SEQUENCE) == (
        b"pm:fence",
        b"pm:topology",
        b"pm:domains",
        b"pm:seq",
    )
    assert (keys.CLICKS, keys.CLICKS_GROUP, keys.CLICKS_TAIL) == (b"pm:clicks", b"control", b"pm:clicks:tail")
    assert (keys.FRAME_FIELD, keys.REPORT_FIELD) == (b"f", b"r")
    assert keys.click_ack_key("edge-1") == b"pm:clicks:ack:edge-1"
    assert (keys.frame_name(9, 3, 4096), keys.report_name(9)) == (b"9:3:4096", b"9")


def test_tracked_prefixes_do_not_overlap() -> None:
    """Redis refuses overlapping prefixes of one client's tracking, and a heartbeat is pushed to nobody."""
    for one in keys.TRACKED_PREFIXES:
        assert not any(other != one and other.startswith(one) for other in keys.TRACKED_PREFIXES)
        assert not keys.edge_key("e").startswith(one)
