"""Sentinel switches a shard's primary, and the topology follows."""

from pathlib import Path

import pytest
import redis

from control.dev import redis as redis_program
from control.dev.ports import free_ports
from control.dev.probe import answers_redis
from control.dev.program import Program
from control.errors import Error
from control.failover.sentinels import Watched, parse
from control.shards import service
from tests.control.conftest import StationFactory
from tests.control.station import eventually, held_target, is_trusted, with_database
from tests.stack.fixtures import RedisFactory
from tests.stack.server import RedisServer
from wire.topology import Shard

CONFIG = """port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor first 127.0.0.1 {primary} 1
sentinel down-after-milliseconds first 500
sentinel failover-timeout first 3000
"""


def sentinel_of(primary: RedisServer, port: int, directory: Path) -> RedisServer:
    """A sentinel that watches a primary; alone it is the majority."""
    directory.mkdir()
    path = directory / "sentinel.conf"
    path.write_text(CONFIG.format(port=port, directory=directory, primary=primary.port))
    program = Program(
        name="sentinel",
        command=(str(redis_program.find_binary()), str(path), "--sentinel"),
        log=directory / "log",
        is_ready=lambda: answers_redis(port),
    )
    return RedisServer(program, port, directory)


def test_setting_names_shards_and_their_sentinels() -> None:
    """Several of each; what is not of the form is refused."""
    assert parse("") == []
    assert parse("shard-0=a:1,b:2/main; shard-1=c:3/other") == [
        Watched("shard-0", "main", (("a", 1), ("b", 2))),
        Watched("shard-1", "other", (("c", 3),)),
    ]
    for text in ("shard-0", "shard-0=a:1", "shard-0=a/main", "=a:1/main", "shard-0=a:1,/main"):
        with pytest.raises(Error, match="POINTSMAN_SENTINELS"):
            parse(text)


def test_switch_is_followed(
    station_factory: StationFactory, database_url: str, redis_factory: RedisFactory, tmp_path: Path
) -> None:
    """The replicas are named; when the primary is killed the promoted one takes its place, and no change is lost."""
    primary, replica = redis_factory(), redis_factory()
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof("127.0.0.1", str(primary.port))
        eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
    (port,) = free_ports(1)
    sentinel = sentinel_of(primary, port, tmp_path / "sentinel")
    sentinel.start()
    try:
        setting = f"shard-0=127.0.0.1:{port}/first"
        station = station_factory(database_url, [primary], POINTSMAN_SENTINELS=setting)
        station.wait_trusted()

        def shard() -> Shard:
            return with_database(database_url, service.get_topology).shards[0]

        eventually(lambda: shard().replicas == (replica.url,), "the replica is named")
        station.create("https://a.example/1", code="one")
        primary.kill()
        station.client.patch("/api/v1/links/one", json={"target": "https://a.example/2"})
        eventually(lambda: shard().url == replica.url, "the switch is followed")
        eventually(lambda: is_trusted(replica), "the new primary is complete")
        eventually(lambda: held_target([replica], "one") == "https://a.example/2", "no change is lost")
        assert primary.url in shard().replicas
    finally:
        sentinel.close()
