"""The page of metrics: what workers counted, added up, and by shard."""

from pathlib import Path

import pytest

from edge._counters import BLOCK_BYTES, Counters
from edge.metrics import Worker, render
from tests.edge.stand import Shards, eventually, running_edge, stalled
from tests.stack.fixtures import RedisFactory
from wire import topology

NOW_MS = 10_000


def page(*workers: Counters) -> list[str]:
    """The lines of the page, without comments."""
    text = render([Worker(counters.read(), counters.shards()) for counters in workers], 1, NOW_MS)
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def workers() -> list[Counters]:
    """Two workers that know the same shard by different numbers."""
    made = [Counters(bytearray(BLOCK_BYTES), 0) for _ in range(2)]
    for number, counters in enumerate(made):
        counters.shard(number).take("shard-0")
        counters.shard(number).set("proved_ms", NOW_MS - 250 * (number + 1))
    return made


def test_histogram_holds_in_each_bucket_those_below(workers: list[Counters]) -> None:
    """Of all workers, in seconds, as Prometheus wants it."""
    workers[0].shard(0).observe("lookup", 200)
    workers[1].shard(1).observe("lookup", 3000)
    workers[1].shard(1).observe("lookup", 2_000_000)
    lines = [line.removeprefix("pointsman_edge_shard_lookup_seconds") for line in page(*workers) if "lookup_s" in line]
    lines = [line for line in lines if 'shard="shard-0"' in line]
    assert lines[0] == '_bucket{shard="shard-0",le="0.00025"} 1'
    assert lines[3:5] == ['_bucket{shard="shard-0",le="0.0025"} 1', '_bucket{shard="shard-0",le="0.005"} 2']
    assert lines[-4:] == [
        '_bucket{shard="shard-0",le="1"} 2',
        '_bucket{shard="shard-0",le="+Inf"} 3',
        '_sum{shard="shard-0"} 2.003200',
        '_count{shard="shard-0"} 3',
    ]


def test_oldest_proof_of_all_workers_is_shown(workers: list[Counters]) -> None:
    """One worker that hears nothing is enough to serve what is old."""
    assert 'pointsman_edge_shard_proof_age_seconds{shard="shard-0"} 0.500' in page(*workers)


def test_breakers_are_counted_by_state(workers: list[Counters]) -> None:
    """So many workers in each."""
    workers[0].shard(0).set("is_breaker_open", 1)
    workers[1].shard(1).set("is_breaker_open", 1)
    assert 'pointsman_edge_shard_breakers{shard="shard-0",state="open"} 2' in page(*workers)


def test_page_without_shards_has_every_name() -> None:
    """Before there is a topology, and for whoever reads what there is."""
    text = render([], 0, 0)
    assert "# TYPE pointsman_edge_shard_lookup_seconds histogram" in text
    assert "shard=" not in text


def test_series_of_a_shard_go_with_it(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """Labels are the topology's shards: one that leaves takes its series along."""
    shards = Shards([redis_factory() for _ in range(2)])
    with running_edge(tmp_path / "edge", [shards.servers[0].url], workers=2) as edge:
        assert edge.metric("shard_breakers", '{shard="shard-1",state="closed"}') == 2
        shards.topology = topology.Topology(epoch=2, shards=shards.topology.shards[:1], virtual_nodes=64)
        shards.publish(0)
        eventually(lambda: b"shard-1" not in edge.admin("/metrics").body, "its series are gone")
        assert edge.metric("shard_breakers", '{shard="shard-0",state="closed"}') == 2


def test_proof_of_a_silent_shard_ages(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """A stalled shard's age rises above what is normal, and falls when it is back."""
    shards = Shards([redis_factory()])
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:

        def age_s() -> float:
            lines = edge.admin("/metrics").body.decode().splitlines()
            (line,) = [line for line in lines if line.startswith("pointsman_edge_shard_proof_age_seconds{")]
            return float(line.rpartition(" ")[2])

        with stalled(shards.servers[0]):
            eventually(lambda: age_s() > 2, "its proof is old")
        eventually(lambda: age_s() < 1, "it is proven anew")
